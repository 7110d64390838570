"""MobileNet V2 (Sandler et al. 2018, table 2): inverted residuals with linear bottlenecks.

Widths are rounded as torchvision and the authors' later code round them. The paper's smaller rows
and 1.4 follow no rounding rule that we tried (eight rules, with the stem and the last convolution
scaled or not), so those are marked.
"""

from collections.abc import Iterator
from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

STEM, HEAD = 32, 1280
LAYERS = (  # expansion t, width c, repeats n, stride s
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def units(layers: tuple[tuple[int, int, int, int], ...]) -> Iterator[tuple[str, int, int, int]]:
    """Name, expansion, width and stride of every unit; a stage begins where the map shrinks."""
    stage, index = 1, 0
    for expansion, width, repeats, first_stride in layers:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            if stride == 2:
                stage, index = stage + 1, 0
            yield f"stage{stage}.{index}", expansion, width, stride
            index += 1


def mobilenet_v2(build: GraphBuilder, image: Value, classes: int, *, width: float) -> Value:
    """All widths times `width`, the last only where that is above 1."""
    value = build.conv("stem.0", image, _rounded(STEM * width), 3, stride=2, activation="relu6")
    for name, expansion, channels, stride in units(LAYERS):
        value = _unit(build, name, value, _rounded(channels * width), expansion, stride)
    value = build.conv("head.conv", value, _rounded(HEAD * max(1, width)), activation="relu6")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _unit(
    build: GraphBuilder, name: str, source: Value, width: int, expansion: int, stride: int
) -> Value:
    """Expand, convolve depthwise, project; a sum with what entered where the shapes are equal."""
    middle = source.channels * expansion
    value = source
    if expansion > 1:
        value = build.conv(f"{name}.expand", value, middle, activation="relu6")
    value = build.conv(
        f"{name}.depthwise", value, middle, 3, stride=stride, depthwise=True, activation="relu6"
    )
    value = build.conv(f"{name}.project", value, width)
    if stride == 1 and width == source.channels:
        value = build.add(f"{name}.add", source, value)
    return value


def _rounded(width: float, step: int = 8) -> int:
    """The nearest multiple of `step`, but never more than a tenth below `width`."""
    nearest = max(step, int(width + step / 2) // step * step)
    return nearest + step if nearest < 0.9 * width else nearest


def _structure(width: float, mflops: float, resolution: int) -> Structure:
    return Structure(
        "MobileNet V2",
        partial(mobilenet_v2, width=width),
        "Sandler et al. 2018, table 2; torchvision, models/mobilenetv2.py",
        paper_mflops=mflops,
        reconstructed=""
        if width == 1
        else "the paper's rounding of widths is not known; torchvision's is taken",
        resolution=resolution,
    )


STRUCTURES = {
    f"mobilenet_v2_{name}": _structure(width, mflops, resolution)
    for name, width, mflops, resolution in (
        ("x0_15", 0.15, 39, 224),
        ("x0_4", 0.4, 43, 160),
        ("x0_6", 0.6, 141, 224),
        ("x0_75", 0.75, 145, 192),
        ("x1_0", 1.0, 301, 224),
        ("x1_4", 1.4, 587, 224),
    )
}
