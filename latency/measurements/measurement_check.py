"""Whether a document from elsewhere is a measurement, to the last value.

What the agent answers is checked where it arrives (`answer`). A file that another machine wrote,
or a stranger, is checked here, before a number of it is used or a text of it is printed.
"""

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.measurement import SCHEMA, Measurement

OBJECTS = ("plan", "fingerprint", "series")
LISTS = ("conditions", "heating")
VALUES = ("schema", "architecture", "session", "measured_at", "warmup_runs", "stationary")
FIELDS = frozenset({*VALUES, *OBJECTS, *LISTS, "samples", "beside"})
SAMPLES = frozenset({"wall", "cpu", "switches", "rounds"})
FACTS = frozenset({"runtime", "runtime_version", "threads", "precision"})
"""Every agent names them, and `Fingerprint.describe` relies on it."""
NAME = re.compile(r"[0-9a-zA-Z_-]{1,64}")
LONGEST_MS = 3.6e6
"""An hour; no run takes so long."""
LARGEST = 1e18
"""Of other numbers: kHz, bytes, ticks."""
LONGEST_TEXT = 1000
"""Characters; onnxruntime describes its build in a hundred."""


class OtherSchema(ValueError):
    """A measurement of another version of nas-sv2."""


def read_measurement(text: str) -> Measurement:
    """The measurement that a document holds.

    Raises:
        OtherSchema: It is one of another version.
        ValueError: It is none; says what is wrong with it.
    """
    try:
        return checked_measurement(json.loads(text, parse_constant=_no_number))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def checked_measurement(document: object) -> Measurement:
    """The measurement of a parsed document.

    Raises:
        OtherSchema: It is one of another version.
        ValueError: It is none; says what is wrong with it.
    """
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    if document.get("schema") != SCHEMA:
        raise OtherSchema(f"schema {document.get('schema')!r}; this version reads {SCHEMA}")
    _fields("it", document, FIELDS)
    for name in ("architecture", "session"):
        _expect(_is_name(document[name]), name)
    _expect(_is_time(document["measured_at"]), "measured_at")
    _expect(_is_count(document["warmup_runs"]), "warmup_runs")
    _expect(isinstance(document["stationary"], bool), "stationary")
    for kind, names in ((dict, OBJECTS), (list, LISTS)):
        for name in names:
            _expect(isinstance(document[name], kind), name)
    _check_samples("samples", document["samples"])
    _check_facts(document["fingerprint"])
    for state in document["conditions"]:
        _expect(isinstance(state, dict) and all(map(_is_reading, state.items())), "conditions")
    _expect(all(_is_times(point) and len(point) == 2 for point in document["heating"]), "heating")
    series = document["series"]
    _expect(all(map(_is_name, series)) and all(map(_is_series, series.values())), "series")
    beside = document["beside"]
    if beside is not None:
        _expect(isinstance(beside, list) and len(beside) == 2, "beside")
        _check_samples("beside", beside[1])
    try:
        measurement = Measurement.from_json(document)
    except (ConfigError, TypeError) as error:
        raise ValueError(f"plan: {error}") from error
    _check_agreement(measurement)
    try:
        measurement.latency("")
    except ArithmeticError as error:  # a clock that stood still in every run of a round
        raise ValueError(f"no figure follows from its runs: {error}") from error
    return measurement


def _check_agreement(measurement: Measurement) -> None:
    """Plan, fingerprint and reference network say the same."""
    plan, facts, beside = measurement.plan, measurement.fingerprint.facts, measurement.beside
    for name in ("runtime", "threads", "precision"):
        _expect(facts[name] == getattr(plan, name), f"fingerprint.{name}")
    _expect((None if beside is None else beside.name) == plan.reference, "beside")


def _check_facts(facts: Mapping[str, Any]) -> None:
    _expect(facts.keys() >= FACTS, "fingerprint")
    for name, value in facts.items():
        _expect(_is_text(name), "fingerprint")
        if name == "affinity":
            _expect(_are_counts(value), "fingerprint.affinity")
        else:
            known = value is None or isinstance(value, bool) or _is_text(value)
            _expect(known or _is_number(value), f"fingerprint.{name}")


def _check_samples(field: str, columns: object) -> None:
    if not isinstance(columns, dict):
        raise ValueError(f"{field} is none of a measurement")
    _fields(field, columns, SAMPLES)
    wall, cpu, switches, rounds = (columns[n] for n in ("wall", "cpu", "switches", "rounds"))
    _expect(_is_series(wall) and min(wall) > 0, f"{field}.wall")
    _expect(_is_times(cpu) and len(cpu) == len(wall), f"{field}.cpu")
    if switches is not None:
        _expect(_are_counts(switches) and len(switches) == len(wall), f"{field}.switches")
    _expect(_are_counts(rounds) and len(rounds) == len(wall), f"{field}.rounds")
    _expect(rounds == sorted(rounds), f"{field}.rounds")


def _fields(what: str, document: Mapping[str, Any], wanted: frozenset[str]) -> None:
    if missing := sorted(wanted - document.keys()):
        raise ValueError(f"{what} has no {missing[0]!r}")
    if unknown := sorted(document.keys() - wanted):
        raise ValueError(f"{what} has {unknown[0]!r}, which no measurement has")


def _expect(holds: bool, field: str) -> None:
    if not holds:
        raise ValueError(f"{field} is none of a measurement")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    """Something that may be printed: no escape code can hide in it."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def _is_reading(item: tuple[str, object]) -> bool:
    """A number; reasons of throttling and what else a GPU says may be words."""
    name, value = item
    worded = "throttled" in name or name.startswith("gpu_")
    return _is_number(value) or (worded and _is_text(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_times(value: object) -> bool:
    return isinstance(value, list) and all(_is_number(n) and 0 <= n <= LONGEST_MS for n in value)


def _is_series(value: object) -> bool:
    return _is_times(value) and value != []


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")
