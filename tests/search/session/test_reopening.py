"""A database that goes away while a search opens is waited for; one that never answered is not."""

import sqlite3
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
from doubles import EventRecorder
from postgres import Postgres
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from nas_sv2.database import restarts as reconnect
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.search.loop import outages
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.session import session
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.session.session import reopening
from nas_sv2.search.walk import drift_correction
from nas_sv2.studies.storage import study as studies
from nas_sv2.studies.storage.runs import runs_of
from nas_sv2.studies.storage.study import load_study


def failing(words: str) -> OperationalError:
    return OperationalError("", {}, sqlite3.OperationalError(words))


class Opening:
    """Fails as often as it has faults, and counts what is open."""

    def __init__(self, db: Database, *faults: Exception) -> None:
        self.db, self.faults = db, list(faults)
        self.open = self.begun = 0

    def __call__(self, things: ExitStack) -> str:
        assert self.db.engine  # whoever opens a search connects first
        self.begun += 1
        self.open += 1
        things.callback(self.closed)
        if self.faults:
            raise self.faults.pop(0)
        return "open"

    def closed(self) -> None:
        self.open -= 1


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(outages, "POLL_S", (0.0, 0.0))
    return Database.open(f"sqlite:///{tmp_path / 's.db'}")


def test_it_is_opened_anew_with_nothing_left_open(db: Database) -> None:
    told = list[str]()
    once = Opening(db, failing("database is locked"), failing("database is locked"))
    with reopening(db, once, told.append) as found:
        assert (found, once.begun, once.open) == ("open", 3, 1)
    assert once.open == 0
    line = "the studies cannot be read or written: database is locked"
    assert told == [f"{line}; going on once the database answers"]  # an outage is said once


def test_failures_that_go_on_for_too_long_end_it(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "LONGEST_S", 0.2)
    told = list[str]()
    always = Opening(db, *[failing("database is locked")] * 1_000_000)
    with pytest.raises(StoreError, match=r"written: database is locked$"):
        reopening(db, always, told.append).__enter__()
    assert always.begun > 1
    assert (always.open, len(told)) == (0, 1)


@pytest.mark.parametrize(
    "fault",
    [
        failing("database or disk is full"),
        StoreError("the database has schema 0099, made by a newer nas-sv2"),
        ConfigError("study", "s", "must be another name"),
    ],
    ids=["disk", "schema", "study"],
)
def test_what_does_not_pass_ends_it_at_once(db: Database, fault: Exception) -> None:
    told, once = list[str](), Opening(db, fault)
    with pytest.raises(NasError):
        reopening(db, once, told.append).__enter__()
    assert (once.begun, once.open, told) == (1, 0, [])


def test_a_search_that_has_begun_is_not_opened_again(db: Database) -> None:
    once = Opening(db)
    with (
        pytest.raises(OperationalError),
        reopening(db, once, print),
    ):
        raise failing("database is locked")
    assert (once.begun, once.open) == (1, 0)


@pytest.mark.parametrize("wrong", ["password", "database", "port"])
def test_a_url_that_never_answered_is_said_at_once(postgres_server: Postgres, wrong: str) -> None:
    good = make_url(postgres_server.database())
    url = {
        "password": good.set(password="wrong"),
        "database": good.set(database="missing"),
        "port": good.set(port=1),
    }[wrong]
    db = Database.open(url.render_as_string(hide_password=False))
    told, once, began = list[str](), Opening(db), time.monotonic()
    with pytest.raises(ConfigError, match=r"storage must be a database that can be opened"):
        reopening(db, once, told.append).__enter__()
    assert (once.begun, told) == (0, [])
    assert time.monotonic() - began < reconnect.PATIENCE_S / 2


def test_a_server_that_is_started_anew_is_waited_for(postgres_server: Postgres) -> None:
    """It goes away between two connections: the engine waits, and opening goes on."""
    db, told, stops = Database.open(postgres_server.database()), list[str](), [True]
    assert db.engine  # it has answered

    def open_all(things: ExitStack) -> MeasurementStore:
        if stops and stops.pop():
            postgres_server.stop("immediate")
            timer = threading.Timer(1.0, postgres_server.start)
            timer.start()
            stack.callback(timer.join)
        return MeasurementStore(db)

    with (
        ExitStack() as stack,
        reopening(db, open_all, told.append) as store,
        store.db.connect() as connection,
    ):
        assert connection.execute(text("SELECT count(*) FROM nas_measurements")).scalar() == 0
    assert stops == []


@pytest.fixture
def dropping(monkeypatch: pytest.MonkeyPatch, postgres_server: Postgres) -> list[str]:
    """Opening a search loses its connections twice: under a lock, and after it was said."""
    dropped = list[str]()

    def lock_lost(*arguments: Any) -> Any:
        if not dropped:
            dropped.append("lock")
            postgres_server.drop_connections()
        return drift_correction.correct_drift(*arguments)

    def claim_lost(study: optuna.Study, key: str, db: Database) -> None:
        if len(dropped) == 1:
            dropped.append("claim")
            with db.connect() as connection:
                connection.execute(text("SELECT 1"))
                postgres_server.drop_connections()
                connection.execute(text("SELECT 1"))
        studies.claim(study, key, db)

    monkeypatch.setattr(session, "correct_drift", lock_lost)
    monkeypatch.setattr(session, "claim", claim_lost)
    monkeypatch.setattr(Loop, "run", lambda *_: None)
    return dropped


@pytest.mark.parametrize("worker", [False, True])
def test_a_search_whose_connections_drop_while_it_opens_begins_once(
    postgres_server: Postgres,
    dropping: list[str],
    worker: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    heard, url = EventRecorder(), postgres_server.database()
    plan = plan_search("arm", ["140M"], recipe="smoke", study="s", storage=url)
    if worker:
        session._work(plan, 0, heard)
    else:
        assert session.search(plan, Database.open(url), heard).ended_by is None
    assert dropping == ["lock", "claim"]
    lost = [line for line in heard.notices if line.endswith("once the database answers")]
    assert len(lost) == 1  # an outage is said once
    once = 0 if worker else 1
    assert (len(heard.described), len(runs_of(load_study(Database.open(url), "s")))) == (
        once,
        once,
    )
