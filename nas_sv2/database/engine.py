"""The engine of a database: how it is opened, and how long it waits for others."""

import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from nas_sv2.database.restarts import LIBPQ, PATIENT_CONNECTION, wait_for_database
from nas_sv2.database.schema import check_schema
from nas_sv2.database.storage_url import without_password
from nas_sv2.database.turns import POSTGRESQL, SQLITE
from nas_sv2.errors import ConfigError, StoreError

BUSY_TIMEOUT_MS = 30_000
"""How long SQLite waits for another writer; our writes take milliseconds, a study's the same."""
_OF_THE_MOMENT = ("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_BUSY")  # the URL is right all the same


def open_engine(url: str, *, answered: bool = False) -> Engine:
    """An engine for `url` that is known to connect.

    SQLite is set to write-ahead logging: readers do not wait for a writer, so a dashboard can
    watch a search. A PostgreSQL that is started anew meanwhile is waited for.

    Args:
        url: Of the database.
        answered: Whether it has answered before, and the first connection is waited for too.

    Raises:
        ConfigError: The text is no URL of such a database, or it cannot be opened.
        StoreError: The driver of the database is not installed, or a newer nas-sv2 made it.
    """
    allowed = "must be sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
    try:
        address = make_url(url)
        kind = address.get_backend_name()
        if "@" in (address.host or ""):
            allowed = "must have %40 for an @ in the password"
        elif kind in (SQLITE, POSTGRESQL):
            engine = create_engine(address, **engine_options(url))
            allowed = ""
    except (ArgumentError, ValueError) as error:
        raise ConfigError("storage", without_password(url), allowed) from error
    except ImportError as error:
        missing = "pip install 'nas-sv2[postgres]'" if kind == POSTGRESQL else str(error)
        shown = without_password(url)
        raise StoreError(f"{shown}: its driver is not installed: {missing}") from error
    if allowed:
        raise ConfigError("storage", without_password(url), allowed)
    if kind == SQLITE:
        event.listen(engine, "connect", _set_up_sqlite)
    if answered:
        wait_for_database(engine)
    try:
        with engine.connect() as connection:
            check_schema(connection)
    except SQLAlchemyError as error:
        engine.dispose()
        fault = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
        if fault.startswith(_OF_THE_MOMENT):
            raise StoreError(f"{without_password(url)}: {one_line(error)}") from error
        allowed = f"must be a database that can be opened ({one_line(error)})"
        raise ConfigError("storage", without_password(url), allowed) from error
    except StoreError:
        engine.dispose()
        raise
    if not answered:
        wait_for_database(engine)
    return engine


def engine_options(url: str) -> dict[str, Any]:
    """How `create_engine` is called for a database of this kind."""
    address = make_url(url)
    if address.get_backend_name() == SQLITE:
        return {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}}
    if address.drivername not in LIBPQ:
        return {"pool_pre_ping": True}
    asked = {k: v for k, v in PATIENT_CONNECTION.items() if k not in address.query}
    return {"pool_pre_ping": True, "connect_args": asked}


def one_line(error: SQLAlchemyError) -> str:
    """What the database said, without SQLAlchemy's further lines."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(said).strip().splitlines()[0]


def _set_up_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Turn write-ahead logging on, which stays with the file.

    SQLite does not wait for others here as it does elsewhere: the turn needs the file for itself,
    and fails at once while another process opens it too. Where it cannot be had, on a read-only
    file say, SQLite goes on without.
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
