"""Outages of a database in a search: waited for, said plainly, and left at an interrupt."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from doubles import EventRecorder, FakeEvaluator
from postgres import Postgres
from sqlalchemy.exc import OperationalError

from nas_sv2.database.database import Database
from nas_sv2.errors import DatabaseGone, StoreError
from nas_sv2.search.loop import outages
from nas_sv2.search.session import session
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.session.session import SearchResult, search
from nas_sv2.studies.storage.named_networks import records_of

TRIALS = 4


@dataclass
class Bench:
    """A search with a stand-in for the trainings, during whose second one something happens.

    Attributes:
        db: The database.
        happens: Called in the second training.
    """

    db: Database
    happens: Callable[[], None] = lambda: None
    evaluator: FakeEvaluator = field(default_factory=FakeEvaluator)
    heard: EventRecorder = field(default_factory=EventRecorder)

    def search(self) -> SearchResult:
        def fault(number: int) -> None:
            if number == 2:
                self.happens()

        self.evaluator.fault = fault
        plan = plan_search(
            "arm",
            ["40M"],
            recipe="smoke",
            sampler="random",
            trials=TRIALS,
            study="s",
            storage=self.db.url,
        )
        return search(plan, self.db, self.heard)


@pytest.fixture
def later() -> Iterator[Callable[..., None]]:
    """Calls a function after so many seconds; the test waits for it."""
    with ExitStack() as stack:

        def call(seconds: float, function: Callable[..., Any], *arguments: Any) -> None:
            timer = threading.Timer(seconds, function, arguments)
            timer.start()
            stack.callback(timer.join)

        yield call


@pytest.fixture
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A bench on PostgreSQL, or where the parameter says so on SQLite."""
    monkeypatch.chdir(tmp_path)
    if getattr(request, "param", "") == "sqlite":
        url = str(tmp_path / "s.db")
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.database()
    with Database.open(url) as db:
        bench = Bench(db)
        monkeypatch.setattr(session, "StoredEvaluator", lambda *_: bench.evaluator)
        yield bench


def name_of(db: Database) -> str:
    name = db.address.database
    assert name is not None
    return name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_heeded_while_the_server_is_away(
    bench: Bench, postgres_server: Postgres, number: signal.Signals, later: Callable[..., None]
) -> None:
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)

    def happens() -> None:
        postgres_server.stop("immediate")
        later(1.0, interrupt)

    bench.happens = happens
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.search()
        assert time.monotonic() - sent[0] < 5
    finally:
        postgres_server.start()
    bench.db.wait_again()
    assert len(records_of(bench.db, "s")) == 1


@pytest.mark.parametrize("where", ["training", "workers"])
def test_an_interrupt_of_something_else_while_the_server_is_away(
    bench: Bench, postgres_server: Postgres, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step that cleans up finds that the server is away."""

    def happens(*_: object) -> None:
        postgres_server.stop("immediate")
        sent.append(time.monotonic())
        raise KeyboardInterrupt

    sent: list[float] = []
    bench.happens = happens
    if where == "workers":
        monkeypatch.setattr(session, "_run", happens)
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.search()
        assert time.monotonic() - sent[0] < 5
    finally:
        postgres_server.start()


def test_a_database_that_is_dropped_is_said_soon(bench: Bench, postgres_server: Postgres) -> None:
    sent: list[float] = []

    def happens() -> None:
        postgres_server.execute(f"DROP DATABASE {name_of(bench.db)} WITH (FORCE)")
        sent.append(time.monotonic())

    bench.happens = happens
    with pytest.raises(DatabaseGone, match="was dropped or renamed while it was in use") as caught:
        bench.search()
    assert time.monotonic() - sent[0] < 10
    assert "\n" not in str(caught.value)
    assert len(bench.evaluator.asked) == 2


def test_a_server_that_is_read_only_for_a_while_is_waited_for(
    bench: Bench, postgres_server: Postgres, later: Callable[..., None]
) -> None:
    """As after a failover; Optuna's guess at the cause is not repeated."""
    change = f"ALTER DATABASE {name_of(bench.db)}"

    def happens() -> None:
        postgres_server.execute(f"{change} SET default_transaction_read_only = on")
        postgres_server.drop_connections()
        later(1.0, postgres_server.execute, f"{change} RESET default_transaction_read_only")

    bench.happens = happens
    found = bench.search()
    assert (found.ended_by, len(found.records)) == (None, TRIALS)
    lines = [line for line in bench.heard.notices if "going on once" in line]
    assert any("read-only transaction" in line for line in lines)
    assert not any("invalid data" in line for line in lines)
    assert len(lines) == len(set(lines))


def test_a_server_that_is_away_is_said_in_its_own_words(
    bench: Bench, postgres_server: Postgres, later: Callable[..., None]
) -> None:
    def happens() -> None:
        postgres_server.stop("immediate")
        later(1.0, postgres_server.start)

    bench.happens = happens
    found = bench.search()
    assert (found.ended_by, len(found.records)) == (None, TRIALS)
    assert not any("invalid data" in line for line in bench.heard.notices)


@pytest.mark.parametrize("bench", ["sqlite"], indirect=True)
@pytest.mark.parametrize("comes_back", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_file_that_is_read_only_for_a_while_is_waited_for(
    bench: Bench,
    protected: set[Path],
    later: Callable[..., None],
    comes_back: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def happens() -> None:
        assert bench.db.file is not None
        protected.add(bench.db.file.resolve())
        bench.db.engine.dispose()  # connections that are open may write on
        if comes_back:
            later(1.0, protected.clear)

    bench.happens = happens
    if not comes_back:
        monkeypatch.setattr(outages, "LONGEST_S", 1.0)
    found = bench.search()
    (line,) = [line for line in bench.heard.notices if "going on once" in line]
    assert "attempt to write a readonly database" in line
    if comes_back:
        assert (found.ended_by, len(found.records)) == (None, TRIALS)
    else:
        assert isinstance(found.ended_by, StoreError)
        assert len(found.records) == 1


@dataclass
class Clock:
    """A clock that a wait moves on."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outages, "time", clock)
    return clock


def locked() -> OperationalError:
    return OperationalError("INSERT", None, sqlite3.OperationalError("database is locked"))


def test_faults_hours_apart_are_outages_of_their_own(clock: Clock) -> None:
    """A training of an hour lies between them, in which nothing says that the database is back."""
    said: list[str] = []
    found = outages.Outages(said.append)
    for _ in range(3):
        found.wait_out(locked())
        clock.sleep(3600.0)
    assert len(said) == 3


def test_an_outage_ends_the_search_once_it_takes_too_long(clock: Clock) -> None:
    said: list[str] = []
    found = outages.Outages(said.append)
    with pytest.raises(OperationalError):
        while True:
            found.wait_out(locked())
    assert outages.LONGEST_S <= clock.now_s <= outages.LONGEST_S + 2.0
    assert len(said) == 1
