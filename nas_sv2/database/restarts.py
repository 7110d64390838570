"""Wait for a database server that restarts; transactions that were under way have failed."""

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError

from nas_sv2.database.turns import POSTGRESQL

PATIENCE_S = 60.0
"""Time that a server may be away; a restart takes seconds, and longer after a crash."""
POLL_S = 0.5
LIBPQ = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
"""Drivers that take the options of PostgreSQL's own library."""
PATIENT_CONNECTION = {
    "connect_timeout": "10",  # seconds; the default waits minutes for a host that is off
    "keepalives_idle": "30",  # a connection that a router dropped is noticed in a minute
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "nas-sv2",
    # For the server: a machine that vanished in the middle of a transaction must not hold its
    # locks for two hours.
    "options": "-c idle_in_transaction_session_timeout=60s -c tcp_keepalives_idle=30 "
    "-c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}


def wait_for_database(engine: Engine) -> None:
    """Make the engine repeat refused connections for up to `PATIENCE_S`.

    Call it after the first connection, so that a wrong address is reported at once.
    """
    if engine.dialect.name == POSTGRESQL:
        event.listen(engine, "do_connect", _connect_patiently)


def _connect_patiently(dialect: Dialect, _: Any, arguments: Any, options: Any) -> Any:
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() >= ends:
                raise
            time.sleep(POLL_S)


def is_passing(error: BaseException | None) -> bool:
    """Return whether a database error passes: its server went away, or another process writes.

    Args:
        error: An error of the database, or one that was raised from it.
    """
    while error is not None:
        if isinstance(error, PendingRollbackError):  # Optuna asked again over a lost connection
            return True
        if isinstance(error, DBAPIError):
            locked = "locked" in str(error.orig)
            server = type(error.orig).__module__.partition(".")[0] != "sqlite3"
            return locked or (server and _by_the_server(error))
        error = error.__cause__
    return False


def _by_the_server(error: DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(error, OperationalError)
