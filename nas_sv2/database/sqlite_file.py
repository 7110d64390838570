"""Connect to an SQLite file as this user may, and refuse it once it is another file.

Files are compared by `os.stat`. A descriptor of our own would not do: a process that closes one
loses all its locks on that file, those of SQLite among them.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from nas_sv2.database.address import ENDINGS
from nas_sv2.errors import ConfigError, DatabaseGone, StoreError

BUSY_TIMEOUT_MS = 30_000
"""Time that SQLite waits for another writer; our writes and Optuna's take milliseconds."""
SHARED_BYTES = 1 << 15
"""Size of the file that SQLite makes beside a write-ahead log, for readers too."""
DURABLE = "nas_sv2_durable"
"""The execution option of connections whose commits wait for the disk."""

Access = Literal["rw", "ro", "immutable"]
"""The ways to open a file: to write, to read beside a writer, to read if nobody has it open."""

_PARAMETERS: dict[Access, str] = {"rw": "mode=rw", "ro": "mode=ro", "immutable": "immutable=1"}
_DAMAGE = {
    "SQLITE_NOTADB": "is not an SQLite database, or its header is damaged",
    "SQLITE_CORRUPT": "is damaged; restore a backup",
}
_STAMP = "nas_sv2_stamp"
_BY_EFFECTIVE_USER = os.access in os.supports_effective_ids


@dataclass
class SQLiteFile:
    """The file of an SQLite database.

    Attributes:
        path: Its absolute path.
    """

    path: Path
    _first: tuple[int, int] | None = None

    def set_up(self, engine: Engine) -> None:
        """Let every connection of the engine be opened and checked by this file."""
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", _set_up_connection)
        event.listen(engine, "checkout", self._check_connection)
        event.listen(engine, "engine_connect", self._set_durability)
        event.listen(
            engine, "handle_error", lambda context: self._explain(context.original_exception)
        )

    def forget(self) -> None:
        """Take the file that is found at the next connection, whichever it is."""
        self._first = None

    def remove_if_empty(self, aside: Collection[str]) -> None:
        """Remove the file if nobody has it open and no table has a row, except those `aside`."""
        with suppress(sqlite3.OperationalError, OSError):
            uri = f"{self.path.as_uri()}?mode=rw"
            alone = sqlite3.connect(uri, timeout=0, isolation_level=None, uri=True)
            with closing(alone):
                alone.execute("PRAGMA journal_mode = DELETE")  # refused beside other connections
                alone.execute("BEGIN EXCLUSIVE")
                names = alone.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                tables = [name for (name,) in names if name not in aside]
                if not any(alone.execute(f'SELECT 1 FROM "{name}"').fetchone() for name in tables):
                    Path(os.path.realpath(self.path)).unlink()

    def check(self) -> None:
        """Check that the path still leads to the file of the first connection.

        Raises:
            DatabaseGone: The file was deleted, moved or replaced.
        """
        if self._first is None:
            return
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            raise DatabaseGone(
                f"{self.path} was deleted or moved while it was in use; if it was moved, put it "
                f"back beside {self.path.name}-wal, and the same command goes on"
            ) from None
        if (found.st_dev, found.st_ino) != self._first:
            raise DatabaseGone(
                f"{self.path} was replaced by another file while it was in use; the same command "
                "goes on with that one"
            )

    @property
    def access(self) -> Access:
        """How this user may open the file now.

        SQLite reads a file with a write-ahead log only if it may write beside it. It reads any
        file that is `immutable`, but without the log and without locks. So that is used only for
        a file without a log: nobody has it open.
        """
        if self.why_not_writable is None:
            return "rw"
        wal, shared, journal = (self._beside(end) for end in ("wal", "shm", "journal"))
        if _size(wal) or shared.exists() or _size(journal):
            return "ro"
        return "immutable"

    @property
    def why_not_writable(self) -> str | None:
        """Why this user may only read; None if the user may write."""
        file = Path(os.path.realpath(self.path))
        if file.exists() and not _may_write(file):
            return f"{self.path} is read-only for this user"
        beside = self._beside("wal"), self._beside("shm")
        if not _may_write(file.parent) and not all(map(_may_write, beside)):
            return f"the folder {file.parent} is read-only for this user"
        return None

    def _connect(
        self, dialect: Dialect, record: ConnectionPoolEntry, arguments: Any, options: Any
    ) -> Any:
        self.check()
        access, is_new = self.access, not self.path.exists()
        if is_new and access != "rw":
            allowed = f"must be a file that can be made; {self.why_not_writable}"
            raise ConfigError("storage", str(self.path), allowed)
        parameters = "mode=rwc" if is_new else _PARAMETERS[access]
        uri = f"{self.path.as_uri()}?{parameters}"
        record.info[_STAMP] = access, self._content(access)
        made = dialect.connect(uri, *arguments[1:], **{**options, "uri": True})
        if self._first is None:
            found = os.stat(self.path)
            self._first = found.st_dev, found.st_ino
        return made

    def _check_connection(self, made: Any, record: ConnectionPoolEntry, proxy: Any) -> None:
        """Refuse a connection to another file; renew one that only reads after a change."""
        self.check()
        access, content = record.info[_STAMP]
        if access != "rw" and (access, content) != (self.access, self._content(access)):
            raise DisconnectionError

    def _content(self, access: Access) -> tuple[int, int] | None:
        """Return time and size of an immutable file, which change if somebody writes to it."""
        if access != "immutable":
            return None
        found = os.stat(self.path)
        return found.st_mtime_ns, found.st_size

    def _set_durability(self, connection: Connection) -> None:
        """Make our commits wait for the disk, but not Optuna's.

        A record is saved before Optuna gets its trial's values. A commit that waits for the disk
        takes all earlier commits with it. A power cut may therefore lose only later writes of
        Optuna's, which the next run repeats.
        """
        level = "FULL" if connection.get_execution_options().get(DURABLE) else "NORMAL"
        driver: Any = connection.connection.driver_connection
        statement = f"PRAGMA synchronous = {level}"
        try:
            driver.execute(statement)
        except sqlite3.DatabaseError as error:  # a full disk, say: as of any other statement
            self._explain(error)
            raise OperationalError(statement, None, error) from error

    def _explain(self, error: BaseException) -> None:
        """Name the file if it is damaged, its disk is full, or it cannot be read without writing.

        Raises:
            StoreError: So it is.
            ConfigError: It is not called a database either.
        """
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_NOTADB" and self.path.suffix not in ENDINGS:
            allowed = "must be an SQLite database; this file is none"
            raise ConfigError("storage", str(self.path), allowed) from error
        for beginning, said in _DAMAGE.items():
            if code.startswith(beginning):
                raise StoreError(f"{self.path} {said} ({error})") from error
        if code.startswith("SQLITE_IOERR") and _free_bytes(self.path) < SHARED_BYTES:
            raise StoreError(f"{self.path} cannot be used: its disk is full ({error})") from error
        if code.startswith("SQLITE_CANTOPEN") and not os.access(self.path, os.R_OK):
            raise StoreError(f"{self.path} cannot be read by this user") from error
        if code.startswith("SQLITE_CANTOPEN") and self.access == "ro":
            raise StoreError(
                f"{self.path} cannot be read: {self.why_not_writable}, and the latest changes are "
                f"in {self.path.name}-wal; copy both to a folder that can be written"
            ) from error

    def _beside(self, end: str) -> Path:
        """Return the path of a file that SQLite keeps beside the database."""
        return Path(f"{os.path.realpath(self.path)}-{end}")


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=_BY_EFFECTIVE_USER)


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(os.path.dirname(os.path.realpath(path))).free


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _set_up_connection(connection: Any, record: ConnectionPoolEntry) -> None:
    """Make a connection wait for other writers, but never a reader for a writer."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    if record.info[_STAMP][0] == "rw":
        _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Turn on write-ahead logging, which the file keeps.

    SQLite does not wait for other processes here. The change needs the file alone, and fails at
    once while another process opens it.
    """
    ends = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                return
            time.sleep(0.02)
