"""IGCV2 (Xie et al. 2018, section 3): MobileNet V1 with chains of grouped 1×1 convolutions.

The ImageNet widths, groups and lengths of the chains were not found. Three convolutions of four
groups (the paper says 4 or 8), at widths close to MobileNet's, come within 1 % of its FLOPs at all
three scales; with eight groups the smallest cannot be reached.

IGCV3-D (Sun et al. 2018): inverted residuals whose 1×1 convolutions have two groups.

As the authors' code (IGCV3, symbols/igcv3.py): no activation behind the expansion, a permutation
behind each of the two. The code also reads the stage before at a wrong width where it is scaled,
and gives 1.4 an odd head; neither is followed.
"""

from functools import partial

from nas_sv2.space.families import mobilenet_v1, mobilenet_v2
from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

IGCV2_GROUPS = 4
IGCV2_CHAIN = 3


def igcv2(build: GraphBuilder, image: Value, classes: int, *, width: float) -> Value:
    """All of MobileNet V1's widths times `width`, in whole groups of at least four channels."""
    value = build.conv(
        "stem.0", image, _grouped(mobilenet_v1.STEM * width), 3, stride=2, activation="relu"
    )
    for name, channels, stride in mobilenet_v1.named_layers():
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
    value = build.conv(
        "stem.0", image, _even(mobilenet_v2.STEM * width), 3, stride=2, activation="relu6"
    )
    for name, expansion, channels, stride in mobilenet_v2.units(IGCV3_LAYERS):
        value = _igcv3_unit(build, name, value, _even(channels * width), expansion, stride)
    value = build.conv(
        "head.conv", value, _even(mobilenet_v2.HEAD * max(1, width)), activation="relu6"
    )
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


STRUCTURES = {**IGCV2, **IGCV3}
