"""The handle of a database: one engine, shared by every store of the process.

The rooms above build their stores on it: `MeasurementStore(db)`, `RecordStore(db, study)`, ...
"""

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.address import address_of
from nas_sv2.database.engine import engine_options, one_line
from nas_sv2.database.locks import FileLock, alone_at
from nas_sv2.database.restarts import Patience
from nas_sv2.database.schema import VERSION_TABLES, check_schema, migrate
from nas_sv2.database.sqlite_file import DURABLE, SQLiteFile
from nas_sv2.database.turns import SQLITE, writing_alone
from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.passwords import masked

_NO_STUDIES = "nas-sv2.db"  # names the files beside a database that is not a file

T = TypeVar("T")


@dataclass(eq=False, repr=False)
class Database:
    """A database and this process's only engine on it; threads may share the handle.

    It connects at its first use. Once a server has answered, the handle waits for it if it goes
    away. Use the handle as a context manager, or `close` it.

    Attributes:
        url: A file or the URL of a PostgreSQL database with its password, as given.
        answered: Whether the database has answered before, so that a connection is waited for.
        address: The same as a URL of SQLAlchemy, which hides its password.
    """

    url: str
    answered: bool = False
    address: URL = field(init=False)
    _patience: Patience = field(init=False)
    _sqlite: SQLiteFile | None = field(default=None, init=False)
    _engine: Engine | None = field(default=None, init=False)
    _is_migrated: bool = field(default=False, init=False)
    _made: dict[Any, Any] = field(default_factory=dict, init=False)
    _lock: AbstractContextManager[object] = field(default_factory=RLock, init=False)

    def __post_init__(self) -> None:
        """Parse the URL."""
        self.address = address_of(self.url)
        self._patience = Patience(self.shown)
        if self.file is not None:
            self._sqlite = SQLiteFile(Path(os.path.abspath(self.file)))

    def __repr__(self) -> str:
        """Show the address without its password."""
        return f"Database({self.shown!r})"

    @classmethod
    def open(cls, url: str, *, answered: bool = False) -> Self:
        """Open the database at `url`; the first use makes it if it does not exist.

        Args:
            url: The name of an SQLite file, or a URL.
            answered: Whether the database has answered another process, so that the first
                connection is waited for too.

        Raises:
            ConfigError: The text is neither; see `nas_sv2.database.address.address_of`.
        """
        return cls(url, answered)

    def __enter__(self) -> Self:
        """Return the handle."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the handle."""
        self.close()

    def close(self) -> None:
        """Close the connections; a later use connects again."""
        if self._engine is not None:
            self._engine.dispose()
        if self._sqlite is not None:
            self._sqlite.forget()

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return masked(self.url)

    @property
    def options(self) -> Sequence[str]:
        """The words by which a command takes this database; none for the default one."""
        return () if self.url == DEFAULT_STORAGE else ("--storage", self.shown)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is an SQLite database, and therefore used by this machine alone."""
        return self.address.get_backend_name() == SQLITE

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None if there is none."""
        return Path(self.address.database or "") if self.is_sqlite else None

    def beside(self, suffix: str) -> Path:
        """Return `FILE.suffix` beside an SQLite file, else a path in the working folder."""
        base = self.file or Path(_NO_STUDIES)
        return base.with_name(f"{base.name}.{suffix}")

    def hurry(self) -> None:
        """Stop waiting for a server that is away, in all threads: the user interrupted."""
        self._patience.hurry()

    def wait_again(self) -> None:
        """Wait for a server again, as the user asks for something new."""
        self._patience.wait_again()

    def require(self) -> None:
        """Refuse an SQLite file that does not exist: a command that reads must not make one.

        Raises:
            ConfigError: The file does not exist.
        """
        if self.file is not None and not self.file.exists():
            raise ConfigError(
                "storage", self.url, "must be the database of a search; no such file"
            )

    @contextmanager
    def discarding_new(self) -> Iterator[None]:
        """Remove an SQLite file that is made here if a failure leaves its tables without rows."""
        is_new = self.file is not None and not self.file.exists()
        try:
            yield
        except BaseException:
            if is_new and self._sqlite is not None:
                self._start_over()
                self._sqlite.remove_if_empty(VERSION_TABLES)
            raise

    def _start_over(self) -> None:
        """Close the connections, and forget what was made with them."""
        with self._lock:
            self.close()
            self._engine, self._is_migrated = None, False
            self._made.clear()

    def require_writable(self) -> None:
        """Refuse an SQLite file that this user may only read, before any work.

        Raises:
            StoreError: The file or its folder is read-only.
        """
        if self._sqlite is not None and (why := self._sqlite.why_not_writable):
            raise StoreError(f"{self.shown} cannot be written: {why}")

    @property
    def is_read_only(self) -> bool:
        """Whether it is an SQLite file that this user may only read now."""
        return self._sqlite is not None and self._sqlite.access != "rw"

    def check(self) -> None:
        """Check that an SQLite file that is in use is still there.

        Raises:
            DatabaseGone: It was deleted, moved or replaced.
        """
        if self._sqlite is not None:
            self._sqlite.check()

    @property
    def engine(self) -> Engine:
        """The engine, which is made and connected at the first use.

        Raises:
            ConfigError: The database cannot be opened, or its driver cannot be imported.
            StoreError: A newer nas-sv2 made it.
        """
        with self._lock:
            if self._engine is None:
                self._make(lambda options: create_engine(self.address, **options))
            assert self._engine is not None
            return self._engine

    def adopt(self, make: Callable[[dict[str, Any]], T], turn: str) -> T:
        """Use the engine that another library makes, so that the process has only one.

        Args:
            make: Makes the library's object with these options of `create_engine`.
            turn: The name of a lock that is held meanwhile; see `alone_at`.

        Raises:
            ConfigError: The database cannot be opened, or its driver cannot be imported.
            StoreError: A newer nas-sv2 made it.
        """
        with self._lock, ExitStack() as held:
            before = self._engine
            made = self._make(make, lambda engine: held.enter_context(self._alone(engine, turn)))
            if before is not None:
                before.dispose()
            return made

    def once(self, make: Callable[["Database"], T]) -> T:
        """Return the value of `make` for this handle, made at the first call."""
        with self._lock:
            if make not in self._made:
                self._made[make] = make(self)
            found: T = self._made[make]
            return found

    def migrate(self) -> None:
        """Make our tables, or bring them to the present schema.

        Raises:
            StoreError: The tables cannot be made, or a newer nas-sv2 made them.
        """
        with self._lock:
            if not self._is_migrated:
                migrate(self.engine)
                self._is_migrated = True

    def has_table(self, name: str) -> bool:
        """Return whether the table exists; readers of an older database add no tables."""
        return inspect(self.engine).has_table(name)

    def connect(self) -> Connection:
        """Connect; use the result as a context manager."""
        return self.engine.connect()

    def begin(self) -> AbstractContextManager[Connection]:
        """Connect and begin a transaction; use the result as a context manager."""
        return self.engine.begin()

    @contextmanager
    def session(self, failed: str) -> Iterator[Session]:
        """Open a session in a transaction, whose database errors become a `StoreError`.

        Args:
            failed: The start of the error's message, such as "records cannot be read".
        """
        with self.errors(failed), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def errors(self, failed: str) -> Iterator[None]:
        """Turn the errors of the database into a `StoreError` that begins with `failed`."""
        try:
            yield
        except SQLAlchemyError as error:
            raise StoreError(f"{failed}: {one_line(error)}") from error

    @contextmanager
    def alone_at(self, name: str) -> Iterator[None]:
        """Hold the lock `name` among all processes; see `nas_sv2.database.locks.alone_at`.

        Who may only read needs no turn, and could make no lock.
        """
        with self._alone(self.engine, name):
            yield

    def lock(self, name: str) -> FileLock:
        """Return the lock `name`, which is not waited for, among processes of this machine.

        It is for work that writes.

        Raises:
            StoreError: This user may only read the database.
        """
        self.require_writable()
        if self.file is not None:
            return FileLock.beside(self.file, name)
        return FileLock.of(f"{name} in {self.address.render_as_string()}")

    @contextmanager
    def writing_alone(self, what: str) -> Iterator[Connection]:
        """Open a transaction that writes alone; see `nas_sv2.database.turns.writing_alone`."""
        with writing_alone(self.engine, what) as connection:
            yield connection

    def _alone(self, engine: Engine, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self.is_read_only else alone_at(engine, name)

    def _make(
        self,
        make: Callable[[dict[str, Any]], T],
        hold: Callable[[Engine], None] = lambda engine: None,
    ) -> T:
        """Let `make` make an engine, set it up before its first use, and keep it."""

        def set_up(engine: Engine) -> None:
            self._set_up(engine)
            hold(engine)

        try:
            return make(engine_options(self.address, set_up))
        except ImportError as error:
            sentence = f"needs a driver that can be imported ({error})"
            raise ConfigError("storage", self.shown, sentence) from error

    def _set_up(self, engine: Engine) -> None:
        if self._sqlite is not None:
            self._sqlite.set_up(engine)
        if self.answered:
            self._patience.apply(engine)
        try:
            with engine.connect() as connection:
                check_schema(connection)
        except SQLAlchemyError as error:
            engine.dispose()
            raise self._refusal(error) from error
        except NasError:
            engine.dispose()
            raise
        if not self.answered:
            self._patience.apply(engine)
            self.answered = True
        self._engine = engine.execution_options(**{DURABLE: True})
        weakref.finalize(self, engine.dispose)  # if nobody closes the handle

    def _refusal(self, error: SQLAlchemyError) -> ConfigError | StoreError:
        """Return the error of a first connection that failed."""
        if self.file is not None and self.file.exists():
            return StoreError(f"{self.file} cannot be opened: {one_line(error)}")
        allowed = f"must be a database that can be opened ({one_line(error)})"
        return ConfigError("storage", self.shown, allowed)
