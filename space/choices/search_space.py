"""A search space: the choices that a search makes, as a value.

Sampling is define-by-run: `SearchSpace.sample` asks a `Suggester` for one number after the other.
Replaying stored parameters is therefore the same code as sampling new ones. Every answer gives a
network that can be built. A width moves to the nearest one that makes c′ an integer, and a stage
is at least one step wider than its input. Different answers may thus give the same network;
identity is `Architecture.digest`.

A user's own space is a small YAML, JSON or TOML file:

::

    nas_sv2_space: 1
    stem: [16, 24]                                # widths to choose from
    head: 1024                                    # a single value is not searched
    stages:
      - depth: {low: 2, high: 5}
        width: {low: 64, high: 160, step: 4}
        split: [1/4, 1/2, 3/4]
        kernel: [3, 5]
        se: [false, true]
      - depth: {low: 4, high: 8}
        width: {low: 168, high: 320, step: 8}
      - depth: {low: 2, high: 5}
        width: {low: 328, high: 640, step: 8}
    baselines: [shufflenet_v2_x1_0]
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from nas_sv2.documents import (
    Channels,
    Classes,
    Positive,
    Units,
    check_choice,
    check_fields,
    check_value,
    name_errors,
    read_document,
    read_fields,
    strip_schema,
)
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import Resolution, read_resolution
from nas_sv2.space.choices.suggesters import EndSuggester, Replay, Suggester
from nas_sv2.space.units.architecture import FIRST_STAGE, OPTIONS, Architecture, Stage
from nas_sv2.space.units.reference import in_form_of, reference

SCHEMA_KEY = "nas_sv2_space"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Range:
    """The whole numbers low, low + step, ..., high."""

    low: Channels
    high: Channels
    step: Positive = 1

    def __post_init__(self) -> None:
        """Refuse a range that does not end on a step."""
        check_fields(self)
        if self.low > self.high:
            raise ConfigError(
                "range",
                [self.low, self.high, self.step],
                "must be [low, high, step] with low <= high",
            )
        if (self.high - self.low) % self.step:
            raise ConfigError(
                "range",
                [self.low, self.high, self.step],
                "must have a high that low reaches by steps",
            )

    @property
    def numbers(self) -> range:
        """The numbers that it reaches."""
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, slots=True)
class StageChoices:
    """The choices of a stage; `stride` is not searched."""

    depth: Range
    width: Range
    split: tuple[Fraction, ...] = (Fraction(1, 2),)
    kernel: tuple[int, ...] = (3,)
    se: tuple[bool, ...] = (False,)
    residual: tuple[bool, ...] = (False,)
    wide_field: tuple[bool, ...] = (False,)
    stride: int = 2

    def __post_init__(self) -> None:
        """Refuse an option without a choice, and a choice that no stage can have."""
        check_fields(self)
        check_value("depth", self.depth.high, Units)
        for name in ("split", *(option.name for option in OPTIONS)):
            if not getattr(self, name):
                raise ConfigError(name, [], "must have at least one choice")
        for option in OPTIONS:
            for value in getattr(self, option.name):
                check_choice(option.name, value, option.values)
        for split in self.split:
            if not 0 < split < 1 or math.lcm(2, split.denominator) > self.width.low:
                sentence = "must be a share between 0 and 1 that divides widths of the range"
                raise ConfigError("split", str(split), sentence)


@dataclass(frozen=True)
class SearchSpace:
    """A set of networks.

    Attributes:
        name: The user's name for it; not part of its identity.
        stem: Stem widths to choose from, each a tuple of 3×3 convolutions.
        stages: The choices of each stage; their number is fixed.
        head: Widths of the 1×1 convolution before the pool.
        baselines: Names of the hand-designed networks that a search starts with. They have the
            input and the strides of the space, and are points of it.
        resolution: Side of the input whose latency counts, or its height and width.
        channels: Input channels.
        classes: Output classes.
        stem_stride: Stride of the first stem convolution.
        stem_pool: Whether the 3×3 stride-2 max pool follows the stem.
    """

    name: str
    stem: tuple[tuple[Channels, ...], ...]
    stages: tuple[StageChoices, ...]
    head: Range
    baselines: tuple[str, ...] = ()
    resolution: Resolution = 224
    channels: Channels = 3
    classes: Classes = 1000
    stem_stride: int = 2
    stem_pool: bool = True

    def __post_init__(self) -> None:
        """Refuse a space without a choice, or with a point that cannot be built."""
        check_fields(self)
        object.__setattr__(self, "resolution", read_resolution("resolution", self.resolution))
        check_choice("stem_stride", self.stem_stride, (1, 2))
        if not self.stem or not self.stages:
            raise ConfigError(
                "stem" if not self.stem else "stages", [], "must have at least one choice"
            )
        if not all(self.stem):
            raise ConfigError("stem", [], "must have at least one convolution in each choice")
        self.sample(EndSuggester(highest=False))

    @classmethod
    def load(cls, path: Path | str) -> "SearchSpace":
        """Read a space from a YAML, JSON or TOML file; its name is the file's if it has none.

        Raises:
            ConfigError: The file cannot be read, or a field of it is not allowed.
        """
        if not isinstance(path, Path | str):
            raise ConfigError("path", path, "must be a path or a text")
        path = Path(path)
        return name_errors(
            f"{path}: ",
            lambda data: space_from_document(data, path.stem),
            read_document(path, "space"),
        )

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content; a study belongs to one space."""
        content = dataclasses.asdict(self)
        del content["name"], content["baselines"]
        for name, plain in (("stem_stride", 2), ("stem_pool", True)):
            if content[name] == plain:  # as in the digests of spaces that had no such field
                del content[name]
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def baseline(self, name: str) -> Architecture:
        """The hand-designed network of that name, with the input and strides of this space.

        Raises:
            ConfigError: There is none of that name.
        """
        return in_form_of(self, reference(name))

    def sample(self, trial: Suggester) -> Architecture:
        """The network that `trial`'s answers describe."""
        stems = {"-".join(map(str, widths)): widths for widths in self.stem}
        stem = stems[trial.suggest_categorical("stem", list(stems))]
        width_in, stages = stem[-1], []
        for number, choices in enumerate(self.stages, FIRST_STAGE):
            stage = _sample_stage(trial, f"stage{number}", choices, width_in)
            stages.append(stage)
            width_in = stage.width
        head = trial.suggest_int("head", self.head.low, self.head.high, step=self.head.step)
        return Architecture(
            stem,
            tuple(stages),
            head,
            self.resolution,
            self.channels,
            self.classes,
            stem_stride=self.stem_stride,
            stem_pool=self.stem_pool,
        )

    def params_of(self, architecture: Architecture) -> dict[str, Any]:
        """The answers for which `sample` gives `architecture`.

        Raises:
            ConfigError: It lies outside this space; the message names the first part that does.
        """
        if not isinstance(architecture, Architecture):
            raise ConfigError("architecture", architecture, "must be an Architecture")
        params: dict[str, Any] = {
            "stem": "-".join(map(str, architecture.stem)),
            "head": architecture.head,
        }
        width_in = architecture.stem[-1]
        for number, (stage, choices) in enumerate(
            zip(architecture.stages, self.stages, strict=False), FIRST_STAGE
        ):
            for name in ("depth", *(option.name for option in OPTIONS)):
                params[f"stage{number}.{name}"] = getattr(stage, name)
            params[f"stage{number}.split"] = str(stage.split)
            params[f"stage{number}.width"] = _answer(stage, choices.width, width_in)
            width_in = stage.width
        if self.sample(Replay(params)) != architecture:
            raise ConfigError(
                "architecture", architecture.digest, f"must be a point of space {self.name}"
            )
        return params


def _sample_stage(trial: Suggester, name: str, choices: StageChoices, width_in: int) -> Stage:
    def among(option: str) -> Any:
        return trial.suggest_categorical(f"{name}.{option}", list(getattr(choices, option)))

    def number(option: str, allowed: Range) -> int:
        return trial.suggest_int(f"{name}.{option}", allowed.low, allowed.high, step=allowed.step)

    depth = number("depth", choices.depth)
    width = number("width", choices.width)
    split = Fraction(trial.suggest_categorical(f"{name}.split", [*map(str, choices.split)]))
    return Stage(
        depth=depth,
        width=splittable(width, split, more_than=width_in),
        split=split,
        stride=choices.stride,
        **{option.name: among(option.name) for option in OPTIONS},
    )


def _answer(stage: Stage, widths: Range, width_in: int) -> int:
    """Return a width of the range that becomes that of `stage`, or its own if none does."""
    if stage.width in widths.numbers:
        return stage.width
    made = (one for one in widths.numbers if splittable(one, stage.split, width_in) == stage.width)
    return next(made, stage.width)


def splittable(width: int, split: Fraction, more_than: int) -> int:
    """The even width nearest to `width` (the wider of two) that `split` divides."""
    step = math.lcm(2, split.denominator)
    nearest = (width + step // 2) // step * step
    return max(nearest, more_than // step * step + step)


def space_from_document(document: object, name: str) -> SearchSpace:
    """The space that plain data describes; `name` where the data has none.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    data = {"name": name, **strip_schema(document, SCHEMA_KEY, SCHEMA_VERSION)}
    for field in _LISTS & data.keys():
        data[field] = _listed(data[field])
    if "stem" in data:
        data["stem"] = [_listed(widths) for widths in data["stem"]]
    if "head" in data:
        data["head"] = _ranged(data["head"])
    if "stages" in data:
        data["stages"] = [_stage(stage) for stage in data["stages"]]
    return with_known_baselines(read_fields(SearchSpace, data))


def space_to_document(space: SearchSpace) -> dict[str, Any]:
    """Plain data that `space_from_document` reads back to an equal space."""
    document = {SCHEMA_KEY: SCHEMA_VERSION, **dataclasses.asdict(space)}
    document["stem"] = [list(widths) for widths in space.stem]
    document["baselines"] = list(space.baselines)
    document["stages"] = [
        {
            name: value if name in _RANGES or name == "stride" else _plain(value)
            for name, value in dataclasses.asdict(stage).items()
        }
        for stage in space.stages
    ]
    return document


def with_known_baselines(space: SearchSpace) -> SearchSpace:
    """Return the space, whose baselines must be reference networks that are points of it."""
    for baseline in space.baselines:
        space.params_of(space.baseline(baseline))
    return space


_LISTS = {"stem", "stages", "baselines"}
_RANGES = ("depth", "width")


def _plain(choices: Sequence[Any]) -> list[Any]:
    return [str(one) if isinstance(one, Fraction) else one for one in choices]


def _stage(value: object) -> object:
    """Write out what a file may shorten: one choice for a list, one number for a range."""
    if not isinstance(value, Mapping):
        return value
    lists = {"split", *(option.name for option in OPTIONS)}
    return {
        name: _ranged(one) if name in _RANGES else _listed(one) if name in lists else one
        for name, one in value.items()
    }


def _ranged(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return {"low": value, "high": value} if whole else value


def _listed(value: object) -> list[Any]:
    """A list as it is; anything else as the only choice."""
    return value if isinstance(value, list) else [value]
