"""How well a device repeats, by its grade and by earlier commands."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import FACTS, PLAN, ROUNDS, measurement_of, samples_of

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.repeatability import repeatability_of, seen_by
from nas_sv2.latency.measurements.spread import NOT_SEEN, Spread
from nas_sv2.latency.measurements.store import MeasurementRow, MeasurementStore

GRADE = Grade(
    grade="good",
    sessions=5,
    reference="shufflenet_v2_x1_0",
    reference_ms=2.0,
    reference_cv=0.02,
    network="shufflenet_v2_x0_5",
    ratio=1.5,
    ratio_cv=0.01,
    contended=0.0,
    drift=0.0,
    noise=1.0,
    stolen=None,
    graded_at="2026-11-24T10:00:00+00:00",
    findings=(),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path / 'a.db'}"))
    yield store
    store.db.close()


def command(number: int, reference_ms: float, networks: int = 1) -> list[Measurement]:
    """The measurements of one command."""
    return [
        measurement_of(
            beside=samples_of([reference_ms] * ROUNDS),
            architecture=f"{number:08}{network:08}",
            session=f"s{number}",
            measured_at=f"2026-01-01T00:{number:02}:00+00:00",
        )
        for network in range(networks)
    ]


def test_of_an_unknown_device_spreads_are_assumed(store: MeasurementStore) -> None:
    assert repeatability_of(store, Fingerprint(FACTS), PLAN) == NOT_SEEN
    store.save_all(command(0, 2.0))
    assert repeatability_of(store, Fingerprint(FACTS), PLAN) == NOT_SEEN


def test_a_grade_tells_both_spreads_and_the_usual_time(store: MeasurementStore) -> None:
    store.save_grade(Fingerprint(FACTS), PLAN, GRADE)
    found = repeatability_of(store, Fingerprint(FACTS), PLAN)
    assert (found.ms, found.ratio) == (Spread(0.02, 4), Spread(0.01, 4))
    assert (found.reference_ms, found.saw_ratios) == (2.0, True)
    assert found.describe() == "ms vary by 2.0%, ratios by 1.0% (graded 2026-11-24)"
    other = dataclasses.replace(PLAN, batch=2)
    assert repeatability_of(store, Fingerprint(FACTS), other) == NOT_SEEN


def test_earlier_commands_count_once_each_and_the_newest_only(store: MeasurementStore) -> None:
    for number in range(20):
        store.save_all(command(number, 9.0 if number < 8 else 2.0 + 0.01 * number, networks=3))
    assert store.reference_times(Fingerprint(FACTS), PLAN, 12) == pytest.approx(
        [2.0 + 0.01 * number for number in range(19, 7, -1)]
    )
    found = repeatability_of(store, Fingerprint(FACTS), PLAN)
    assert found.ms.degrees == 11
    assert found.reference_ms == pytest.approx(2.135)
    assert (found.ratio, found.saw_ratios) == (NOT_SEEN.ratio, False)
    assert found.seen == "seen in 12 earlier commands"


def test_damaged_and_foreign_measurements_tell_nothing(store: MeasurementStore) -> None:
    for number in range(5):
        store.save_all(command(number, 2.0 + number))
    with store.db.session("") as session:
        rows = session.query(MeasurementRow).all()
        rows[0].document = "{"
        rows[1].document = json.dumps({"schema": 99})
    assert store.reference_times(Fingerprint(FACTS), PLAN, 12) == pytest.approx([6.0, 5.0, 4.0])
    assert repeatability_of(store, Fingerprint(FACTS), PLAN) == NOT_SEEN


def test_spreads_of_milliseconds_are_pooled() -> None:
    steady, restless = [2.0, 2.0, 2.01, 2.0, 2.0], [2.0, 2.5, 1.8, 2.2, 3.0]
    assert seen_by(GRADE, []).ms == Spread(0.02, 4)
    assert seen_by(GRADE, steady).ms.cv == pytest.approx(0.02 / 2**0.5, abs=1e-3)
    assert seen_by(GRADE, steady).ms.degrees == 8
    assert seen_by(GRADE, restless).ms.cv == pytest.approx(0.19 / 2**0.5, abs=0.02)
    assert seen_by(GRADE, restless).seen == "graded 2026-11-24, seen in 5 earlier commands"
    assert seen_by(GRADE, restless).reference_ms == 2.0
    assert seen_by(None, steady).reference_ms == 2.0
    assert seen_by(None, steady[:4]) == NOT_SEEN
