"""Check that every value of a document from elsewhere can be part of a measurement.

Elsewhere is a device that answers, and a file or database that a stranger wrote. Nothing of them
is stored, used or printed before it has passed.
"""

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from nas_sv2.errors import ConfigError, NasError
from nas_sv2.latency.measurements.measurement import (
    LONGEST_MS,
    READ_SCHEMAS,
    SCHEMA,
    SHORTEST_MS,
    Measurement,
    NodeTime,
    is_text,
)
from nas_sv2.plain_data import is_number, parse_json, printable

FACTS = frozenset({"runtime", "runtime_version", "threads", "precision"})
"""Facts that every agent gives; `Fingerprint.describe` relies on them."""
LONGEST_NS = round(1e6 * LONGEST_MS)
LARGEST = 1e18
"""The limit of other numbers: kHz, bytes, ticks."""
MOST_CPU = 2.0
"""The most CPU time of a thread relative to its wall time; above 1 is an error of the clocks."""
BETWEEN_CLOCKS_MS = 10.0
"""Work of the kernel that may lie between the readings of both clocks, in a whole measurement.

CPU time is read before and after wall time. Runs of microseconds were once exceeded by it.
"""

Name = Annotated[str, Meta(pattern=r"^[0-9a-zA-Z_-]{1,64}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Milliseconds = Annotated[float, Meta(ge=0, le=LONGEST_MS)]
Series = Annotated[list[Milliseconds], Meta(min_length=1)]


Checked = TypeVar("Checked")


class OtherSchema(ValueError):
    """A measurement of another version of nas-sv2."""


class AnsweredNetwork(msgspec.Struct, forbid_unknown_fields=True):
    """The runs of one network as the agent gives them, in ns."""

    digest: str
    wall_ns: Annotated[list[Annotated[int, Meta(ge=1, le=LONGEST_NS)]], Meta(min_length=1)]
    cpu_ns: list[Annotated[int, Meta(ge=0, le=LONGEST_NS)]]
    switches: list[Count] | None
    rounds: list[Count]
    warmup_runs: Count
    stationary: bool
    series: dict[Name, Series]
    fallen_back: tuple[Count, Count] | None = None


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """A measurement as the agent gives it; `checked_measurement` holds the rest to its types."""

    networks: list[AnsweredNetwork]
    conditions: list[Any]
    heating: list[Any]
    fingerprint: dict[str, Any]


class _Samples(msgspec.Struct, forbid_unknown_fields=True):
    wall: Annotated[
        list[Annotated[float, Meta(ge=SHORTEST_MS, le=LONGEST_MS)]], Meta(min_length=1)
    ]
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
        if sum(self.cpu) > MOST_CPU * sum(self.wall) + BETWEEN_CLOCKS_MS:
            raise ValueError("samples.cpu is longer than samples.wall")


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal[2, 3]
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
    fallen_back: tuple[Count, Count] | None = None
    starts: Annotated[list[Count], Meta(min_length=1)] = msgspec.field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        """Refuse sessions without a round."""
        rounds = [*self.samples.rounds, *(self.beside[1].rounds if self.beside else [])]
        if self.starts[0] != 0 or sorted(set(self.starts)) != self.starts:
            raise ValueError("starts is not in order from 0")
        if self.starts[-1] > max(rounds):
            raise ValueError("starts has a session without a round")


def read_measurement(text: str) -> Measurement:
    """Read the measurement that a document holds.

    Raises:
        OtherSchema: The document is a measurement of another version.
        ValueError: The document is not a measurement; the error says why.
    """
    return checked_measurement(parse_json(text))


def checked_measurement(document: object, *, alone: bool = False) -> Measurement:
    """Read the measurement of a parsed document.

    Args:
        document: The document, as `Measurement.to_json` gives it.
        alone: Whether the plan's reference network did not run beside it.

    Raises:
        OtherSchema: The document is a measurement of another version.
        ValueError: The document is not a measurement; the error says why.
    """
    if not isinstance(document, dict):
        raise ValueError("it is not an object")
    if document.get("schema") not in READ_SCHEMAS:
        found = printable(repr(document.get("schema")), 80)
        raise OtherSchema(f"schema {found}; this version reads {SCHEMA}")
    checked = convert(document, _Document)
    _check_facts(checked.fingerprint)
    for state in checked.conditions:
        _expect(all(map(_is_reading, state.items())), "conditions")
    try:
        measurement = Measurement.from_json(document)
    except ConfigError as error:
        raise ValueError(f"plan: {error}") from error
    _check_agreement(measurement, alone)
    try:
        measurement.latency("")
    except (ArithmeticError, NasError) as error:  # a clock that stood still in a whole round
        raise ValueError(f"no figure follows from its runs: {error}") from error
    return measurement


def convert(value: object, kind: type[Checked]) -> Checked:
    """Hold parsed data to a type, without turning texts or true into numbers.

    Raises:
        ValueError: The data have another form; the error names the field.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(printable(str(error))) from error


def checked_facts(facts: object) -> dict[str, Any]:
    """Return the facts of a device, each of which can be compared and printed.

    Raises:
        ValueError: The facts are not those of a device; the error names the fact.
    """
    checked = convert(facts, dict[str, Any])
    _check_facts(checked)
    return checked


def checked_node_times(rows: object) -> list[NodeTime]:
    """Return the times of a model's nodes, in µs.

    Raises:
        ValueError: A row is not a name, an operator and a time.
    """
    found = [NodeTime(*row) for row in convert(rows, list[tuple[str, str, float]])]
    for node in found:
        _expect(is_text(node.name) and is_text(node.operator), "nodes: a name")
        _expect(is_number(node.us, 0, 1e3 * LONGEST_MS), "nodes: a time")
    return found


def checked_outputs(values: object) -> list[float]:
    """Return the outputs of a network.

    Raises:
        ValueError: One is not a finite number.
    """
    return convert(values, list[float])


def _check_agreement(measurement: Measurement, alone: bool) -> None:
    """Refuse a plan, fingerprint and reference network that contradict each other."""
    plan, facts, beside = measurement.plan, measurement.fingerprint.facts, measurement.beside
    for name in ("runtime", "threads", "precision"):
        known, asked = facts[name], getattr(plan, name)  # and True is not 1
        _expect((type(known), known) == (type(asked), asked), f"fingerprint.{name}")
    reference = None if alone else plan.reference
    _expect((None if beside is None else beside.name) == reference, "beside")


def _check_facts(facts: Mapping[str, Any]) -> None:
    if missing := sorted(FACTS - facts.keys()):
        raise ValueError(f"fingerprint lacks {', '.join(missing)}")
    for name, value in facts.items():
        _expect(is_text(name), "fingerprint")
        if name == "affinity":
            convert({name: value}, dict[str, list[Count]])
        else:
            known = value is None or isinstance(value, bool) or is_text(value)
            _expect(known or is_number(value, -LARGEST, LARGEST), f"fingerprint.{name}")


def _expect(holds: bool, field: str) -> None:
    if not holds:
        raise ValueError(f"{printable(field, 80)} cannot be part of a measurement")


def _is_reading(item: tuple[str, object]) -> bool:
    """Return whether an item is a number; throttling and facts of a GPU may be texts."""
    name, value = item
    worded = "throttled" in name or name.startswith("gpu_")
    known = is_number(value, -LARGEST, LARGEST) or (worded and is_text(value))
    return is_text(name) and known
