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
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from nas_sv2.documents import name_errors, read_document, read_fields, strip_schema
from nas_sv2.errors import ConfigError
from nas_sv2.plug_ins import is_plug_in, load_plug_in
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.units.architecture import OPTIONS
from nas_sv2.space.units.reference import reference

SCHEMA_KEY = "nas_sv2_space"
SCHEMA_VERSION = 1
FILE_ENDINGS = (".yaml", ".yml", ".json", ".toml")


def open_space(text: str) -> SearchSpace:
    """Open the space that `text` names: a built-in one, a file, or `module:attribute`.

    Raises:
        ConfigError: It names none of these; or the file or object is not a space.
    """
    path = Path(text)
    if path.suffix not in FILE_ENDINGS:
        return _space_of_module(text) if is_plug_in(text) else named_space(text)
    return name_errors(
        f"{path}: ", lambda data: space_from_document(data, path.stem), read_document(path)
    )


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
    return _with_known_baselines(read_fields(SearchSpace, data))


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


def _space_of_module(text: str) -> SearchSpace:
    space = load_plug_in("space", text, "sample")
    if not isinstance(space, SearchSpace):
        raise ConfigError("space", text, "must name a SearchSpace, or what returns one")
    return _with_known_baselines(space)


def _with_known_baselines(space: SearchSpace) -> SearchSpace:
    """Return the space, whose baselines must be reference networks that are points of it."""
    for baseline in space.baselines:
        space.params_of(reference(baseline))
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
