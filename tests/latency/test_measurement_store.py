import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.latency.measurement import Fingerprint, Measurement
from nas_sv2.latency.plan import MeasurePlan
from nas_sv2.latency.store import MeasurementStore, open_engine

PLAN = MeasurePlan()
FINGERPRINT = Fingerprint({"cpu": "A", "runtime": "onnxruntime", "runtime_version": "1"})
MEASUREMENT = Measurement(
    architecture="0123456789abcdef",
    plan=PLAN,
    fingerprint=FINGERPRINT,
    wall_ms=(1.25, 1.5),
    cpu_ms=(1.25, 1.5),
    switches=(0, 1),
    warmup_runs=20,
    stationary=True,
    runnable=1,
    measured_at="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def store(url: str) -> Iterator[MeasurementStore]:
    store = MeasurementStore.open(url)
    yield store
    store.close()


def test_what_is_saved_is_found_again_by_another_process(
    url: str, store: MeasurementStore
) -> None:
    store.save(MEASUREMENT)
    other = MeasurementStore.open(url)
    assert other.find(MEASUREMENT.architecture, FINGERPRINT, PLAN) == MEASUREMENT
    other.close()


def test_the_newest_counts(store: MeasurementStore) -> None:
    newer = dataclasses.replace(MEASUREMENT, wall_ms=(2.0, 2.0))
    store.save(MEASUREMENT)
    store.save(newer)
    assert store.find(MEASUREMENT.architecture, FINGERPRINT, PLAN) == newer


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
    with store.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000
    assert inspect(store.engine).get_table_names() == ["nas_measurements"]


STARTER = """
import sys, time
from nas_sv2.latency.store import MeasurementStore
print("ready", flush=True)
sys.stdin.readline()
for _ in range(5):
    MeasurementStore.open(sys.argv[1]).close()
"""


def test_processes_that_start_at_once_all_find_their_tables(url: str) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    errors = [starter.communicate(timeout=60)[1] for starter in starters]
    assert [
        (starter.returncode, error) for starter, error in zip(starters, errors, strict=True)
    ] == [(0, "")] * len(starters)


@pytest.mark.parametrize("url", ["studies.db", "", "sqlite//x", "nosql://host/name"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--storage"):
        open_engine(url)


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"studies\.db.* can be opened \(unable to open"
    ) as caught:
        open_engine(f"sqlite:///{tmp_path / 'no' / 'studies.db'}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to be taken for one " * 10)
    with pytest.raises(ConfigError, match="file is not a database"):
        open_engine(f"sqlite:///{file}")


def test_a_password_is_not_shown() -> None:
    with pytest.raises((ConfigError, StoreError)) as caught:
        open_engine("postgresql+psycopg2://me:secret@127.0.0.1:1/name")
    assert "secret" not in str(caught.value)


def test_a_document_that_is_damaged_is_an_error_not_a_miss(store: MeasurementStore) -> None:
    store.save(MEASUREMENT)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE nas_measurements SET document = '{}'"))
    with pytest.raises(StoreError, match="stored measurement cannot be read"):
        store.find(MEASUREMENT.architecture, FINGERPRINT, PLAN)


def test_a_table_that_went_missing(store: MeasurementStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE nas_measurements"))
    with pytest.raises(StoreError, match="cannot be saved: no such table"):
        store.save(MEASUREMENT)
    with pytest.raises(StoreError, match="cannot be read: no such table"):
        store.find("x", FINGERPRINT, PLAN)
