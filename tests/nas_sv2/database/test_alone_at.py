"""A name in a database that one process at a time holds, on SQLite and PostgreSQL."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from nas_sv2.database import locks as exclusive
from nas_sv2.database.database import Database
from nas_sv2.database.restarts import is_passing
from nas_sv2.errors import DeviceError, StoreError


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'studies.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.database()
    db = Database.open(url)
    yield db
    db.close()


def test_one_after_the_other(db: Database) -> None:
    within: list[int] = []

    def enter(number: int) -> None:
        with db.alone_at("a name"):
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
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.alone_at("a name"):
        monkeypatch.setattr(exclusive, "PATIENCE_S", 0.2)
        began = time.monotonic()
        waited = pytest.raises(StoreError, match=r"a name: waited 0\.2 s for")
        with waited as raised, db.alone_at("a name"):
            raise AssertionError
        assert time.monotonic() - began < 30
        assert not is_passing(raised.value)  # it would be waited for again
        with db.alone_at("another"):
            pass
    with db.alone_at("a name"):
        pass


def test_what_fails_within_is_passed_on_and_the_name_given_back(db: Database) -> None:
    with pytest.raises(DeviceError, match="mine"), db.alone_at("a name"):
        raise DeviceError("mine")
    with db.alone_at("a name"):
        pass


def test_a_full_disk_is_said_and_not_that_there_is_nothing_to_roll_back(tmp_path: Path) -> None:
    """SQLite rolls back by itself then."""
    db = Database.open(f"sqlite:///{tmp_path / 'studies.db'}")
    with db.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE stuff (x)")
    event.listen(db.engine, "connect", lambda made, _: made.execute("PRAGMA max_page_count = 3"))
    db.close()
    with (
        pytest.raises(OperationalError, match="database or disk is full"),
        db.writing_alone("stuff") as connection,
    ):
        for _ in range(9):
            connection.exec_driver_sql("INSERT INTO stuff VALUES (zeroblob(4000))")
    with db.writing_alone("stuff") as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM stuff").scalar()
    db.close()
    assert count == 0


def test_other_statements_wait_as_they_did(db: Database) -> None:
    with db.alone_at("a name"):
        pass
    if not db.is_sqlite:
        with db.connect() as connection:
            assert connection.execute(text("SHOW lock_timeout")).scalar() == "0"


def test_what_fails_within_is_not_hidden_by_a_server_that_is_away(
    postgres_server: Postgres,
) -> None:
    with Database.open(postgres_server.database()) as db:
        try:
            with pytest.raises(KeyboardInterrupt), db.alone_at("a name"):
                postgres_server.stop("immediate")
                raise KeyboardInterrupt
        finally:
            postgres_server.start()
