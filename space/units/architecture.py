"""One network of the space, as a value: the description that every other reading starts from.

The vocabulary is the paper's (ShuffleNet V2, section 3.2 and table 5): a stem, stages of units
that split their channels, a 1×1 head ("conv5"), a global pool and a classifier. Stages are
numbered from 2, as the paper does.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal, get_args

from nas_sv2.errors import ConfigError

Downsample = Literal["paper", "torchvision"]
KERNELS = (3, 5, 7)
FIRST_STAGE = 2


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

    depth: int
    width: int
    split: Fraction = Fraction(1, 2)
    kernel: int = 3
    se: bool = False
    residual: bool = False
    wide_field: bool = False
    stride: int = 2

    @property
    def convolved(self) -> int:
        """c′, the channels of a unit that are convolved."""
        return int(self.width * self.split)


@dataclass(frozen=True)
class Architecture:
    """One point of the space; equal descriptions have equal `digest`s.

    Attributes:
        stem: Widths of the 3×3 stem convolutions; the first has stride `stem_stride`.
        stages: The stages, in order; the first is the paper's stage 2.
        head: Width of the 1×1 convolution before the pool, the paper's conv5.
        resolution: Side of the square input, so that the input is (N, channels, side, side).
        channels: Input channels.
        classes: Output classes.
        downsample: How a unit that changes the width shares it between its branches: `paper` is
            the authors' code (shortcut keeps c_in, main emits c − c_in), the only form that counts
            to the paper's FLOPs; `torchvision` emits c − c′ and c′.
        stem_stride: Stride of the first stem convolution.
        stem_pool: Whether the 3×3 stride-2 max pool follows the stem.

    Raises:
        ConfigError: A value that no network can have; names the field.
    """

    stem: tuple[int, ...]
    stages: tuple[Stage, ...]
    head: int
    resolution: int = 224
    channels: int = 3
    classes: int = 1000
    downsample: Downsample = "paper"
    stem_stride: int = 2
    stem_pool: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        for index, width in enumerate(self.stem):
            _positive(f"stem[{index}]", width)
        if not self.stem:
            raise ConfigError("stem", list(self.stem), "must be at least one width")
        for field in ("head", "resolution", "channels", "classes"):
            _positive(field, getattr(self, field))
        _one_of("downsample", self.downsample, get_args(Downsample))
        _one_of("stem_stride", self.stem_stride, (1, 2))
        _boolean("stem_pool", self.stem_pool)
        if not self.stages:
            raise ConfigError("stages", [], "must be at least one stage")
        width_in = self.stem[-1]
        for index, stage in enumerate(self.stages):
            _check_stage(f"stages[{index}]", stage, width_in, self.downsample)
            width_in = stage.width
        if self.resolution < self.total_stride:
            raise ConfigError(
                "resolution",
                self.resolution,
                f"must be at least the total stride, {self.total_stride}, of stem, pool "
                "and stages",
            )

    @property
    def total_stride(self) -> int:
        """By how much the input side is divided before the head."""
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
    _positive(f"{where}.depth", stage.depth)
    _positive(f"{where}.width", stage.width)
    if stage.width % 2:
        raise ConfigError(
            f"{where}.width", stage.width, "must be an even width, for the channel shuffle"
        )
    if not isinstance(stage.split, Fraction) or not 0 < stage.split < 1:
        raise ConfigError(
            f"{where}.split", str(stage.split), "must be a share between 0 and 1, as 1/2"
        )
    if (stage.width * stage.split).denominator != 1:
        raise ConfigError(
            f"{where}.split",
            str(stage.split),
            f"must be a share that makes c′ = {stage.width} × split an integer",
        )
    _one_of(f"{where}.kernel", stage.kernel, KERNELS)
    _one_of(f"{where}.stride", stage.stride, (1, 2))
    for field in ("se", "residual", "wide_field"):
        _boolean(f"{where}.{field}", getattr(stage, field))
    if downsample == "paper" and stage.width <= width_in:
        raise ConfigError(
            f"{where}.width",
            stage.width,
            f"must be more than the {width_in} channels that enter, which the shortcut keeps "
            "(or downsample: torchvision)",
        )


def _positive(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(field, value, "must be a whole number above 0")


def _one_of(field: str, value: object, allowed: tuple[object, ...]) -> None:
    if type(value) is not type(allowed[0]) or value not in allowed:
        raise ConfigError(field, value, "must be one of " + ", ".join(map(str, allowed)))


def _boolean(field: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(field, value, "must be true or false")
