"""YAML, JSON and TOML that others wrote, within bounds that hold before a value is used.

A document of a few kilobytes can ask for hours or for all memory, by lists in lists or an alias of
aliases. Such a document is refused, and so is a key that comes
twice, since one of its two values would be dropped unsaid. Every other fault of a document
is a `ValueError` too, so that a reader has one kind of error to name.
"""

import json
import math
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_BYTES = 1 << 20
"""The limit of a document that a person writes; the largest of ours has 40 kB."""
MOST_TOML = 1 << 16
"""The limit of a TOML document in characters; tomllib takes 6 s for a megabyte."""
MOST_PARTS = 20_000
"""The limit of keys and values of a YAML document; what an alias names counts at each use."""
MOST_CONTAINERS = 500_000
"""The limit of lists and mappings in a JSON text: an empty one takes 20 times its text."""
DEEPEST = 40
"""The limit of lists and mappings within each other; ours have at most 9."""
LARGEST = 2**63 - 1
"""The limit of a whole number: what a database can hold."""
LONGEST_KEY = 500
"""The limit of a key in characters; errors quote it."""
LONGEST_NUMBER = 100
"""The limit of a number in characters, before it is converted."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader, where PyYAML was built with it, takes a tenth of the time."""

_NUMBER = re.compile(r"[-+.0-9][-+.:_0-9a-fA-FxobeE]*")
_TOML_PARTS = re.compile(r"[=,{}\[\]\n]")
_DIGITS = re.compile(rf"[0-9_]{{{LONGEST_NUMBER + 1}}}")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def decode(content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Raises:
        ValueError: It is another encoding.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        guess = "UTF-16" if content.startswith(_UTF_16) else "no UTF-8"
        raise ValueError(f"it must be UTF-8 and is {guess}") from error


def parse_yaml(text: str) -> object:
    """Read a YAML document, of which JSON is a part; it has no tags, as `!!python/name` is.

    Raises:
        ValueError: The text is not such a document or exceeds a bound; the error says why.
    """
    try:
        _check_events(text)
        data: object = yaml.load(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    check_bounds(data, finite=False)
    return data


def parse_json(text: str | bytes) -> Any:
    """Read a JSON document, whose numbers are finite.

    Raises:
        ValueError: The text is not such a document or exceeds a bound; the error says why.
    """
    if isinstance(text, bytes):
        text = decode(text)
    if text.count("[") + text.count("{") > MOST_CONTAINERS:
        raise ValueError(f"it has more than {MOST_CONTAINERS:,} lists and mappings")
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_bounds(data, finite=True)
    return data


def parse_toml(text: str) -> dict[str, Any]:
    """Read a TOML document.

    Raises:
        ValueError: The text is not such a document or exceeds a bound; the error says why.
    """
    if len(text) > MOST_TOML:
        raise ValueError(f"it has more than {MOST_TOML:,} characters")
    if _DIGITS.search(text):
        raise ValueError(f"it has a number of more than {LONGEST_NUMBER} digits")
    for part in _TOML_PARTS.split(text):  # a dotted key of 16,000 names took tomllib 18 s
        if part.count(".") > DEEPEST and not part.lstrip().startswith("#"):
            raise ValueError(f"it has more than {DEEPEST} dots in a row of words")
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_bounds(data, finite=False)
    return data


def is_number(value: object, low: float = -LARGEST, high: float = LARGEST) -> bool:
    """Whether a value is a finite number from `low` to `high`; true and false are not numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def printable(text: str, most: int = 300) -> str:
    """Return a text of others on one line of at most `most` characters, escape codes spelled."""
    line = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most]
    )
    return line if len(line) <= most and len(text) <= most else line[: most - 1] + "…"


def _check_events(text: str) -> None:
    """Check tags, depth, numbers, keys and the size with all aliases, before data are built.

    Raises:
        ValueError: The document has a tag or a key twice, or exceeds a bound.
        yaml.YAMLError: The text is not YAML.
    """
    sizes: dict[str | None, int] = {}  # of what an anchor names
    open_parts: list[_Part] = [_Part(None, is_mapping=False)]
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.NodeEvent):
            _check_node(event)
        if isinstance(event, yaml.AliasEvent):
            open_parts[-1].add(sizes.get(event.anchor, MOST_PARTS))  # open still: it holds itself
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            open_parts[-1].add(1, event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.pop(event.anchor, None)
            open_parts.append(_Part(event.anchor, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            part = open_parts.pop()
            sizes[part.anchor] = part.size
            open_parts[-1].add(part.size)
        if len(open_parts) - 1 > DEEPEST:
            raise ValueError(f"it has more than {DEEPEST} lists and mappings within each other")
        if open_parts[-1].size > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS:,} keys and values, aliases included")


@dataclass(slots=True)
class _Part:
    """A list or mapping whose end is still to come: its size and its keys so far."""

    anchor: str | None
    is_mapping: bool
    size: int = 1
    awaits_key: bool = True
    keys: set[str] = field(default_factory=set)

    def add(self, size: int, text: str | None = None) -> None:
        """Add a value, or a key in turn; `text` is that of a scalar."""
        self.size += size
        if self.is_mapping and self.awaits_key and text is not None:
            if text in self.keys:
                raise ValueError(f"it has the key {text[:80]!r} twice in one mapping")
            self.keys.add(text)
        self.awaits_key = not self.awaits_key


def _check_node(event: Any) -> None:
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise ValueError(f"it has the tag {tag[:80]!r}; plain data have none")
    text = getattr(event, "value", "")
    if len(text) > LONGEST_NUMBER and not event.style and _NUMBER.fullmatch(text):
        raise ValueError(f"it has a number of {len(text):,} characters")


def check_bounds(data: object, *, finite: bool) -> None:
    """Check numbers and depth of data; `finite` also refuses a float like 1e999.

    Raises:
        ValueError: A bound is exceeded.
    """
    level: list[Any] = [data]
    for _ in range(DEEPEST + 1):
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                if any(len(key) > LONGEST_KEY for key in value if isinstance(key, str)):
                    raise ValueError(f"it has a key of more than {LONGEST_KEY} characters")
                inner += value.values()
            elif kind is list:
                inner += value
            elif kind is int and not -LARGEST - 1 <= value <= LARGEST:
                raise ValueError("it has a whole number beyond 64 bits")
            elif finite and kind is float and not math.isfinite(value):
                raise ValueError("it has a number beyond the range of a float")
        if not inner:
            return
        level = inner
    raise ValueError(f"it has more than {DEEPEST} lists and mappings within each other")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"it has the key {key[:80]!r} twice in one mapping")
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")
