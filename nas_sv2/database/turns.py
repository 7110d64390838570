"""Turns at a database: what may be done by one process at a time, of however many machines."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from nas_sv2.errors import StoreError

SQLITE, POSTGRESQL = "sqlite", "postgresql"
NOT_AVAILABLE = "55P03"
"""How PostgreSQL says that a lock was waited for too long."""


@contextmanager
def writing_alone(engine: Engine, what: str) -> Iterator[Connection]:
    """A transaction beside which no other one of the same `what` runs; waits for its turn.

    SQLite has one writer at a time anyway; its transaction begins as one that writes, so that
    what it reads stays true until its end. PostgreSQL gives a lock by name.
    """
    if engine.dialect.name == SQLITE:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                # An interrupt in the middle of a call invalidates; a full disk has rolled back.
                if not connection.invalidated and _is_open(connection):
                    connection.exec_driver_sql("ROLLBACK")
                raise
    else:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_number_of(what))))
            yield connection


@contextmanager
def turn_at(engine: Engine, what: str, longest_s: float) -> Iterator[None]:
    """Hold the name `what` while other transactions begin and end; waits for its turn.

    For PostgreSQL. An SQLite file is on one machine, where a file lock does it.

    Args:
        engine: Of the database.
        what: The name.
        longest_s: How long to wait.

    Raises:
        StoreError: Others held it for so long; one that died does not.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SET lock_timeout = {math.ceil(1000 * longest_s)}")
        try:
            connection.execute(select(func.pg_advisory_lock(_number_of(what))))
        except DBAPIError as error:
            codes = (getattr(error.orig, name, None) for name in ("sqlstate", "pgcode"))
            if NOT_AVAILABLE not in codes:
                raise
            waited = f"waited {longest_s:g} s for another process, which is using it"
            # None: this is no outage, which would pass
            raise StoreError(f"{what}: {waited}") from None
        finally:
            if not connection.invalidated:
                connection.exec_driver_sql("RESET lock_timeout")
        try:
            yield
        finally:
            connection.execute(select(func.pg_advisory_unlock(_number_of(what))))


def _is_open(connection: Connection) -> bool:
    """Whether SQLite still has the transaction."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def _number_of(what: str) -> int:
    """The 64 bits by which PostgreSQL knows a lock."""
    digest = hashlib.sha256(f"nas-sv2 {what}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
