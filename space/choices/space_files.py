"""A user's own space: a small YAML or TOML file.

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
import tomllib
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from nas_sv2.errors import ConfigError
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.search_space import Range, SearchSpace, StageChoices
from nas_sv2.space.units.documents import (
    Document,
    checked_schema,
    fraction,
    known_keys,
    read_document,
    within,
)
from nas_sv2.space.units.reference import reference

SCHEMA_KEY = "nas_sv2_space"
SCHEMA_VERSION = 1
Built = TypeVar("Built")
FILE_ENDINGS = (".yaml", ".yml", ".json", ".toml")


def open_space(text: str) -> SearchSpace:
    """The space that `text` names: one of ours, or a file.

    Raises:
        ConfigError: Neither; names the field, the value and what is allowed.
    """
    path = Path(text)
    if path.suffix not in FILE_ENDINGS:
        return named_space(text)
    document = _read_toml(path) if path.suffix == ".toml" else read_document(path)
    return within(path, lambda data: space_from_document(data, path.stem), document)


def space_from_document(document: object, name: str) -> SearchSpace:
    """The space that plain data describes; `name` where the data has none.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    data = {"name": name, **checked_schema(document, SCHEMA_KEY, SCHEMA_VERSION)}
    known_keys(data, "", SearchSpace)
    data["stem"] = tuple(tuple(_listed(widths)) for widths in _listed(data["stem"]))
    data["head"] = _range("head", data["head"])
    data["stages"] = tuple(
        _stage(f"stages[{index}]", stage) for index, stage in enumerate(_listed(data["stages"]))
    )
    data["baselines"] = tuple(_listed(data.get("baselines", [])))
    space = SearchSpace(**data)
    for baseline in space.baselines:
        space.params_of(reference(baseline))
    return space


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


_RANGES = ("depth", "width")


def _plain(choices: Sequence[Any]) -> list[Any]:
    return [str(one) if isinstance(one, Fraction) else one for one in choices]


def _stage(where: str, value: object) -> StageChoices:
    data = dict(_mapping(where, value))
    known_keys(data, f"{where}.", StageChoices)
    for field in _RANGES:
        data[field] = _range(f"{where}.{field}", data[field])
    for field in ("kernel", "se", "residual", "wide_field", "split"):
        if field in data:
            data[field] = tuple(_listed(data[field]))
    if "split" in data:
        data["split"] = tuple(fraction(f"{where}.split", share) for share in data["split"])
    return _named(where, lambda: StageChoices(**data))


def _range(where: str, value: object) -> Range:
    if isinstance(value, int) and not isinstance(value, bool):
        return _named(where, lambda: Range(value, value))
    data = _mapping(where, value)
    known_keys(data, f"{where}.", Range)
    return _named(where, lambda: Range(**data))


def _mapping(where: str, value: object) -> Document:
    if not isinstance(value, Mapping):
        raise ConfigError(
            where, value, "must be a whole number, or a mapping with low, high and step"
        )
    return value


def _named(where: str, build: Callable[[], Built]) -> Built:
    """What `build` makes, with `where` before the field in its error."""
    try:
        return build()
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.field}", error.value, error.sentence) from None


def _listed(value: object) -> list[Any]:
    """A list as it is; anything else as the only choice."""
    return value if isinstance(value, list) else [value]


def _read_toml(path: Path) -> object:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "file", str(path), f"must be a readable file ({error.strerror})"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("file", str(path), f"must be a TOML file ({error})") from None
