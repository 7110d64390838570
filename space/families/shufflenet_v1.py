"""ShuffleNet V1 (Zhang et al. 2018, figure 2 and table 1): grouped 1×1 convolutions and a shuffle.

Widths and stems of the scales are those of the authors' code (ShuffleNet-Series, ShuffleNetV1).
"""

from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

DEPTHS = (4, 8, 4)
BOTTLENECK = 4


def shufflenet_v1(
    build: GraphBuilder,
    image: Value,
    classes: int,
    *,
    stem: int,
    width: int,
    groups: int,
    depths: tuple[int, ...] = DEPTHS,
    bottleneck: int = BOTTLENECK,
    first_stride: int = 2,
) -> Value:
    """Stages of `width`, 2, 4, ... times `width`, the first with `first_stride`.

    The 1×1 that reads the stem's few channels is not grouped.
    """
    value = build.conv("stem.0", image, stem, 3, stride=2, activation="relu")
    value = build.max_pool("stem.pool", value)
    for number, depth in enumerate(depths):
        channels = width << number
        for index in range(depth):
            value = _unit(
                build,
                f"stage{number + 2}.{index}",
                value,
                channels,
                channels // bottleneck,
                (1 if number == 0 and index == 0 else groups, groups),
                1 if index else 2 if number else first_stride,
            )
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _unit(
    build: GraphBuilder,
    name: str,
    source: Value,
    width: int,
    middle: int,
    groups: tuple[int, int],
    stride: int,
) -> Value:
    """A sum with what entered, or, where the map shrinks, a concatenation with its pool.

    Where only the width changes (ShuffleNet v1-50, conv2_x), neither is possible.
    """
    value = build.conv(f"{name}.reduce", source, middle, groups=groups[0], activation="relu")
    value = build.shuffle(f"{name}.shuffle", value, groups[1])
    value = build.conv(f"{name}.depthwise", value, middle, 3, stride=stride, depthwise=True)
    rest = width - source.channels if stride == 2 else width
    value = build.conv(f"{name}.expand", value, rest, groups=groups[1])
    if stride == 2:
        pooled = build.average_pool(f"{name}.pool", source, 3, stride=2)
        value = build.concat(f"{name}.concat", pooled, value)
    elif width == source.channels:
        value = build.add(f"{name}.add", source, value)
    return build.activation(f"{name}.relu", value, "relu")


def _structure(stem: int, width: int, groups: int, mflops: float | None) -> Structure:
    return Structure(
        f"ShuffleNet V1 (g={groups})",
        partial(shufflenet_v1, stem=stem, width=width, groups=groups),
        "Zhang et al. 2018, table 1; ShuffleNet-Series, ShuffleNetV1/network.py",
        paper_mflops=mflops,
    )


STRUCTURES = {
    f"shufflenet_v1_g{groups}_{scale}": _structure(stem, width, groups, mflops)
    for groups, scale, stem, width, mflops in (
        (3, "x0_5", 12, 120, 38),
        (3, "x1_0", 24, 240, 140),
        (3, "x1_5", 24, 360, 292),
        (3, "x2_0", 48, 480, 524),
        (8, "x0_5", 16, 192, None),
        (8, "x1_0", 24, 384, None),
        (8, "x1_5", 24, 576, None),
        (8, "x2_0", 48, 768, None),
    )
}
STRUCTURES["shufflenet_v1_50"] = Structure(
    "ShuffleNet V1 (g=3)",
    partial(
        shufflenet_v1,
        stem=64,
        width=360,
        groups=3,
        depths=(3, 4, 6, 3),
        bottleneck=2,
        first_stride=1,
    ),
    "the paper's appendix, table 2",
    paper_mflops=2300,
    reconstructed="the bottleneck of 1:4 that the paper states counts 1161M; 1:2 is taken, with "
    "no shortcut where conv2_x begins",
)
