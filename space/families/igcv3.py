"""IGCV3-D (Sun et al. 2018): inverted residuals whose 1×1 convolutions have two groups.

As the authors' code (IGCV3, symbols/igcv3.py): no activation behind the expansion, a permutation
behind each of the two. The code also reads the stage before at a wrong width where it is scaled,
and gives 1.4 an odd head; neither is followed.
"""

from functools import partial

from nas_sv2.space.families.mobilenet_v2 import HEAD, STEM, units
from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

GROUPS = 2
LAYERS = (  # expansion t, width c, repeats n, stride s
    (1, 16, 1, 1),
    (6, 24, 4, 2),
    (6, 32, 6, 2),
    (6, 64, 8, 2),
    (6, 96, 6, 1),
    (6, 160, 6, 2),
    (6, 320, 1, 1),
)


def igcv3(build: GraphBuilder, image: Value, classes: int, *, width: float) -> Value:
    """All widths times `width`, the last only where that is above 1."""
    value = build.conv("stem.0", image, _even(STEM * width), 3, stride=2, activation="relu6")
    for name, expansion, channels, stride in units(LAYERS):
        value = _unit(build, name, value, _even(channels * width), expansion, stride)
    value = build.conv("head.conv", value, _even(HEAD * max(1, width)), activation="relu6")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _unit(
    build: GraphBuilder, name: str, source: Value, width: int, expansion: int, stride: int
) -> Value:
    """Expand, permute, convolve depthwise, project, permute back; a sum within a stage."""
    middle = source.channels * expansion
    value = build.conv(f"{name}.expand", source, middle, groups=GROUPS)
    value = build.shuffle(f"{name}.permute", value, GROUPS)
    value = build.conv(
        f"{name}.depthwise", value, middle, 3, stride=stride, depthwise=True, activation="relu6"
    )
    value = build.conv(f"{name}.project", value, width, groups=GROUPS)
    value = build.shuffle(f"{name}.restore", value, width // GROUPS)
    if stride == 1 and width == source.channels:
        value = build.add(f"{name}.add", source, value)
    return value


def _even(width: float) -> int:
    whole = round(width)
    return whole + whole % 2


STRUCTURES = {
    f"igcv3_d_{name}": Structure(
        "IGCV3-D",
        partial(igcv3, width=width),
        "Sun et al. 2018; the authors' code, symbols/igcv3.py",
        paper_mflops=mflops,
        reconstructed=""
        if width == 1
        else "the authors' code at this width does not count what they state",
    )
    for name, width, mflops in (("x0_7", 0.7, 210), ("x1_0", 1.0, 318), ("x1_4", 1.4, 610))
}
