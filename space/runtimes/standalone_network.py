"""The ShuffleNet V2 network in plain torch, to be owned by whoever ships it.

Everything below the imports is what `model.py` of an exported network consists of
(`source_lowering`), so it knows nothing of nas-sv2 and explains itself. Its parameters have the
names that the weights of our other lowerings have.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

# --- model.py from here on ---


class Stage(NamedTuple):
    """A run of units: the first changes the width and the map, the others keep both.

    Attributes:
        units: How many, the first included.
        width: Channels that every unit emits.
        convolved: Channels that a unit convolves; the others pass (channel split).
        shortcut: Channels that the shortcut of the first unit emits, of `width`.
        kernel: Side of the depthwise kernels.
        stride: Of the first unit.
        se: Squeeze-and-excitation at the end of the main branch.
        residual: Units that keep the width add what they convolve to what they become.
        wide_field: One more 3×3 depthwise convolution at the start of the main branch.
    """

    units: int
    width: int
    convolved: int
    shortcut: int
    kernel: int = 3
    stride: int = 2
    se: bool = False
    residual: bool = False
    wide_field: bool = False


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, unless `relu` is false, ReLU; keeps the map at stride 1."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        relu: bool = True,
    ) -> None:
        super().__init__()
        groups = channels_in if depthwise else 1
        self.conv = nn.Conv2d(
            channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        if relu:
            self.relu = nn.ReLU()


class SqueezeExcite(nn.Module):
    """Every channel times a gate that is worked out from the means of all channels."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        # One named layer each, so that the weights are called `reduce.conv` and `expand.conv`.
        self.reduce = nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, hidden, 1)))
        self.expand = nn.Sequential(OrderedDict(conv=nn.Conv2d(hidden, channels, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        gates = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(gates))


class MainBranch(nn.Sequential):
    """What a unit computes: 1×1, depthwise, 1×1; `last_relu` is false where a sum follows."""

    def __init__(
        self, channels_in: int, channels: int, stride: int, stage: Stage, *, last_relu: bool
    ) -> None:
        super().__init__()
        middle = stage.convolved
        if stage.wide_field:
            self.field = ConvNorm(channels_in, channels_in, 3, depthwise=True, relu=False)
        self.expand = ConvNorm(channels_in, middle)
        self.depthwise = ConvNorm(middle, middle, stage.kernel, stride, depthwise=True, relu=False)
        self.project = ConvNorm(middle, channels, relu=last_relu)
        if stage.se:
            self.se = SqueezeExcite(channels, stage.width // 2)


class DownsampleUnit(nn.Module):
    """Both branches convolve all channels; their outputs are joined and shuffled."""

    def __init__(self, channels_in: int, stage: Stage) -> None:
        super().__init__()
        depthwise = ConvNorm(
            channels_in, channels_in, stage.kernel, stage.stride, depthwise=True, relu=False
        )
        project = ConvNorm(channels_in, stage.shortcut)
        self.shortcut = nn.Sequential(OrderedDict(depthwise=depthwise, project=project))
        self.main = MainBranch(
            channels_in, stage.width - stage.shortcut, stage.stride, stage, last_relu=True
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H / stride, W / stride)."""
        return torch.channel_shuffle(torch.cat([self.shortcut(x), self.main(x)], 1), 2)


class BasicUnit(nn.Module):
    """Some channels pass, the others are convolved; then all are joined and shuffled."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.sizes = [stage.width - stage.convolved, stage.convolved]
        self.residual = stage.residual
        self.main = MainBranch(
            stage.convolved, stage.convolved, 1, stage, last_relu=not stage.residual
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        passed, x = torch.split(x, self.sizes, 1)
        x = torch.relu(x + self.main(x)) if self.residual else self.main(x)
        return torch.channel_shuffle(torch.cat([passed, x], 1), 2)


class Head(nn.Module):
    """1×1 convolution, mean over the map, classifier."""

    def __init__(self, channels_in: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvNorm(channels_in, channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.classifier(self.conv(x).mean((2, 3)))
        return logits


class ShuffleNet(nn.Module):
    """A ShuffleNet V2 (Ma et al. 2018): images (N, C, H, W) to logits (N, classes).

    Its children `stem`, `stage2`, `stage3`, ... and `head` run one after the other, so that
    torchvision's feature extractors find the maps by these names.

    Attributes:
        strides: By how much the map behind `stem` and behind each stage is smaller than the image.
        widths: Channels of these maps.
    """

    def __init__(
        self,
        channels: int,
        stem: Sequence[int],
        stem_stride: int,
        stem_pool: bool,
        stages: Sequence[Stage],
        head: int,
        classes: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stride = stem_stride
        for index, width in enumerate(stem):
            layers.append(ConvNorm(channels, width, 3, stem_stride if index == 0 else 1))
            channels = width
        if stem_pool:
            layers.append(nn.MaxPool2d(3, 2, 1))
            stride *= 2
        self.stem = nn.Sequential(*layers)
        self.strides, self.widths = {"stem": stride}, {"stem": channels}
        for number, stage in enumerate(stages, 2):  # the paper counts the stem as stage 1
            units = [BasicUnit(stage) for _ in range(stage.units - 1)]
            name = f"stage{number}"
            self.add_module(name, nn.Sequential(DownsampleUnit(channels, stage), *units))
            channels, stride = stage.width, stride * stage.stride
            self.strides[name], self.widths[name] = stride, channels
        self.head = Head(channels, head, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        x = images
        for layer in self.children():
            x = layer(x)
        return x

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The maps behind the stem and each stage, by name; see `strides` and `widths`."""
        x, maps = images, {}
        for name in self.strides:
            x = maps[name] = self.get_submodule(name)(x)
        return maps
