"""IGCV2 (Xie et al. 2018, section 3): MobileNet V1 with chains of grouped 1×1 convolutions.

The ImageNet widths, groups and lengths of the chains were not found. Three convolutions of four
groups (the paper says 4 or 8), at widths close to MobileNet's, come within 1 % of its FLOPs at all
three scales; with eight groups the smallest cannot be reached.
"""

from functools import partial

from nas_sv2.space.families.mobilenet_v1 import STEM, named_layers
from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

GROUPS = 4
CHAIN = 3


def igcv2(build: GraphBuilder, image: Value, classes: int, *, width: float) -> Value:
    """All of MobileNet V1's widths times `width`, in whole groups of at least four channels."""
    value = build.conv("stem.0", image, _grouped(STEM * width), 3, stride=2, activation="relu")
    for name, channels, stride in named_layers():
        value = _layer(build, name, value, _grouped(channels * width), stride)
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _layer(build: GraphBuilder, name: str, source: Value, width: int, stride: int) -> Value:
    """One product of sparse kernels: a permutation between any two, one ReLU behind all."""
    value = build.conv(
        f"{name}.depthwise", source, source.channels, 3, stride=stride, depthwise=True
    )
    for index in range(CHAIN):
        if index:
            value = build.shuffle(f"{name}.permute{index}", value, GROUPS)
        value = build.conv(f"{name}.group{index}", value, width, groups=GROUPS)
    return build.activation(f"{name}.relu", value, "relu")


def _grouped(width: float) -> int:
    return max(GROUPS * GROUPS, round(width / GROUPS) * GROUPS)


STRUCTURES = {
    f"igcv2_{name}": Structure(
        "IGCV2",
        partial(igcv2, width=width),
        "Xie et al. 2018, section 3; the FLOPs of the paper's table 8",
        paper_mflops=mflops,
        reconstructed="its widths and groups on ImageNet are not known; fitted to its FLOPs",
    )
    for name, width, mflops in (("x0_25", 0.27, 46), ("x0_5", 0.55, 156), ("x1_0", 1.07, 564))
}
