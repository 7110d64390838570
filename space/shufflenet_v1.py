"""ShuffleNet V1 (Zhang et al. 2018, figure 2 and table 1): grouped 1×1 convolutions and a shuffle.

Widths and stems of the scales are those of the authors' code (ShuffleNet-Series, ShuffleNetV1).
"""

from functools import partial

from nas_sv2.space.graph import GraphBuilder, Value
from nas_sv2.space.structure import Structure

DEPTHS = (4, 8, 4)
BOTTLENECK = 4


def shufflenet_v1(
    build: GraphBuilder, image: Value, classes: int, *, stem: int, width: int, groups: int
) -> Value:
    """Stages of `width`, 2 and 4 times `width`; the first 1×1 of stage 2 is not grouped."""
    value = build.conv("stem.0", image, stem, 3, stride=2, activation="relu")
    value = build.max_pool("stem.pool", value)
    for number, depth in enumerate(DEPTHS):
        for index in range(depth):
            name = f"stage{number + 2}.{index}"
            first = 1 if number == 0 and index == 0 else groups
            value = _unit(build, name, value, width << number, first, groups, index == 0)
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _unit(
    build: GraphBuilder,
    name: str,
    source: Value,
    width: int,
    first_groups: int,
    groups: int,
    shrinks: bool,
) -> Value:
    """A sum with what entered, or, where the map shrinks, a concatenation with its pool."""
    middle = width // BOTTLENECK
    value = build.conv(f"{name}.reduce", source, middle, groups=first_groups, activation="relu")
    value = build.shuffle(f"{name}.shuffle", value, groups)
    value = build.conv(f"{name}.depthwise", value, middle, 3, stride=1 + shrinks, depthwise=True)
    rest = width - source.channels if shrinks else width
    value = build.conv(f"{name}.expand", value, rest, groups=groups)
    if shrinks:
        pooled = build.average_pool(f"{name}.pool", source, 3, stride=2)
        joined = build.concat(f"{name}.concat", pooled, value)
    else:
        joined = build.add(f"{name}.add", source, value)
    return build.activation(f"{name}.relu", joined, "relu")


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
