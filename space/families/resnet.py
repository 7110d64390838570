"""ResNet-50 (He et al. 2016, table 1), ResNeXt-50 (Xie et al. 2017, table 1) and SENet-154.

One bottleneck serves all three: 1×1, 3×3 with groups, 1×1, squeeze-and-excitation, sum.
"""

from dataclasses import dataclass
from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value
from nas_sv2.space.units.shuffle_unit import squeeze_excite

WIDTHS = (256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What the blocks of a network have in common.

    Attributes:
        reduced: Channels of the first 1×1, over the block's.
        middle: Channels of the 3×3, over the block's.
        groups: Groups of the 3×3.
        strided: Which convolution of a stage's first block carries the stride: 0, the 1×1, as
            published; 1, the 3×3, as torchvision's v1.5.
        shortcut: Kernel of the convolution on the shortcut of stages 3 to 5; stage 2 has a 1×1.
        se: By how much squeeze-and-excitation divides the channels; 0 where there is none.
    """

    reduced: float = 1 / 4
    middle: float = 1 / 4
    groups: int = 1
    strided: int = 0
    shortcut: int = 1
    se: int = 0


def resnet(
    build: GraphBuilder,
    image: Value,
    classes: int,
    *,
    depths: tuple[int, ...],
    block: Bottleneck,
    deep_stem: bool = False,
) -> Value:
    """Four stages of bottlenecks at a quarter of the side and less.

    The stem is one 7×7 convolution, or three 3×3 where `deep_stem` (SENet-154).
    """
    if deep_stem:
        value = build.conv("stem.0", image, 64, 3, stride=2, activation="relu")
        value = build.conv("stem.1", value, 64, 3, activation="relu")
        value = build.conv("stem.2", value, 128, 3, activation="relu")
    else:
        value = build.conv("stem.0", image, 64, 7, stride=2, activation="relu")
    value = build.max_pool("stem.pool", value)
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 2):
        for index in range(depth):
            stride = 2 if index == 0 and stage > 2 else 1
            kernel = (block.shortcut if stage > 2 else 1) if index == 0 else None
            value = _unit(build, f"stage{stage}.{index}", value, width, stride, kernel, block)
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _unit(
    build: GraphBuilder,
    name: str,
    source: Value,
    width: int,
    stride: int,
    shortcut: int | None,
    block: Bottleneck,
) -> Value:
    """Where `shortcut` is a kernel, a convolution of that side changes what is added."""
    strides = (stride, 1) if block.strided == 0 else (1, stride)
    value = build.conv(
        f"{name}.reduce", source, int(width * block.reduced), stride=strides[0], activation="relu"
    )
    value = build.conv(
        f"{name}.spatial",
        value,
        int(width * block.middle),
        3,
        stride=strides[1],
        groups=block.groups,
        activation="relu",
    )
    value = build.conv(f"{name}.expand", value, width)
    if block.se:
        value = squeeze_excite(build, f"{name}.se", value, width // block.se)
    identity = source
    if shortcut is not None:
        identity = build.conv(f"{name}.shortcut", source, width, shortcut, stride=stride)
    return build.activation(f"{name}.relu", build.add(f"{name}.add", identity, value), "relu")


STRUCTURES = {
    "resnet50": Structure(
        "ResNet",
        partial(resnet, depths=(3, 4, 6, 3), block=Bottleneck()),
        "He et al. 2016, table 1; stride on the first 1×1",
        paper_mflops=3800,
    ),
    "resnet50_v1_5": Structure(
        "ResNet",
        partial(resnet, depths=(3, 4, 6, 3), block=Bottleneck(strided=1)),
        "torchvision, models/resnet.py; stride on the 3×3",
    ),
    "resnext50_32x4d": Structure(
        "ResNeXt",
        partial(
            resnet,
            depths=(3, 4, 6, 3),
            block=Bottleneck(reduced=1 / 2, middle=1 / 2, groups=32, strided=1),
        ),
        "Xie et al. 2017, table 1; torchvision, models/resnet.py",
    ),
    "senet154": Structure(
        "SENet",
        partial(
            resnet,
            depths=(3, 8, 36, 3),
            block=Bottleneck(reduced=1 / 2, middle=1, groups=64, strided=1, shortcut=3, se=16),
            deep_stem=True,
        ),
        "Hu et al. 2018, appendix (SENet-154); pytorchcv, senet.py",
        paper_mflops=20700,
    ),
}
