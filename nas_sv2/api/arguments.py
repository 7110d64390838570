"""Arguments that several calls share, and the types that arguments of public calls must have."""

import collections.abc
import inspect
import os
import types
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, Union, get_args, get_origin

from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database as Database
from nas_sv2.database.schema import VERSIONS
from nas_sv2.errors import ConfigError
from nas_sv2.search.events.interrupts import sigterm_interrupts as sigterm_interrupts


def database_of(storage: str | Database) -> Database:
    """Return the handle that was given, or open the database at the URL.

    Raises:
        ConfigError: The text is not the URL of a database.
    """
    return storage if isinstance(storage, Database) else Database.open(storage)


def upgrade(storage: str | Database = DEFAULT_STORAGE) -> str:
    """Make the tables of a database, or bring them to the present schema; its number.

    Raises:
        ConfigError: It cannot be opened.
        StoreError: A newer program made it, or the tables cannot be made.
    """
    database_of(storage).migrate()
    return VERSIONS[-1]


Notify = Callable[[str], None]
"""Is called with a line before each step that takes long, and for each wait."""
Progress = Callable[[int, int], None]
"""Is called with the steps done and all steps."""


def ignore(*_: object) -> None:
    """Take a line or a count and do nothing with it."""


Given = ParamSpec("Given")
Result = TypeVar("Result")


def checked(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Hold the arguments of a public call to its annotations.

    A path stands for its text, a text for its path, and numpy's numbers for Python's. A text is
    no list, although Python would take its letters. Protocols and quoted annotations hold nothing.

    Raises:
        ConfigError: By the call: an argument has another type; names it, and what it must be.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
        bound = signature.bind(*arguments, **options)
        for name, value in bound.arguments.items():
            hint = signature.parameters[name].annotation
            bound.arguments[name] = _taken(name, value, hint)
        return function(*bound.args, **bound.kwargs)

    return call


def _taken(field: str, value: object, hint: Any) -> object:
    """Return the argument in the form that `hint` has, or refuse it."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(field, value, "must not hold a null byte")
    for kind in kinds:
        if _is_of(value, kind):
            return _with_items(field, value, kind)
    if isinstance(value, os.PathLike) and str in kinds:
        return os.fspath(value)
    if isinstance(value, str) and Path in kinds:
        return Path(value)
    if isinstance(value, Integral) and int in kinds and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Real) and float in kinds and not isinstance(value, bool):
        return float(value)
    *words, last = dict.fromkeys(map(_words_of, kinds))
    either = f"{', '.join(words)} or {last}" if words else last
    raise ConfigError(field, value, f"must be {either}")


def _is_of(value: object, kind: Any) -> bool:
    """Whether a value is of a type as it is; everything is of one that holds nothing."""
    base = get_origin(kind) or kind
    if base is Literal:
        return value in get_args(kind)
    if base in (int, float):
        return type(value) in (int, base)
    if base is collections.abc.Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str | bytes)
    is_said = isinstance(base, type) and base not in (Any, inspect.Parameter.empty)
    holds_nothing = not is_said or Protocol in base.__mro__
    return holds_nothing or isinstance(value, base)


def _with_items(field: str, value: object, kind: Any) -> object:
    """Return a list or a mapping with its items held to their types; all else as it is."""
    base, items = get_origin(kind), get_args(kind)
    if base is collections.abc.Sequence and isinstance(value, Sequence):
        return [_taken(f"{field}[{place}]", one, items[0]) for place, one in enumerate(value)]
    if base is collections.abc.Mapping and isinstance(value, Mapping):
        return {
            _taken(f"each key of {field}", key, items[0]): _taken(
                f"{field}[{key!r}]", one, items[1]
            )
            for key, one in value.items()
        }
    return value


_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    types.NoneType: "None",
    collections.abc.Sequence: "a list",
    collections.abc.Mapping: "a mapping",
    collections.abc.Callable: "a function",
}


def _words_of(kind: Any) -> str:
    base = get_origin(kind) or kind
    if base is Literal:
        return " or ".join(map(str, get_args(kind)))
    return _WORDS.get(base) or f"{'an' if base.__name__[0] in 'AEIOU' else 'a'} {base.__name__}"
