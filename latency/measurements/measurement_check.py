"""Check that every value of a document from elsewhere can be part of a measurement.

The agent's answer is checked when it arrives (`devices.reply`). A file that another machine or
a stranger wrote is checked here, before its numbers are used or its texts are printed.
"""

import datetime
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.measurement import SCHEMA, Measurement

FACTS = frozenset({"runtime", "runtime_version", "threads", "precision"})
"""Facts that every agent gives; `Fingerprint.describe` relies on them."""
LONGEST_MS = 3.6e6
"""The limit of a run, one hour."""
LARGEST = 1e18
"""The limit of other numbers: kHz, bytes, ticks."""
LONGEST_TEXT = 1000
"""The limit of a text in characters; onnxruntime describes its build in about a hundred."""

Name = Annotated[str, Meta(pattern=r"^[0-9a-zA-Z_-]{1,64}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Milliseconds = Annotated[float, Meta(ge=0, le=LONGEST_MS)]
Series = Annotated[list[Milliseconds], Meta(min_length=1)]


class OtherSchema(ValueError):
    """A measurement of another version of nas-sv2."""


class _Samples(msgspec.Struct, forbid_unknown_fields=True):
    wall: Annotated[list[Annotated[float, Meta(gt=0, le=LONGEST_MS)]], Meta(min_length=1)]
    cpu: list[Milliseconds]
    switches: list[Count] | None
    rounds: list[Count]

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, and rounds out of order."""
        for name in ("cpu", "switches", "rounds"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.wall):
                raise ValueError(f"samples.{name} has another length than samples.wall")
        if self.rounds != sorted(self.rounds):
            raise ValueError("samples.rounds is not in order")


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal[2]
    architecture: Name
    session: Name
    measured_at: Annotated[datetime.datetime, Meta(tz=True)]
    warmup_runs: Count
    stationary: bool
    plan: dict[str, Any]
    fingerprint: dict[str, Any]
    series: dict[Name, Series]
    conditions: list[dict[str, Any]]
    heating: list[tuple[Milliseconds, Milliseconds]]
    samples: _Samples
    beside: tuple[str, _Samples] | None


def read_measurement(text: str) -> Measurement:
    """Read the measurement that a document holds.

    Raises:
        OtherSchema: The document is a measurement of another version.
        ValueError: The document is not a measurement; the error says why.
    """
    try:
        return checked_measurement(json.loads(text, parse_constant=_refuse_constant))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def checked_measurement(document: object) -> Measurement:
    """Read the measurement of a parsed document.

    Raises:
        OtherSchema: The document is a measurement of another version.
        ValueError: The document is not a measurement; the error says why.
    """
    if not isinstance(document, dict):
        raise ValueError("it is not an object")
    if document.get("schema") != SCHEMA:
        raise OtherSchema(f"schema {document.get('schema')!r}; this version reads {SCHEMA}")
    checked = msgspec.convert(document, _Document)
    _check_facts(checked.fingerprint)
    for state in checked.conditions:
        _expect(all(map(_is_reading, state.items())), "conditions")
    try:
        measurement = Measurement.from_json(document)
    except ConfigError as error:
        raise ValueError(f"plan: {error}") from error
    _check_agreement(measurement)
    try:
        measurement.latency("")
    except ArithmeticError as error:  # a clock that stood still in every run of a round
        raise ValueError(f"no figure follows from its runs: {error}") from error
    return measurement


def _check_agreement(measurement: Measurement) -> None:
    """Refuse a plan, fingerprint and reference network that contradict each other."""
    plan, facts, beside = measurement.plan, measurement.fingerprint.facts, measurement.beside
    for name in ("runtime", "threads", "precision"):
        _expect(facts[name] == getattr(plan, name), f"fingerprint.{name}")
    _expect((None if beside is None else beside.name) == plan.reference, "beside")


def _check_facts(facts: Mapping[str, Any]) -> None:
    _expect(facts.keys() >= FACTS, "fingerprint")
    for name, value in facts.items():
        _expect(_is_text(name), "fingerprint")
        if name == "affinity":
            msgspec.convert(value, list[Count])
        else:
            known = value is None or isinstance(value, bool) or _is_text(value)
            _expect(known or _is_number(value), f"fingerprint.{name}")


def _expect(holds: bool, field: str) -> None:
    if not holds:
        raise ValueError(f"{field} cannot be part of a measurement")


def _is_text(value: object) -> bool:
    """Return whether a value is a text that can be printed safely, without escape codes."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def _is_reading(item: tuple[str, object]) -> bool:
    """Return whether an item is a number; throttling and facts of a GPU may be texts."""
    name, value = item
    worded = "throttled" in name or name.startswith("gpu_")
    return _is_number(value) or (worded and _is_text(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")
