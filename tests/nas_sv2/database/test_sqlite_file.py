"""An SQLite file that goes away, may only be read, or is damaged."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from nas_sv2.database.database import Database
from nas_sv2.database.sqlite_file import SQLiteFile
from nas_sv2.errors import ConfigError, DatabaseGone, StoreError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a closed database with one row, in a folder of its own."""
    (tmp_path / "folder").mkdir()
    file = tmp_path / "folder" / "a b%20?#é.db"
    with Database.open(f"{file}") as db:
        add(db, 1)
    return file


@pytest.fixture
def db(file: Path) -> Iterator[Database]:
    with Database.open(f"{file}") as db:
        yield db


def add(db: Database, number: int) -> None:
    with db.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS stuff (x INTEGER)"))
        connection.execute(text(f"INSERT INTO stuff VALUES ({number})"))


def numbers(db: Database) -> list[int]:
    with db.connect() as connection:
        return list(connection.execute(text("SELECT x FROM stuff ORDER BY x")).scalars())


def replace(file: Path) -> None:
    other = file.with_name("other")
    with closing(sqlite3.connect(other)) as made:
        made.execute("CREATE TABLE stuff (x INTEGER)")
    other.replace(file)


# It is made for nothing


def refused(db: Database) -> None:
    with pytest.raises(ConfigError), db.discarding_new():
        with db.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS stuff (x INTEGER)"))
        db.migrate()
        raise ConfigError("budget", 1, "must be more")


def test_a_file_that_is_made_and_stays_empty_is_removed(tmp_path: Path) -> None:
    with Database.open(f"{tmp_path / 'new.db'}") as db:
        refused(db)
        assert list(tmp_path.iterdir()) == []
        db.migrate()  # the handle makes it again
        add(db, 1)
        assert numbers(db) == [1]


def test_a_file_that_was_there_or_has_a_row_stays(tmp_path: Path, db: Database) -> None:
    refused(db)
    assert numbers(db) == [1]
    with Database.open(f"{tmp_path / 'new.db'}") as new:
        with pytest.raises(KeyboardInterrupt), new.discarding_new():
            add(new, 2)
            raise KeyboardInterrupt
        assert numbers(new) == [2]


def test_a_file_that_another_process_has_opened_stays(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    with Database.open(f"{file}") as db, Database.open(f"{file}") as other:
        with pytest.raises(ConfigError), db.discarding_new():
            db.migrate()
            assert other.has_table("nas_records")
            raise ConfigError("budget", 1, "must be more")
        add(other, 3)
        assert numbers(other) == [3]


# It goes away


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (Path.unlink, "was deleted or moved"),
        (lambda file: file.rename(file.with_name("moved")), "was deleted or moved"),
        (lambda file: file.parent.rename(file.parent.with_name("away")), "was deleted or moved"),
        (replace, "was replaced by another file"),
    ],
    ids=["deleted", "moved", "folder", "replaced"],
)
def test_a_file_that_goes_away_is_noticed_at_the_next_use(
    db: Database, file: Path, happens: Callable[[Path], None], said: str
) -> None:
    assert numbers(db) == [1]
    happens(file)
    for use in (numbers, lambda db: add(db, 2), Database.check):
        with pytest.raises(DatabaseGone, match=said) as caught:
            use(db)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
    db.engine.dispose()
    with pytest.raises(DatabaseGone):  # a new connection makes no new file either
        numbers(db)
    assert said != "was deleted or moved" or not file.exists()
    assert DatabaseGone.exit_code == 2


def test_a_moved_file_that_is_put_back_goes_on(db: Database, file: Path) -> None:
    add(db, 2)
    away = file.rename(file.with_name("moved"))
    with pytest.raises(DatabaseGone):
        numbers(db)
    away.rename(file)
    add(db, 3)
    assert numbers(db) == [1, 2, 3]


def test_a_handle_that_was_closed_takes_the_file_that_it_finds(db: Database, file: Path) -> None:
    assert numbers(db) == [1]
    db.close()
    replace(file)
    assert numbers(db) == []


# It may only be read


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_file_without_a_log_is_read_and_nothing_is_made_beside_it(
    db: Database, file: Path, protected: set[Path], what: str
) -> None:
    protected.add(file if what == "file" else file.parent)
    assert numbers(db) == [1]
    assert os.listdir(file.parent) == [file.name]
    with pytest.raises(OperationalError, match="readonly"):
        add(db, 2)
    with db.alone_at("a name"), pytest.raises(StoreError, match="cannot be written") as caught:
        db.require_writable()
    assert str(file if what == "file" else file.parent) in str(caught.value)
    assert os.listdir(file.parent) == [file.name]


def test_what_a_killed_process_left_in_the_log_is_read(
    file: Path, tmp_path: Path, protected: set[Path]
) -> None:
    with Database.open(f"{file}") as db:
        add(db, 2)
        shutil.copytree(file.parent, tmp_path / "copy")
    copy = tmp_path / "copy" / file.name
    assert SQLiteFile(copy).access == "rw"
    protected.add(copy.parent)
    protected |= {copy, Path(f"{copy}-wal"), Path(f"{copy}-shm")}
    assert SQLiteFile(copy).access == "ro"
    with Database.open(f"{copy}") as db:
        assert numbers(db) == [1, 2]


def test_somebody_who_begins_to_write_is_noticed(
    db: Database, file: Path, protected: set[Path]
) -> None:
    """A file that was taken for immutable is opened anew, and its log is read."""
    protected.add(file)
    assert numbers(db) == [1]
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("INSERT INTO stuff VALUES (2)")
        writer.commit()
        assert Path(f"{file}-wal").exists()
        assert numbers(db) == [1, 2]
    assert numbers(db) == [1, 2]


def test_a_file_that_may_be_written_again_is_opened_anew(
    db: Database, file: Path, protected: set[Path]
) -> None:
    protected.add(file)
    with pytest.raises(OperationalError, match="readonly"):
        add(db, 2)
    protected.clear()
    add(db, 2)
    assert numbers(db) == [1, 2]


def test_a_file_is_not_made_in_a_folder_that_is_read_only(
    tmp_path: Path, protected: set[Path]
) -> None:
    protected.add(tmp_path)
    db = Database.open(f"{tmp_path / 'new.db'}")
    with pytest.raises(ConfigError, match=r"storage must be a file that can be made.*read-only"):
        assert db.engine
    assert list(tmp_path.iterdir()) == []


# It is damaged


@pytest.mark.parametrize(
    ("at", "size", "said"),
    [
        (0, 300, "is not an SQLite database, or its header is damaged"),
        (44, 4, "cannot be opened: unsupported file format"),
        (100, 300, "is damaged; restore"),
    ],
    ids=["header", "format", "page"],
)
def test_damage_is_called_that_by_the_name_of_the_file(
    file: Path, at: int, size: int, said: str
) -> None:
    content = bytearray(file.read_bytes())
    content[at : at + size] = b"\xa5" * size
    file.write_bytes(content)
    with Database.open(f"{file}") as db, pytest.raises(StoreError) as caught:
        numbers(db)
    assert str(caught.value).startswith(f"{file} {said}")
    assert "storage" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
def test_a_file_that_is_called_something_else_and_is_no_database_is_refused(
    scheme: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>A report, and no database." * 100)
    with Database.open(f"{scheme}{page}") as db, pytest.raises(ConfigError) as refused:
        numbers(db)
    assert str(refused.value) == (
        f"storage must be an SQLite database; this file is none; got {str(page)!r}"
    )


def test_damage_that_is_met_later(file: Path) -> None:
    with Database.open(f"{file}") as db:
        for number in range(2, 3000):
            if number % 1000 == 0:
                add(db, number)
        with db.begin() as connection:
            many = ", ".join(f"({number})" for number in range(5000))
            connection.execute(text(f"INSERT INTO stuff VALUES {many}"))
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    file.write_bytes(content)
    with Database.open(f"{file}") as db, pytest.raises(StoreError, match="is damaged; restore"):
        numbers(db)
