import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import measurement_of, samples_of
from sqlalchemy import inspect, text

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.grade import Finding, Grade
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.store import Key, MeasurementStore

MEASUREMENT = measurement_of()
FINGERPRINT, PLAN = MEASUREMENT.fingerprint, MEASUREMENT.plan
NEWER = measurement_of(samples_of([2.5] * 30), session="b")
GRADE = Grade(
    grade="fair",
    sessions=5,
    reference="shufflenet_v2_x1_0",
    reference_ms=2.0,
    reference_cv=0.02,
    network="shufflenet_v2_x0_5",
    ratio=0.3,
    ratio_cv=0.01,
    contended=0.2,
    drift=-0.01,
    noise=1.05,
    stolen=None,
    graded_at="2026-01-01T00:00:00+00:00",
    findings=(Finding("fair", "it is warm", "cool it"),),
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def store(url: str) -> Iterator[MeasurementStore]:
    store = MeasurementStore(Database.open(url))
    yield store
    store.db.close()


def test_what_is_saved_is_found_again_by_another_process(
    url: str, store: MeasurementStore
) -> None:
    store.save(MEASUREMENT)
    other = MeasurementStore(Database.open(url))
    assert other.find(MEASUREMENT.architecture, FINGERPRINT, PLAN) == MEASUREMENT
    other.db.close()


def test_the_newest_counts(store: MeasurementStore) -> None:
    store.save(MEASUREMENT)
    store.save(NEWER)
    assert store.find(MEASUREMENT.architecture, FINGERPRINT, PLAN) == NEWER
    assert [json.loads(text)["session"] for text in store.documents()] == ["a", "b"]
    key = Key.of(MEASUREMENT)
    assert [json.loads(text)["session"] for text in store.documents(key)] == ["b", "a"]
    assert list(store.documents(key._replace(plan="another"))) == []


def test_all_are_saved_or_none(store: MeasurementStore) -> None:
    def failing() -> Iterator[Measurement]:
        yield MEASUREMENT
        yield NEWER
        raise ConfigError("line", 3, "a measurement")

    with pytest.raises(ConfigError):
        store.save_all(failing())
    assert list(store.documents()) == []
    assert store.save_all([MEASUREMENT, NEWER]) == 2
    assert len(list(store.documents())) == 2


def test_what_is_saved_may_depend_on_what_is_stored(store: MeasurementStore) -> None:
    """A merge looks up what it lacks while it writes."""
    store.save(MEASUREMENT)

    def lacking() -> Iterator[Measurement]:
        for measurement in (NEWER, NEWER):
            assert len(list(store.documents(Key.of(MEASUREMENT)))) == 1
            yield measurement

    assert store.save_all(lacking()) == 2


def test_the_newest_grade_of_a_device_and_plan_counts(url: str, store: MeasurementStore) -> None:
    assert store.grade(FINGERPRINT, PLAN) is None
    store.save_grade(FINGERPRINT, PLAN, GRADE)
    newer = dataclasses.replace(GRADE, grade="poor")
    store.save_grade(FINGERPRINT, PLAN, newer)
    other = MeasurementStore(Database.open(url))
    assert other.grade(FINGERPRINT, PLAN) == newer
    assert other.grade(FINGERPRINT, dataclasses.replace(PLAN, batch=2)) is None
    assert other.grade(Fingerprint({**FINGERPRINT.facts, "cpu": "B"}), PLAN) is None
    other.db.close()


def test_a_grade_of_another_version_is_none_and_so_is_a_damaged_one_with_a_line(
    store: MeasurementStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.save_grade(FINGERPRINT, PLAN, GRADE)
    with store.db.begin() as connection:
        connection.execute(text("UPDATE nas_grades SET document = '{\"schema\": 9}'"))
    assert store.grade(FINGERPRINT, PLAN) is None
    for damaged in ("{}", "[", '{"schema": 1, "findings": [{}]}'):
        with store.db.begin() as connection:
            connection.execute(text("UPDATE nas_grades SET document = :d"), {"d": damaged})
        assert store.grade(FINGERPRINT, PLAN) is None
        assert caplog.messages[-1].startswith("a stored grade cannot be read: ")
        assert caplog.messages[-1].endswith("; nas-sv2 device grade makes a new one")


@pytest.mark.parametrize(
    ("architecture", "fingerprint", "plan"),
    [
        ("another", FINGERPRINT, PLAN),
        (MEASUREMENT.architecture, Fingerprint({**FINGERPRINT.facts, "cpu": "B"}), PLAN),
        (MEASUREMENT.architecture, FINGERPRINT, dataclasses.replace(PLAN, batch=2)),
    ],
)
def test_only_the_same_question_is_answered(
    store: MeasurementStore, architecture: str, fingerprint: Fingerprint, plan: MeasurePlan
) -> None:
    store.save(MEASUREMENT)
    assert store.find(architecture, fingerprint, plan) is None


def test_sqlite_waits_and_does_not_lock_readers_out(store: MeasurementStore) -> None:
    with store.db.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000
    assert {"nas_grades", "nas_measurements"} <= set(inspect(store.db.engine).get_table_names())


@pytest.mark.parametrize("url", ["", "sqlite//x", "nosql://host/name"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="storage must"):
        Database.open(url)


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"in a folder that exists; got .*studies\.db") as caught:
        assert Database.open(f"sqlite:///{tmp_path / 'no' / 'studies.db'}").engine
    assert "\n" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    with pytest.raises((ConfigError, StoreError)) as caught:
        assert Database.open("postgresql+psycopg2://me:secret@127.0.0.1:1/name").engine
    assert "secret" not in str(caught.value)


def test_a_document_that_is_damaged_is_an_error_not_a_miss(store: MeasurementStore) -> None:
    store.save(MEASUREMENT)
    with store.db.begin() as connection:
        damaged = {"d": json.dumps(MEASUREMENT.to_json() | {"measured_at": float("nan")})}
        connection.execute(text("UPDATE nas_measurements SET document = :d"), damaged)
    said = "stored measurement cannot be read: .*; `nas-sv2 db repair` removes it"
    with pytest.raises(StoreError, match=said):
        store.find(MEASUREMENT.architecture, FINGERPRINT, PLAN)


def test_a_table_that_went_missing(store: MeasurementStore) -> None:
    with store.db.begin() as connection:
        connection.execute(text("DROP TABLE nas_measurements"))
        connection.execute(text("DROP TABLE nas_grades"))
    with pytest.raises(StoreError, match="cannot be saved: no such table"):
        store.save(MEASUREMENT)
    with pytest.raises(StoreError, match="cannot be read: no such table"):
        store.find("x", FINGERPRINT, PLAN)
    with pytest.raises(StoreError, match="cannot be read: no such table"):
        list(store.documents())
    with pytest.raises(StoreError, match="cannot be saved: no such table"):
        store.save_grade(FINGERPRINT, PLAN, GRADE)
    with pytest.raises(StoreError, match="cannot be read: no such table"):
        store.grade(FINGERPRINT, PLAN)
