"""A name in a database that one process at a time holds, on SQLite and PostgreSQL."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError

from nas_sv2.database import locks as exclusive
from nas_sv2.database.engine import open_engine
from nas_sv2.database.locks import alone_at
from nas_sv2.database.restarts import is_passing
from nas_sv2.database.turns import writing_alone
from nas_sv2.errors import DeviceError, StoreError


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'studies.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.database()
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_one_after_the_other(engine: Engine) -> None:
    within: list[int] = []

    def enter(number: int) -> None:
        with alone_at(engine, "a name"):
            within.append(number)
            time.sleep(0.05)
            assert within.pop() == number
            assert not within

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert within == []


def test_who_holds_it_is_not_waited_for_without_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alone_at(engine, "a name"):
        monkeypatch.setattr(exclusive, "PATIENCE_S", 0.2)
        began = time.monotonic()
        waited = pytest.raises(StoreError, match=r"a name: waited 0\.2 s for")
        with waited as raised, alone_at(engine, "a name"):
            raise AssertionError
        assert time.monotonic() - began < 30
        assert not is_passing(raised.value)  # it would be waited for again
        with alone_at(engine, "another"):
            pass
    with alone_at(engine, "a name"):
        pass


def test_what_fails_within_is_passed_on_and_the_name_given_back(engine: Engine) -> None:
    with pytest.raises(DeviceError, match="mine"), alone_at(engine, "a name"):
        raise DeviceError("mine")
    with alone_at(engine, "a name"):
        pass


def test_a_full_disk_is_said_and_not_that_there_is_nothing_to_roll_back(tmp_path: Path) -> None:
    """SQLite rolls back by itself then."""
    engine = open_engine(f"sqlite:///{tmp_path / 'studies.db'}")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE stuff (x)")
    event.listen(engine, "connect", lambda made, _: made.execute("PRAGMA max_page_count = 3"))
    engine.dispose()
    with (
        pytest.raises(OperationalError, match="database or disk is full"),
        writing_alone(engine, "stuff") as connection,
    ):
        for _ in range(9):
            connection.exec_driver_sql("INSERT INTO stuff VALUES (zeroblob(4000))")
    with writing_alone(engine, "stuff") as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM stuff").scalar()
    engine.dispose()
    assert count == 0


def test_other_statements_wait_as_they_did(engine: Engine) -> None:
    with alone_at(engine, "a name"):
        pass
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            assert connection.execute(text("SHOW lock_timeout")).scalar() == "0"
