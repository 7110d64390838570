"""CondenseNet-74 (Huang et al. 2018, table 1) as it runs: converted, no learned groups left.

Training a CondenseNet prunes the inputs of every 1×1 convolution, group by group, down to one in
C; what is left is a choice of channels and an ordinary group convolution. This is that network, of
the authors' `models/condensenet_converted.py`, with G groups and C = G. Every layer reads all
before it, those of wider maps pooled. The authors' 529M and 274M also count batch norms and ReLUs;
convolutions and the classifier alone are 517M and 262M.
"""

from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

STEM = 16
DEPTHS = (4, 6, 8, 10, 8)
GROWTHS = (8, 16, 32, 64, 128)
BOTTLENECK = 4
LEFT_OUT = 2  # the classifier reads every other channel


def condensenet(build: GraphBuilder, image: Value, classes: int, *, groups: int) -> Value:
    """Five dense stages; maps halve by an average pool between them."""
    value = build.conv("stem.0", image, STEM, 3, stride=2, batch_norm=False)
    for number, (depth, growth) in enumerate(zip(DEPTHS, GROWTHS, strict=True), 1):
        if number > 1:
            value = build.average_pool(f"stage{number}.pool", value, 2, stride=2)
        for index in range(depth):
            value = _layer(build, f"stage{number}.{index}", value, growth, groups)
    value = build.norm("head.norm", value)
    value = build.activation("head.relu", value, "relu")
    value = build.global_average_pool("head.pool", value)
    value = build.select("head.select", value, tuple(range(0, value.channels, LEFT_OUT)))
    return build.linear("head.classifier", value, classes)


def _layer(build: GraphBuilder, name: str, source: Value, growth: int, groups: int) -> Value:
    """`growth` channels more: norm and ReLU come before each convolution."""
    value = build.select(f"{name}.select", source, _channels(source.channels, groups))
    value = build.norm(f"{name}.reduce.norm", value)
    value = build.activation(f"{name}.reduce.relu", value, "relu")
    width = BOTTLENECK * growth
    value = build.conv(f"{name}.reduce.group", value, width, groups=groups, batch_norm=False)
    value = build.shuffle(f"{name}.shuffle", value, groups)
    value = build.norm(f"{name}.grow.norm", value)
    value = build.activation(f"{name}.grow.relu", value, "relu")
    value = build.conv(f"{name}.grow.group", value, growth, 3, groups=groups, batch_norm=False)
    return build.concat(f"{name}.concat", source, value)


def _channels(count: int, groups: int) -> tuple[int, ...]:
    """What the groups read, one group after another: of C = G, each a C-th of all channels."""
    return tuple(channel for group in range(groups) for channel in range(group, count, groups))


def _structure(groups: int, mflops: float) -> Structure:
    return Structure(
        f"CondenseNet (G=C={groups})",
        partial(condensenet, groups=groups),
        "Huang et al. 2018, table 1; ShichenLiu/CondenseNet, models/condensenet_converted.py",
        paper_mflops=mflops,
        reconstructed=(
            "which channels a group reads is learned: here every C-th, from the group's own number"
            " on; the classifier reads every other. No count depends on it"
        ),
    )


STRUCTURES = {
    f"condensenet_74_g{groups}": _structure(groups, mflops)
    for groups, mflops in ((4, 529), (8, 274))
}
