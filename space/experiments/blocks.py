"""The small blocks that the networks of the controlled experiments repeat.

The first four are the paper's (section 2 and appendix, figure 1). The paper does not say which
operators follow a convolution. Here they are those of its own units: batch norm, which is folded,
and ReLU. Parallel fragments are joined by a sum with one ReLU behind it. The other blocks ask
further questions: about each operator of our units alone, and about units with and without it.

A block is a value: its numbers, how many channels enter and leave, and how it lowers.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from nas_sv2.documents import Channels, Classes, Units, check_choice, check_fields
from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.operators import GraphBuilder, Value
from nas_sv2.space.units.architecture import KERNELS, Stage
from nas_sv2.space.units.shuffle_unit import basic_unit, downsample_unit

Arrangement = Literal["series", "parallel"]
Move = Literal["none", "cut", "shuffle", "cut and shuffle"]


@dataclass(frozen=True, slots=True)
class PointwisePair:
    """1×1 from `width` to `inner` channels and 1×1 back (G1)."""

    width: Channels
    inner: Channels

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        value = build.conv(f"{name}.out", source, self.inner, activation="relu")
        return build.conv(f"{name}.back", value, self.width, activation="relu")


@dataclass(frozen=True, slots=True)
class GroupedPointwise:
    """One 1×1 convolution in `groups` groups (G2)."""

    width: Channels
    groups: Channels

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        if self.width % self.groups:
            raise ConfigError(
                "width", self.width, f"must be a multiple of the {self.groups} groups"
            )

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        return build.conv(
            f"{name}.conv", source, self.width, groups=self.groups, activation="relu"
        )


@dataclass(frozen=True, slots=True)
class Fragments:
    """`count` 1×1 convolutions one after the other, or side by side and summed (G3)."""

    width: Channels
    count: Units
    arrangement: Arrangement

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators; a fragment alone is the same in both arrangements."""
        names = [f"{name}.{index}" for index in range(self.count)]
        if self.arrangement == "series" or self.count == 1:
            value = source
            for each in names:
                value = build.conv(each, value, self.width, activation="relu")
            return value
        total, *others = [build.conv(each, source, self.width) for each in names]
        for index, value in enumerate(others):
            total = build.add(f"{name}.add{index}", total, value)
        return build.activation(f"{name}.relu", total, "relu")


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """ResNet's 1×1, 3×3 on `inner` channels, 1×1, with or without ReLU and shortcut (G4)."""

    width: Channels
    inner: Channels
    relu: bool = True
    shortcut: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        relu: Literal["relu"] | None = "relu" if self.relu else None
        value = build.conv(f"{name}.reduce", source, self.inner, activation=relu)
        value = build.conv(f"{name}.conv", value, self.inner, 3, activation=relu)
        last = None if self.shortcut else relu
        value = build.conv(f"{name}.expand", value, self.width, activation=last)
        if self.shortcut:
            value = build.add(f"{name}.add", source, value)
            if relu:
                value = build.activation(f"{name}.relu", value, relu)
        return value


@dataclass(frozen=True, slots=True)
class Depthwise:
    """One depthwise convolution that keeps the map."""

    width: Channels
    kernel: int

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        check_choice("kernel", self.kernel, KERNELS)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        return build.conv(f"{name}.depthwise", source, self.width, self.kernel, depthwise=True)


@dataclass(frozen=True, slots=True)
class ShrinkingDepthwise:
    """`branches` depthwise convolutions of stride 2 on one map, summed.

    They are side by side, because in a row each would see another map. They are many, because the
    operators around a single one would take longer than it does.
    """

    width: Channels
    kernel: int
    branches: Units = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        check_choice("kernel", self.kernel, KERNELS)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        total, *others = [
            build.conv(
                f"{name}.{index}", source, self.width, self.kernel, stride=2, depthwise=True
            )
            for index in range(self.branches)
        ]
        for index, value in enumerate(others):
            total = build.add(f"{name}.add{index}", total, value)
        return total


@dataclass(frozen=True, slots=True)
class MovedPointwise:
    """Channels that are only moved, then a 1×1 convolution with shortcut and ReLU.

    `cut` splits the channels in halves and joins them the other way round; `shuffle` shuffles in
    two groups. The shortcut ties the order of the channels, so that no rewriting can take the
    moves away (`shuffle_free`).
    """

    width: Channels
    move: Move

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        _check_even("width", self.width)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        value = source
        if "cut" in self.move:
            left, right = build.split(f"{name}.split", value, (self.width // 2,) * 2)
            value = build.concat(f"{name}.concat", right, left)
        if "shuffle" in self.move:
            value = build.shuffle(f"{name}.shuffle", value)
        convolved = build.conv(f"{name}.conv", value, self.width)
        return build.activation(f"{name}.relu", build.add(f"{name}.add", value, convolved), "relu")


@dataclass(frozen=True, slots=True)
class Unit:
    """A ShuffleNet V2 unit that keeps its `width`, of which `convolved` channels are convolved."""

    width: Channels
    convolved: Channels
    kernel: int = 3
    se: bool = False
    residual: bool = False
    wide_field: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        _check_even("width", self.width)
        check_choice("kernel", self.kernel, KERNELS)
        if self.convolved >= self.width:
            raise ConfigError(
                "convolved", self.convolved, f"must be less than the width, {self.width}"
            )

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        split = Fraction(self.convolved, self.width)
        stage = Stage(1, self.width, split, self.kernel, self.se, self.residual, self.wide_field)
        return basic_unit(build, name, source, stage)


@dataclass(frozen=True, slots=True)
class ShrinkingUnit:
    """A ShuffleNet V2 unit that halves the map and widens it from `width` to `wider` channels."""

    width: Channels
    wider: Channels
    kernel: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        _check_even("wider", self.wider)
        check_choice("kernel", self.kernel, KERNELS)
        if self.wider <= self.width:
            raise ConfigError("wider", self.wider, f"must be more than the width, {self.width}")

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        stage = Stage(1, self.wider, kernel=self.kernel)
        return downsample_unit(build, name, source, stage, "paper")


@dataclass(frozen=True, slots=True)
class Stem:
    """The 3×3 stride-2 convolution of an image to `width` channels, and the max pool behind it."""

    width: Channels
    pool: bool = True
    image_channels: Channels = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        value = build.conv(f"{name}.conv", source, self.width, 3, stride=2, activation="relu")
        return build.max_pool(f"{name}.pool", value) if self.pool else value


@dataclass(frozen=True, slots=True)
class Head:
    """The last 1×1 convolution from `width` to `inner` channels, global pool and classifier."""

    width: Channels
    inner: Channels
    classes: Classes = 1000

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)

    def append(self, build: GraphBuilder, name: str, source: Value) -> Value:
        """Its operators."""
        value = build.conv(f"{name}.conv", source, self.inner, activation="relu")
        value = build.global_average_pool(f"{name}.pool", value)
        return build.linear(f"{name}.classifier", value, self.classes)


Block = (
    PointwisePair
    | GroupedPointwise
    | Fragments
    | Bottleneck
    | Depthwise
    | ShrinkingDepthwise
    | MovedPointwise
    | Unit
    | ShrinkingUnit
    | Stem
    | Head
)


def channels_of(block: Block) -> tuple[int, int]:
    """The channels that enter a block and that leave it."""
    match block:
        case ShrinkingUnit():
            return block.width, block.wider
        case Stem():
            return block.image_channels, block.width
        case Head():
            return block.width, block.classes
        case _:
            return block.width, block.width


def _check_even(name: str, channels: int) -> None:
    if channels % 2:
        raise ConfigError(name, channels, "must be an even number, for the channel shuffle")
