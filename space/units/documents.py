"""Architectures and spaces as files: YAML or JSON (which YAML includes), with a schema version.

Only plain data is read (`yaml.SafeLoader`); an unknown key, a missing one, or a schema newer than
this program is refused by name.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nas_sv2.errors import ConfigError
from nas_sv2.space.units.architecture import Architecture, Stage

SCHEMA_KEY = "nas_sv2_architecture"
SCHEMA_VERSION = 1

Document = Mapping[str, Any]
Described = TypeVar("Described")


def architecture_to_document(architecture: Architecture) -> dict[str, Any]:
    """Plain data that `architecture_from_document` reads back; the canonical form."""
    document = {SCHEMA_KEY: SCHEMA_VERSION, **dataclasses.asdict(architecture)}
    document["stem"] = list(architecture.stem)
    document["stages"] = [
        {**dataclasses.asdict(stage), "split": str(stage.split)} for stage in architecture.stages
    ]
    return document


def architecture_to_json(architecture: Architecture) -> str:
    """The canonical form on one line."""
    return json.dumps(architecture_to_document(architecture))


def architecture_to_yaml(architecture: Architecture) -> str:
    """The canonical form for people, one stage a line."""
    return to_yaml(architecture_to_document(architecture))


def to_yaml(document: Document, *, one_line_each: bool = True) -> str:
    """Plain data as YAML: the keys in order, each inner list or mapping on one line, or opened."""
    text: str = yaml.safe_dump(
        dict(document),
        sort_keys=False,
        default_flow_style=None if one_line_each else False,
        width=200,
        allow_unicode=True,
    )
    return text


def architecture_from_document(document: object) -> Architecture:
    """The architecture that `document` describes.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    data = dict(checked_schema(document, SCHEMA_KEY, SCHEMA_VERSION))
    known_keys(data, "", Architecture)
    data["stem"] = tuple(_sequence("stem", data["stem"]))
    data["stages"] = tuple(
        _stage(f"stages[{index}]", stage)
        for index, stage in enumerate(_sequence("stages", data["stages"]))
    )
    return Architecture(**data)


def load_architecture(path: Path) -> Architecture:
    """The architecture in a YAML or JSON file.

    Raises:
        ConfigError: The file cannot be read, or describes no architecture.
    """
    return within(path, architecture_from_document, read_document(path))


def within(path: Path, read: Callable[[object], Described], document: object) -> Described:
    """`read(document)`, with the file named in the error."""
    try:
        return read(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.field}", error.value, error.sentence) from None


def read_document(path: Path) -> object:
    """The plain data in a YAML or JSON file.

    Raises:
        ConfigError: The file cannot be read, or holds anything but plain data.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "file", str(path), f"must be a readable file ({error.strerror})"
        ) from None
    return parse_document(path, content)


def parse_document(path: Path, content: bytes) -> object:
    """The plain data in a YAML or JSON text; `path` names it in errors.

    Raises:
        ConfigError: It holds anything but plain data.
    """
    try:
        return yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            "file", str(path), f"must be YAML or JSON of plain data ({reason})"
        ) from None


def checked_schema(document: object, key: str, version: int) -> Document:
    """The mapping without its schema entry, which must be `key: version` or older."""
    if not isinstance(document, Mapping):
        raise ConfigError(
            "content", document, f"must be a mapping that starts with {key}: {version}"
        )
    given = document.get(key)
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= version:
        newer = isinstance(given, int) and given > version
        hint = "; this file is from a newer nas-sv2" if newer else ""
        raise ConfigError(key, given, f"must be a schema version from 1 to {version}{hint}")
    return {name: value for name, value in document.items() if name != key}


def known_keys(data: Document, where: str, described: type) -> None:
    """Refuse a key that `described`, a dataclass, does not have, and miss none without default."""
    fields = dataclasses.fields(described)
    names = [field.name for field in fields]
    for key in data:
        if key not in names:
            raise ConfigError(
                f"{where}{key}", data[key], "must be one of the keys " + ", ".join(names)
            )
    for field in fields:
        no_default = field.default is dataclasses.MISSING
        if no_default and field.name not in data:
            raise ConfigError(f"{where}{field.name}", None, "must have a value: it has no default")


def fraction(where: str, value: object) -> Fraction:
    """A share written as `1/2`, `"3/8"` or `0.375`."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(where, value, "must be a share such as 1/2 or 0.375") from None


def _stage(where: str, value: object) -> Stage:
    if not isinstance(value, Mapping):
        raise ConfigError(where, value, "must be a mapping with depth, width, split, ...")
    known_keys(value, f"{where}.", Stage)
    data = dict(value)
    if "split" in data:
        data["split"] = fraction(f"{where}.split", data["split"])
    return Stage(**data)


def _sequence(where: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(where, value, "must be a list")
    return value
