"""The paper's light Xception: residual blocks of three separable convolutions.

The paper gives no structure. This one, the block of `xception39` (TorchSeg) in the skeleton of the
paper's table 5, was found by matching FLOPs and counts to the paper's at all four levels.
"""

from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

DEPTHS = (4, 8, 4)
EXPANSION = 4


def light_xception(
    build: GraphBuilder, image: Value, classes: int, *, stem: int, middle: int
) -> Value:
    """Stages whose blocks are `middle`, 2 and 4 times `middle` wide within, four times between."""
    value = build.conv("stem.0", image, stem, 3, stride=2, activation="relu")
    value = build.max_pool("stem.pool", value)
    for number, depth in enumerate(DEPTHS):
        for index in range(depth):
            value = _block(
                build, f"stage{number + 2}.{index}", value, middle << number, index == 0
            )
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _block(build: GraphBuilder, name: str, source: Value, middle: int, shrinks: bool) -> Value:
    """Three separable convolutions and a sum; the first carries the stride."""
    value = source
    for number, width in enumerate((middle, middle, EXPANSION * middle)):
        value = build.conv(
            f"{name}.{number}.depthwise",
            value,
            value.channels,
            3,
            stride=2 if shrinks and number == 0 else 1,
            depthwise=True,
            batch_norm=False,
        )
        value = build.conv(
            f"{name}.{number}.project", value, width, activation="relu" if number < 2 else None
        )
    if shrinks:
        identity = build.conv(f"{name}.shortcut", source, value.channels, stride=2)
    else:
        identity = source
    return build.activation(f"{name}.relu", build.add(f"{name}.add", identity, value), "relu")


STRUCTURES = {
    f"light_xception_{name}": Structure(
        "Xception (light)",
        partial(light_xception, stem=stem, middle=middle),
        "inferred from the FLOPs of the paper's table 8; block of TorchSeg, xception39",
        paper_mflops=mflops,
        reconstructed="the paper gives no structure; inferred from its FLOPs at four levels",
    )
    for name, stem, middle, mflops in (
        ("x0_5", 8, 16, 40),
        ("x1_0", 24, 32, 145),
        ("x1_5", 24, 48, 305),
        ("x2_0", 24, 64, 525),
    )
}
