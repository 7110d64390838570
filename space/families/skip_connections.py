"""Networks whose maps skip layers, to be summed with later ones or joined to them.

ShuffleNet V1 (Zhang et al. 2018, figure 2 and table 1): grouped 1×1 convolutions and a shuffle.
Widths and stems of the scales are those of the authors' code (ShuffleNet-Series, ShuffleNetV1).

ResNet-50 (He et al. 2016, table 1), ResNeXt-50 (Xie et al. 2017, table 1) and SENet-154.
One bottleneck serves all three: 1×1, 3×3 with groups, 1×1, squeeze-and-excitation, sum.

The paper's light Xception: residual blocks of three separable convolutions.
The paper gives no structure. This one is the block of `xception39` (TorchSeg) in the skeleton of
the paper's table 5. It was found by matching FLOPs and counts to the paper's at all four levels.

The paper's light DenseNet: dense layers in the skeleton of table 5.
The paper says only that stages 2 to 4 consist of DenseNet blocks whose channels were adjusted. The
layer is DenseNet-BC's (Huang et al. 2017, section 3): norm, ReLU, 1×1 to 4k, norm, ReLU, 3×3 to k.
The growth k is the one that comes nearest to the paper's FLOPs.

CondenseNet-74 (Huang et al. 2018, table 1) as it runs: converted, no learned groups left.
Training a CondenseNet prunes the inputs of every 1×1 convolution, group by group, down to one in
C. A choice of channels and an ordinary group convolution are left. This is that network, of
the authors' `models/condensenet_converted.py`, with G groups and C = G. Every layer reads all
before it, those of wider maps pooled. The authors' 529M and 274M also count batch norms and ReLUs;
convolutions and the classifier alone are 517M and 262M.
"""

from dataclasses import dataclass
from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value
from nas_sv2.space.units.shuffle_unit import squeeze_excite

SHUFFLENET_DEPTHS = (4, 8, 4)
SHUFFLENET_BOTTLENECK = 4


def shufflenet_v1(
    build: GraphBuilder,
    image: Value,
    classes: int,
    *,
    stem: int,
    width: int,
    groups: int,
    depths: tuple[int, ...] = SHUFFLENET_DEPTHS,
    bottleneck: int = SHUFFLENET_BOTTLENECK,
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
            value = _shuffle_unit(
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


def _shuffle_unit(
    build: GraphBuilder,
    name: str,
    source: Value,
    width: int,
    middle: int,
    groups: tuple[int, int],
    stride: int,
) -> Value:
    """Add the input, or join its pool if the map shrinks.

    Neither is possible if only the width changes (ShuffleNet v1-50, conv2_x).
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


def _shufflenet(stem: int, width: int, groups: int, mflops: float | None) -> Structure:
    return Structure(
        f"ShuffleNet V1 (g={groups})",
        partial(shufflenet_v1, stem=stem, width=width, groups=groups),
        "Zhang et al. 2018, table 1; ShuffleNet-Series, ShuffleNetV1/network.py",
        paper_mflops=mflops,
    )


SHUFFLENET_V1 = {
    f"shufflenet_v1_g{groups}_{scale}": _shufflenet(stem, width, groups, mflops)
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
SHUFFLENET_V1["shufflenet_v1_50"] = Structure(
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


RESNET_WIDTHS = (256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The settings that the blocks of a network share.

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
    for stage, (depth, width) in enumerate(zip(depths, RESNET_WIDTHS, strict=True), 2):
        for index in range(depth):
            stride = 2 if index == 0 and stage > 2 else 1
            kernel = (block.shortcut if stage > 2 else 1) if index == 0 else None
            value = _bottleneck(
                build, f"stage{stage}.{index}", value, width, stride, kernel, block
            )
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _bottleneck(
    build: GraphBuilder,
    name: str,
    source: Value,
    width: int,
    stride: int,
    shortcut: int | None,
    block: Bottleneck,
) -> Value:
    """A shortcut with a convolution of side `shortcut`, or without one if it is None."""
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


RESNETS = {
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


LIGHT_DEPTHS = (4, 8, 4)
XCEPTION_EXPANSION = 4


def light_xception(
    build: GraphBuilder, image: Value, classes: int, *, stem: int, middle: int
) -> Value:
    """Stages whose blocks are `middle`, 2 and 4 times `middle` wide within, four times between."""
    value = build.conv("stem.0", image, stem, 3, stride=2, activation="relu")
    value = build.max_pool("stem.pool", value)
    for number, depth in enumerate(LIGHT_DEPTHS):
        for index in range(depth):
            value = _xception_block(
                build, f"stage{number + 2}.{index}", value, middle << number, index == 0
            )
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def _xception_block(
    build: GraphBuilder, name: str, source: Value, middle: int, shrinks: bool
) -> Value:
    """Three separable convolutions and a sum; the first carries the stride."""
    value = source
    for number, width in enumerate((middle, middle, XCEPTION_EXPANSION * middle)):
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


LIGHT_XCEPTION = {
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


DENSENET_STEM = 24
DENSENET_BOTTLENECK = 4


def light_densenet(build: GraphBuilder, image: Value, classes: int, *, growth: int) -> Value:
    """Every layer adds `growth` channels; between the stages the map is only pooled."""
    value = build.conv("stem.0", image, DENSENET_STEM, 3, stride=2, activation="relu")
    value = build.max_pool("stem.pool", value)
    for stage, depth in enumerate(LIGHT_DEPTHS, 2):
        value = build.average_pool(f"stage{stage}.pool", value, 2, stride=2)
        for index in range(depth):
            name = f"stage{stage}.{index}"
            added = dense_layer(build, name, value, growth)
            value = build.concat(f"{name}.concat", value, added)
    value = build.activation("head.relu", build.norm("head.norm", value), "relu")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


def dense_layer(build: GraphBuilder, name: str, source: Value, growth: int) -> Value:
    """The `growth` channels that a layer adds to what it read."""
    value = build.activation(f"{name}.relu", build.norm(f"{name}.norm", source), "relu")
    value = build.conv(f"{name}.reduce", value, DENSENET_BOTTLENECK * growth, activation="relu")
    return build.conv(f"{name}.grow", value, growth, 3, batch_norm=False)


LIGHT_DENSENET = {
    f"light_densenet_{name}": Structure(
        "DenseNet (light)",
        partial(light_densenet, growth=growth),
        "the paper's section 4 in words; layer of Huang et al. 2017, section 3",
        paper_mflops=mflops,
        reconstructed="the paper gives no growth; k = 11, 22, 33, 44 come nearest to its FLOPs",
    )
    for name, growth, mflops in (
        ("x0_5", 11, 42),
        ("x1_0", 22, 142),
        ("x1_5", 33, 295),
        ("x2_0", 44, 519),
    )
}


CONDENSENET_STEM = 16
CONDENSENET_DEPTHS = (4, 6, 8, 10, 8)
CONDENSENET_GROWTHS = (8, 16, 32, 64, 128)
LEFT_OUT = 2  # the classifier reads every other channel


def condensenet(build: GraphBuilder, image: Value, classes: int, *, groups: int) -> Value:
    """Five dense stages; maps halve by an average pool between them."""
    value = build.conv("stem.0", image, CONDENSENET_STEM, 3, stride=2, batch_norm=False)
    for number, (depth, growth) in enumerate(
        zip(CONDENSENET_DEPTHS, CONDENSENET_GROWTHS, strict=True), 1
    ):
        if number > 1:
            value = build.average_pool(f"stage{number}.pool", value, 2, stride=2)
        for index in range(depth):
            value = _condensed_layer(build, f"stage{number}.{index}", value, growth, groups)
    value = build.norm("head.norm", value)
    value = build.activation("head.relu", value, "relu")
    value = build.global_average_pool("head.pool", value)
    value = build.select("head.select", value, tuple(range(0, value.channels, LEFT_OUT)))
    return build.linear("head.classifier", value, classes)


def _condensed_layer(
    build: GraphBuilder, name: str, source: Value, growth: int, groups: int
) -> Value:
    """`growth` channels more: norm and ReLU come before each convolution."""
    value = build.select(f"{name}.select", source, _condensed_channels(source.channels, groups))
    value = build.norm(f"{name}.reduce.norm", value)
    value = build.activation(f"{name}.reduce.relu", value, "relu")
    width = DENSENET_BOTTLENECK * growth
    value = build.conv(f"{name}.reduce.group", value, width, groups=groups, batch_norm=False)
    value = build.shuffle(f"{name}.shuffle", value, groups)
    value = build.norm(f"{name}.grow.norm", value)
    value = build.activation(f"{name}.grow.relu", value, "relu")
    value = build.conv(f"{name}.grow.group", value, growth, 3, groups=groups, batch_norm=False)
    return build.concat(f"{name}.concat", source, value)


def _condensed_channels(count: int, groups: int) -> tuple[int, ...]:
    """The channels that the groups read, one group after another: each a C-th of all, C = G."""
    return tuple(channel for group in range(groups) for channel in range(group, count, groups))


def _condensenet(groups: int, mflops: float) -> Structure:
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


CONDENSENET = {
    f"condensenet_74_g{groups}": _condensenet(groups, mflops)
    for groups, mflops in ((4, 529), (8, 274))
}
