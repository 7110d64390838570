"""Files of plain data, and dataclasses whose fields are held to their types.

A dataclass says what its fields may be by their annotations, with msgspec's `Meta` for limits.
`check_fields` holds a value to them, `read_fields` builds one from a mapping. Both raise one
`ConfigError` that names the field, its value and what it must be.

Only plain data within bounds is read (`plain_data`); an unknown key, a missing one, or a schema
newer than this program is refused by name.
"""

import dataclasses
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.files import read_bounded
from nas_sv2.plain_data import LARGEST, MOST_BYTES, decode, parse_toml, parse_yaml, printable

Document = Mapping[str, Any]
Described = TypeVar("Described")

Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
MOST_TRAININGS = 10_000
Trainings = Annotated[int, Meta(ge=1, le=MOST_TRAININGS)]
"""A number of networks or seeds to train; a larger one is a slip of the pen."""
MOST_SIDE = 16_384
Side = Annotated[int, Meta(ge=1, le=MOST_SIDE, description=f"pixels, from 1 to {MOST_SIDE}")]
Channels = Annotated[int, Meta(ge=1, le=65_536)]
Classes = Annotated[int, Meta(ge=1, le=1_000_000)]
Units = Annotated[int, Meta(ge=1, le=1000)]
"""Sizes of a network. Each channel and each unit is followed; beyond these that takes minutes."""
AboveZero = Annotated[float, Meta(gt=0)]
FromZero = Annotated[float, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""A seed that every generator takes."""
Name = Annotated[str, Meta(pattern=r"\S", description="a name, not only spaces")]
Share = Annotated[float, Meta(ge=0, le=1)]
PositiveShare = Annotated[float, Meta(gt=0, le=1)]


def check_fields(value: object, where: str = "") -> None:
    """Hold the fields of a dataclass to their annotations.

    A list in a tuple's place becomes one: a frozen value stays as it is, and has a hash.

    Args:
        value: The dataclass.
        where: The words before the names of its fields, such as `stages[0].`.

    Raises:
        ConfigError: A field has another type or is outside its limits; names the first.
    """
    kind: Any = type(value)
    for name, hint in _hints_of(kind).items():
        given = getattr(value, name)
        check_value(f"{where}{name}", given, hint)
        if get_origin(hint) is tuple and given != (whole := _as_tuple(given)):
            object.__setattr__(value, name, whole)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def check_value(field: str, value: object, hint: Any) -> None:
    """Hold a value, and the items of a tuple, to a type with its limits.

    Raises:
        ConfigError: It has another type or is outside the limits.
    """
    if get_origin(hint) is tuple and isinstance(value, tuple):
        for index, item in enumerate(value):
            check_value(f"{field}[{index}]", item, get_args(hint)[0])
    elif not _fits(value, hint):
        raise ConfigError(field, value, f"must be {_words_of(hint)}")


def check_choice(field: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is not among `choices`, which have one type.

    Raises:
        ConfigError: It is not; names the choices.
    """
    if type(value) is not type(choices[0]) or value not in choices:
        raise ConfigError(field, value, f"must be one of {_list(choices)}")


def read_fields(kind: type[Described], document: object, where: str = "") -> Described:
    """Build a dataclass, and those within it, from plain data.

    Args:
        kind: The dataclass.
        document: A mapping of its fields; lists become tuples.
        where: The field that the mapping is the value of.

    Raises:
        ConfigError: A key is unknown or missing, or the dataclass refuses a value.
    """
    if not isinstance(document, Mapping):
        raise ConfigError(where or "content", document, f"must be {_words_of(kind)}")
    prefix = f"{where}." if where else ""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in document.items():
        if key not in fields:
            raise ConfigError(f"{prefix}{key}", value, f"must be one of the keys {_list(fields)}")
    for name, field in fields.items():
        if name not in document and field.default is dataclasses.MISSING:
            raise ConfigError(f"{prefix}{name}", None, "must have a value: it has no default")
    hints: Mapping[str, Any] = _hints_of(kind)  # type: ignore[arg-type]
    data = {key: _read(hints[key], value, f"{prefix}{key}") for key, value in document.items()}
    return name_errors(prefix, lambda values: kind(**values), data)


def name_errors(prefix: str, read: Callable[[Any], Described], document: object) -> Described:
    """Run `read(document)`, with `prefix` before the field of its error."""
    try:
        return read(document)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error.field}", error.value, error.sentence) from None


def read_document(path: Path, field: str = "file") -> object:
    """Read the plain data of a YAML, JSON or TOML file.

    Args:
        path: The file.
        field: The parameter that names the file, for the error if it cannot be read.

    Raises:
        ConfigError: The file cannot be read, is too large, or holds anything but plain data.
    """
    try:
        content = read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            field, str(path), f"must be a readable file ({error.strerror})"
        ) from None
    return parse_document(path, content, field)


def parse_document(path: Path, content: bytes, field: str = "file") -> object:
    """Read the plain data of a TOML text if the name ends so, else of YAML or JSON.

    Raises:
        ConfigError: It holds anything but plain data within bounds; names the file.
    """
    is_toml = path.suffix == ".toml"
    try:
        return parse_toml(decode(content)) if is_toml else parse_yaml(decode(content))
    except ValueError as error:
        form = "TOML" if is_toml else "YAML or JSON of plain data"
        raise ConfigError(field, str(path), f"must be {form} ({error})") from None


@contextmanager
def reading_stored(what: str, remedy: str = "") -> Iterator[None]:
    """Turn any fault of stored data, which others may have written, into one `StoreError`.

    Args:
        what: Name of the data in a sentence.
        remedy: Advice on how to get such data again; empty if there is none.
    """
    try:
        yield
    except STORED_FAULTS as error:
        reason = printable(str(error) if isinstance(error, NasError) else repr(error))
        advice = f"; {remedy}" if remedy else ""
        raise StoreError(f"{what} cannot be read: {reason}{advice}") from error


STORED_FAULTS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, NasError)
"""The errors of plain data that have another form than ours."""


def strip_schema(document: object, key: str, version: int) -> Document:
    """Take the schema entry from a mapping; it must be `key: version` or older."""
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


def to_yaml(document: Document, *, one_line_each: bool = True) -> str:
    """Write plain data as YAML, keys in order; each inner list or mapping takes one line."""
    text: str = yaml.safe_dump(
        dict(document),
        sort_keys=False,
        default_flow_style=None if one_line_each else False,
        width=200,
        allow_unicode=True,
    )
    return text


@cache
def _hints_of(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _fits(value: object, hint: Any) -> bool:
    if any(map(dataclasses.is_dataclass, _alternatives(hint))):
        return isinstance(value, hint)  # msgspec knows no union of dataclasses
    if isinstance(value, float):
        value = float(value)  # msgspec takes no numpy.float64, which is one
        if not math.isfinite(value):
            return False
    if isinstance(value, int) and abs(value) > LARGEST:
        return False
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _read(hint: Any, value: object, field: str) -> object:
    """Bring a value of plain data to the form that `hint` has; checking it comes later."""
    kinds = _alternatives(hint)
    if value is None or any(isinstance(value, kind) for kind in kinds if isinstance(kind, type)):
        return value
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            return read_fields(kind, value, field)  # type: ignore[arg-type]
        if get_origin(kind) is tuple:
            if not isinstance(value, list | tuple):
                raise ConfigError(field, value, f"must be {_words_of(kind)}")
            item = get_args(kind)[0]
            return tuple(_read(item, one, f"{field}[{i}]") for i, one in enumerate(value))
        if kind is Fraction:
            return _fraction(value, field)
        if isinstance(value, list) and get_origin(kind) is Annotated:
            return tuple(value)  # what may be a number or a pair
        if _base(kind) is float and isinstance(value, str):
            return _number(value)
    return value


_SHARE = re.compile(
    r"[-+]?([0-9]{1,18}(/[0-9]{1,18})?|([0-9]{0,18}\.)?[0-9]{1,18}(e-?[0-9]{1,2})?)", re.I
)


def _fraction(value: object, field: str) -> Fraction:
    """Read a share written as `1/2`, `"3/8"` or `0.375`."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        text = str(value).strip()
        if not _SHARE.fullmatch(text):  # 1e999999999 would be computed for hours
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ConfigError(field, value, f"must be {_words_of(Fraction)}") from None


def _number(text: str) -> float | str:
    """Read `4e-5` as the number that is meant: YAML 1.1 takes it for a text."""
    try:
        return float(text)
    except ValueError:
        return text


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """List the types that a value may have besides None."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(kind for kind in get_args(hint) if kind is not types.NoneType)
    return (hint,)


def _base(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _words_of(hint: Any) -> str:
    """Say what a value of a type is, for a person."""
    kinds = _alternatives(hint)
    if kinds != (hint,):
        return f"{' or '.join(map(_words_of, kinds))}, or nothing"
    if get_origin(hint) is Literal:
        return f"one of {_list(get_args(hint))}"
    if get_origin(hint) is Annotated:
        return _limited(*get_args(hint))
    if dataclasses.is_dataclass(hint):
        return f"a mapping with {_list(field.name for field in dataclasses.fields(hint))}"
    return "a list" if get_origin(hint) is tuple else _PLAIN[hint]


_PLAIN: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Fraction: "a share such as 1/2 or 0.375",
}


def _limited(kind: Any, limits: Meta) -> str:
    if limits.description is not None:
        return limits.description
    most = "" if limits.le is None else f" to {limits.le}"
    if limits.gt is not None:
        return f"{_PLAIN[kind]} above {limits.gt}{most.replace(' to ', ', at most ')}"
    if kind is int and limits.ge == 1 and not most:
        return "a whole number above 0"
    return f"{_PLAIN[kind]} from {limits.ge}{most}"


def _list(names: Any) -> str:
    return ", ".join(map(str, names))
