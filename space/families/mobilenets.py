"""MobileNet V1 (Howard et al. 2017, table 1): depthwise-separable layers, no shortcut.

MobileNet V2 (Sandler et al. 2018, table 2): inverted residuals with linear bottlenecks.

Widths are rounded as torchvision and the authors' later code round them. The paper's smaller rows
and 1.4 follow none of the eight rounding rules that we tried, with the stem and the last
convolution scaled or not. They are marked.

IGCV2 (Xie et al. 2018, section 3): MobileNet V1 with chains of grouped 1×1 convolutions.

The ImageNet widths, groups and lengths of the chains were not found. Here a chain has three
convolutions of four groups (the paper says 4 or 8), at widths close to MobileNet's. They come
within 1 % of its FLOPs at all three scales. With eight groups the smallest cannot be reached.

IGCV3-D (Sun et al. 2018): inverted residuals whose 1×1 convolutions have two groups.

As the authors' code (IGCV3, symbols/igcv3.py): no activation behind the expansion, a permutation
behind each of the two. The code also reads the stage before at a wrong width where it is scaled,
and gives 1.4 an odd head; neither is followed.
"""

from collections.abc import Iterator
from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

V1_STEM = 32
V1_LAYERS = (
    # width, stride; a stage begins where the map shrinks
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5,
    (1024, 2), (1024, 1),
)  # fmt: skip


def v1_layers() -> Iterator[tuple[str, int, int]]:
    """Name, width and stride of every layer."""
    stage, index = 1, 0
    for channels, stride in V1_LAYERS:
        if stride == 2:
            stage, index = stage + 1, 0
        yield f"stage{stage}.{index}", channels, stride
        index += 1


def mobilenet_v1(build: GraphBuilder, image: Value, classes: int, *, width: float) -> Value:
    """All widths times `width`."""
    value = build.conv("stem.0", image, round(V1_STEM * width), 3, stride=2, activation="relu")
    for name, channels, stride in v1_layers():
        value = build.conv(
            f"{name}.depthwise",
            value,
            value.channels,
            3,
            stride=stride,
            depthwise=True,
            activation="relu",
        )
        value = build.conv(f"{name}.project", value, round(channels * width), activation="relu")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


MOBILENET_V1 = {
    f"mobilenet_v1_{name}": Structure(
        "MobileNet V1",
        partial(mobilenet_v1, width=width),
        "Howard et al. 2017, table 1",
        paper_mflops=mflops,
    )
    for name, width, mflops in (
        ("x0_25", 0.25, 41),
        ("x0_5", 0.5, 149),
        ("x0_75", 0.75, 325),
        ("x1_0", 1.0, 569),
    )
}


V2_STEM, V2_HEAD = 32, 1280
V2_LAYERS = (  # expansion t, width c, repeats n, stride s
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def v2_units(layers: tuple[tuple[int, int, int, int], ...]) -> Iterator[tuple[str, int, int, int]]:
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
    value = build.conv("stem.0", image, _rounded(V2_STEM * width), 3, stride=2, activation="relu6")
    for name, expansion, channels, stride in v2_units(V2_LAYERS):
        value = _v2_unit(build, name, value, _rounded(channels * width), expansion, stride)
    value = build.conv("head.conv", value, _rounded(V2_HEAD * max(1, width)), activation="relu6")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _v2_unit(
    build: GraphBuilder, name: str, source: Value, width: int, expansion: int, stride: int
) -> Value:
    """Expand, convolve depthwise, project; and add the input if the shapes are equal."""
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


def _v2_structure(width: float, mflops: float, resolution: int) -> Structure:
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


MOBILENET_V2 = {
    f"mobilenet_v2_{name}": _v2_structure(width, mflops, resolution)
    for name, width, mflops, resolution in (
        ("x0_15", 0.15, 39, 224),
        ("x0_4", 0.4, 43, 160),
        ("x0_6", 0.6, 141, 224),
        ("x0_75", 0.75, 145, 192),
        ("x1_0", 1.0, 301, 224),
        ("x1_4", 1.4, 587, 224),
    )
}


IGCV2_GROUPS = 4
IGCV2_CHAIN = 3


def igcv2(build: GraphBuilder, image: Value, classes: int, *, width: float) -> Value:
    """All of MobileNet V1's widths times `width`, in whole groups of at least four channels."""
    value = build.conv("stem.0", image, _grouped(V1_STEM * width), 3, stride=2, activation="relu")
    for name, channels, stride in v1_layers():
        value = _igcv2_layer(build, name, value, _grouped(channels * width), stride)
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _igcv2_layer(build: GraphBuilder, name: str, source: Value, width: int, stride: int) -> Value:
    """One product of sparse kernels: a permutation between any two, one ReLU behind all."""
    value = build.conv(
        f"{name}.depthwise", source, source.channels, 3, stride=stride, depthwise=True
    )
    for index in range(IGCV2_CHAIN):
        if index:
            value = build.shuffle(f"{name}.permute{index}", value, IGCV2_GROUPS)
        value = build.conv(f"{name}.group{index}", value, width, groups=IGCV2_GROUPS)
    return build.activation(f"{name}.relu", value, "relu")


def _grouped(width: float) -> int:
    return max(IGCV2_GROUPS * IGCV2_GROUPS, round(width / IGCV2_GROUPS) * IGCV2_GROUPS)


IGCV2 = {
    f"igcv2_{name}": Structure(
        "IGCV2",
        partial(igcv2, width=width),
        "Xie et al. 2018, section 3; the FLOPs of the paper's table 8",
        paper_mflops=mflops,
        reconstructed="its widths and groups on ImageNet are not known; fitted to its FLOPs",
    )
    for name, width, mflops in (("x0_25", 0.27, 46), ("x0_5", 0.55, 156), ("x1_0", 1.07, 564))
}


IGCV3_GROUPS = 2
IGCV3_LAYERS = (  # expansion t, width c, repeats n, stride s
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
    value = build.conv("stem.0", image, _even(V2_STEM * width), 3, stride=2, activation="relu6")
    for name, expansion, channels, stride in v2_units(IGCV3_LAYERS):
        value = _igcv3_unit(build, name, value, _even(channels * width), expansion, stride)
    value = build.conv("head.conv", value, _even(V2_HEAD * max(1, width)), activation="relu6")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _igcv3_unit(
    build: GraphBuilder, name: str, source: Value, width: int, expansion: int, stride: int
) -> Value:
    """Expand, permute, convolve depthwise, project, permute back; a sum within a stage."""
    middle = source.channels * expansion
    value = build.conv(f"{name}.expand", source, middle, groups=IGCV3_GROUPS)
    value = build.shuffle(f"{name}.permute", value, IGCV3_GROUPS)
    value = build.conv(
        f"{name}.depthwise", value, middle, 3, stride=stride, depthwise=True, activation="relu6"
    )
    value = build.conv(f"{name}.project", value, width, groups=IGCV3_GROUPS)
    value = build.shuffle(f"{name}.restore", value, width // IGCV3_GROUPS)
    if stride == 1 and width == source.channels:
        value = build.add(f"{name}.add", source, value)
    return value


def _even(width: float) -> int:
    whole = round(width)
    return whole + whole % 2


IGCV3 = {
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
