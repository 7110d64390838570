"""One network of the space, as a value: the description that every other reading starts from.

The vocabulary is the paper's (ShuffleNet V2, section 3.2 and table 5). A network has a stem,
stages of units that split their channels, a 1×1 head ("conv5"), a global pool and a classifier.
Stages are numbered from 2, as the paper does.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

from nas_sv2.documents import Channels, Classes, Units, check_choice, check_fields
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import Resolution, height_and_width, read_resolution

Downsample = Literal["paper", "torchvision"]
KERNELS = (3, 5, 7)
FIRST_STAGE = 2


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the unit that has a few values.

    Files, spaces, samplers, variants and pages read the options from `OPTIONS`. A new one is a
    field of `Stage`, a line there, and how it lowers (`shuffle_unit`, `standalone_network`).

    Attributes:
        name: The field of `Stage`, the key in files, and the parameter's name in a study.
        values: Its values, the plain unit's first.
        title: Its name in texts.
    """

    name: str
    values: tuple[Any, ...]
    title: str

    def words_of(self, value: Any) -> str:
        """Name a value: `kernel 5`, `SE`, `SE off`."""
        if isinstance(value, bool):
            return self.title if value else f"{self.title} off"
        return f"{self.title} {value}"


OPTIONS = (
    Option("kernel", KERNELS, "kernel"),
    Option("se", (False, True), "SE"),
    Option("residual", (False, True), "residual"),
    Option("wide_field", (False, True), "wide field"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of units with one width; the first unit changes the width and, by `stride`, the map.

    Attributes:
        depth: Number of units, the first included.
        width: Channels c that every unit of the stage emits.
        split: Share c′/c of the channels that are convolved; the others pass.
        kernel: Side of the depthwise kernel.
        se: Squeeze-and-excitation on the main branch, hidden width c/2 (appendix, table 2).
        residual: In units that keep the width, the c′ channels are added to what they become.
        wide_field: V2*: one more 3×3 depthwise convolution before the first 1×1 (section 4).
        stride: Stride of the first unit.
    """

    depth: Units
    width: Channels
    split: Fraction = Fraction(1, 2)
    kernel: int = 3
    se: bool = False
    residual: bool = False
    wide_field: bool = False
    stride: int = 2

    @property
    def convolved(self) -> int:
        """c′, the channels of a unit that are convolved."""
        return self.width * self.split.numerator // self.split.denominator

    @property
    def additions(self) -> tuple[str, ...]:
        """The titles of its additions to the plain unit: `SE`, `residual`."""
        return tuple(one.title for one in OPTIONS if getattr(self, one.name) is True)


@dataclass(frozen=True)
class Architecture:
    """One point of the space; equal descriptions have equal `digest`s.

    Attributes:
        stem: Widths of the 3×3 stem convolutions; the first has stride `stem_stride`.
        stages: The stages, in order; the first is the paper's stage 2.
        head: Width of the 1×1 convolution before the pool, the paper's conv5.
        resolution: Side of the square input, or its height and width, so that the input is
            (N, channels, height, width).
        channels: Input channels.
        classes: Output classes.
        downsample: How a unit that changes the width shares it between its branches. `paper` is
            the authors' code: the shortcut keeps c_in, main emits c − c_in. Only this form counts
            to the paper's FLOPs. `torchvision` emits c − c′ and c′.
        stem_stride: Stride of the first stem convolution.
        stem_pool: Whether the 3×3 stride-2 max pool follows the stem.

    Raises:
        ConfigError: A value that no network can have; names the field.
    """

    stem: tuple[Channels, ...]
    stages: tuple[Stage, ...]
    head: Channels
    resolution: Resolution = 224
    channels: Channels = 3
    classes: Classes = 1000
    downsample: Downsample = "paper"
    stem_stride: int = 2
    stem_pool: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        check_fields(self)
        if not self.stem:
            raise ConfigError("stem", [], "must have at least one width")
        check_choice("stem_stride", self.stem_stride, (1, 2))
        if not self.stages:
            raise ConfigError("stages", [], "must have at least one stage")
        width_in = self.stem[-1]
        for index, stage in enumerate(self.stages):
            _check_stage(f"stages[{index}]", stage, width_in, self.downsample)
            width_in = stage.width
        object.__setattr__(self, "resolution", read_resolution("resolution", self.resolution))
        if min(height_and_width(self.resolution)) < self.total_stride:
            raise ConfigError(
                "resolution",
                self.resolution,
                f"must be at least the total stride, {self.total_stride}, of stem, pool "
                "and stages",
            )

    @property
    def total_stride(self) -> int:
        """The factor by which the map before the head is smaller than the input."""
        stride = self.stem_stride * (2 if self.stem_pool else 1)
        for stage in self.stages:
            stride *= stage.stride
        return stride

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content; the key of every cache."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_stage(where: str, stage: Stage, width_in: int, downsample: Downsample) -> None:
    check_fields(stage, f"{where}.")
    for option in OPTIONS:
        check_choice(f"{where}.{option.name}", getattr(stage, option.name), option.values)
    check_choice(f"{where}.stride", stage.stride, (1, 2))
    if stage.width % 2:
        raise ConfigError(
            f"{where}.width", stage.width, "must be an even width, for the channel shuffle"
        )
    if not 0 < stage.split < 1:
        raise ConfigError(
            f"{where}.split", str(stage.split), "must be a share between 0 and 1, as 1/2"
        )
    if (stage.width * stage.split).denominator != 1:
        raise ConfigError(
            f"{where}.split",
            str(stage.split),
            f"must be a share that makes c′ = {stage.width} × split an integer",
        )
    if downsample == "paper" and stage.width <= width_in:
        raise ConfigError(
            f"{where}.width",
            stage.width,
            f"must be more than the {width_in} channels that enter, which the shortcut keeps "
            "(or downsample: torchvision)",
        )


def scale_width(architecture: Architecture, factor: float) -> Architecture:
    """Return `architecture` with its widths times `factor`, each rounded to what can be built.

    That is the nearest even width that its split divides. If the shortcut keeps its channels, it
    is also above the input width. Depth, kernels and all else stay.
    """
    if factor == 1:
        return architecture
    stem = tuple(max(1, round(width * factor)) for width in architecture.stem)
    stages, width_in = [], stem[-1]
    for stage in architecture.stages:
        step = math.lcm(2, stage.split.denominator)
        width = max(1, round(stage.width * factor / step)) * step
        if architecture.downsample == "paper" and width <= width_in:
            width = (width_in // step + 1) * step
        stages.append(dataclasses.replace(stage, width=width))
        width_in = width
    head = max(1, round(architecture.head * factor))
    return dataclasses.replace(architecture, stem=stem, stages=tuple(stages), head=head)
