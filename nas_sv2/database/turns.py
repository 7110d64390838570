"""Turns at a database: actions of one process at a time, among any number of machines."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from nas_sv2.errors import StoreError

SQLITE, POSTGRESQL = "sqlite", "postgresql"
NOT_AVAILABLE = "55P03"
"""PostgreSQL's error code for a lock that was waited for too long."""


@contextmanager
def writing_alone(engine: Engine, what: str) -> Iterator[Connection]:
    """Open a transaction that excludes others of the same `what`, after waiting for the turn.

    SQLite always has one writer at a time. Its transaction begins as a writer, so that its reads
    stay true until the end. PostgreSQL gives a lock by name.
    """
    if engine.dialect.name == SQLITE:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                # An interrupt invalidates the connection; a full disk has already rolled back.
                if not connection.invalidated and _is_open(connection):
                    connection.exec_driver_sql("ROLLBACK")
                raise
    else:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_number_of(what))))
            yield connection


@contextmanager
def turn_at(engine: Engine, what: str, longest_s: float) -> Iterator[None]:
    """Hold the name `what` over several transactions, after waiting for the turn.

    It is for PostgreSQL. An SQLite file is on one machine, where a file lock suffices.

    Args:
        engine: The engine of a PostgreSQL database.
        what: The name.
        longest_s: The longest wait, in seconds.

    Raises:
        StoreError: Other processes held the name for so long; a dead process does not hold it.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SET lock_timeout = {math.ceil(1000 * longest_s)}")
        try:
            connection.execute(select(func.pg_advisory_lock(_number_of(what))))
        except DBAPIError as error:
            if sqlstate_of(error.orig) != NOT_AVAILABLE:
                raise
            waited = f"waited {longest_s:g} s for another process, which is using it"
            # from None: the caller must not take it for an outage, which passes
            raise StoreError(f"{what}: {waited}") from None
        finally:
            if not connection.invalidated:
                connection.exec_driver_sql("RESET lock_timeout")
        try:
            yield
        except BaseException:
            # A lost connection holds nothing, and its fault must not hide this one.
            with suppress(SQLAlchemyError, StoreError):
                _unlock(connection, what)
            raise
        _unlock(connection, what)


def _unlock(connection: Connection, what: str) -> None:
    if not connection.invalidated:
        connection.execute(select(func.pg_advisory_unlock(_number_of(what))))


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return the error code that PostgreSQL gave, by either driver; None without one."""
    found: str | None = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return found


def _is_open(connection: Connection) -> bool:
    """Return whether SQLite still has the transaction."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def _number_of(what: str) -> int:
    """Return the 64-bit number by which PostgreSQL identifies a lock."""
    digest = hashlib.sha256(f"nas-sv2 {what}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
