"""The paper's light DenseNet: dense layers in the skeleton of table 5.

The paper says only that stages 2 to 4 consist of DenseNet blocks whose channels were adjusted. The
layer is DenseNet-BC's (Huang et al. 2017, section 3: norm, ReLU, 1×1 to 4k, norm, ReLU, 3×3 to k);
the growth k is the one that comes nearest to the paper's FLOPs.
"""

from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

STEM = 24
DEPTHS = (4, 8, 4)
BOTTLENECK = 4


def light_densenet(build: GraphBuilder, image: Value, classes: int, *, growth: int) -> Value:
    """Every layer adds `growth` channels; between the stages the map is only pooled."""
    value = build.conv("stem.0", image, STEM, 3, stride=2, activation="relu")
    value = build.max_pool("stem.pool", value)
    for stage, depth in enumerate(DEPTHS, 2):
        value = build.average_pool(f"stage{stage}.pool", value, 2, stride=2)
        for index in range(depth):
            name = f"stage{stage}.{index}"
            added = dense_layer(build, name, value, growth)
            value = build.concat(f"{name}.concat", value, added)
    value = build.activation("head.relu", build.norm("head.norm", value), "relu")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def dense_layer(build: GraphBuilder, name: str, source: Value, growth: int) -> Value:
    """The `growth` channels that a layer adds to what it read."""
    value = build.activation(f"{name}.relu", build.norm(f"{name}.norm", source), "relu")
    value = build.conv(f"{name}.reduce", value, BOTTLENECK * growth, activation="relu")
    return build.conv(f"{name}.grow", value, growth, 3, batch_norm=False)


STRUCTURES = {
    f"light_densenet_{name}": Structure(
        "DenseNet (light)",
        partial(light_densenet, growth=growth),
        "the paper's section 4 in words; layer of Huang et al. 2017, section 3",
        paper_mflops=mflops,
        reconstructed="the paper gives no growth; k = 11, 22, 33, 44 come nearest to its FLOPs",
    )
    for name, growth, mflops in (
        ("x0_5", 11, 42),
        ("x1_0", 22, 142),
        ("x1_5", 33, 295),
        ("x2_0", 44, 519),
    )
}
