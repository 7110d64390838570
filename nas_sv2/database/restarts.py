"""Wait for a database server that restarts; transactions that were under way have failed."""

import re
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import Dialect, ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError

from nas_sv2.database.turns import POSTGRESQL, sqlstate_of
from nas_sv2.errors import DatabaseGone, was_interrupted

PATIENCE_S = 60.0
"""Time that a server may be away; a restart takes seconds, and longer after a crash."""
HURRY_S = 10.0
"""Time after an interrupt in which nothing is waited for; cleaning up takes less."""
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
HURRIED_CONNECTION = {"connect_timeout": "2"}  # the least that the library takes
READ_ONLY = "25006"
"""PostgreSQL's error code for a write to a server that is read-only, as after a failover."""
_DROPPED = re.compile(r'database ".*" does not exist')
"""The library gives no error code of a refused connection, only the words of the server."""


@dataclass(eq=False)
class Patience:
    """The waiting of a database handle for its server.

    Attributes:
        shown: The URL of the database, without its password.
    """

    shown: str
    _hurried_until: float = 0.0
    _refused: Exception | None = None
    _woken: threading.Event = field(default_factory=threading.Event)

    def apply(self, engine: Engine) -> None:
        """Make the engine repeat refused connections for up to `PATIENCE_S`.

        Call it after the first connection, so that a wrong address is reported at once.
        """
        if engine.dialect.name == POSTGRESQL:
            event.listen(engine, "do_connect", self._connect)
            event.listen(engine, "handle_error", _leave_read_only)

    def hurry(self) -> None:
        """Wait for nothing in the next seconds, in no thread: the user interrupted."""
        if not self._is_hurried:
            self._hurried_until, self._refused = time.monotonic() + HURRY_S, None
        self._woken.set()

    def wait_again(self) -> None:
        """Forget the hurry: the user asks for something new."""
        self._hurried_until = 0.0

    @property
    def _is_hurried(self) -> bool:
        return time.monotonic() < self._hurried_until

    def _connect(self, dialect: Dialect, _: Any, arguments: Any, options: Any) -> Any:
        ends = time.monotonic() + PATIENCE_S
        if not self._is_hurried:
            self._woken.clear()
        while True:
            # What cleans up after an interrupt must not wait anew at each of its steps.
            if was_interrupted(sys.exception()):
                self.hurry()
            try:
                return self._attempt(dialect, arguments, options)
            except dialect.loaded_dbapi.OperationalError as error:
                if _DROPPED.search(str(error)):
                    raise DatabaseGone(
                        f"{self.shown} was dropped or renamed while it was in use"
                    ) from None
                if self._is_hurried:
                    self._refused = error
                    raise
                if time.monotonic() >= ends:
                    raise
            self._woken.wait(POLL_S)

    def _attempt(self, dialect: Dialect, arguments: Any, options: Any) -> Any:
        """Connect once; in a hurry with less time, and not again after a failure."""
        if not self._is_hurried:
            return dialect.connect(*arguments, **options)
        if self._refused is not None:
            raise dialect.loaded_dbapi.OperationalError(str(self._refused))
        if HURRIED_CONNECTION.keys() <= options.keys():
            options = {**options, **HURRIED_CONNECTION}
        return dialect.connect(*arguments, **options)


def _leave_read_only(context: ExceptionContext) -> None:
    """Drop the connections to a server that became read-only: another may take its place."""
    if sqlstate_of(context.original_exception) == READ_ONLY:
        context.is_disconnect = True


def is_passing(error: BaseException | None) -> bool:
    """Return whether a database error passes.

    Its server went away or became read-only, a file was set read-only, or another process writes.

    Args:
        error: An error of the database, or one that was raised from it.
    """
    while error is not None:
        if isinstance(error, PendingRollbackError):  # Optuna asked again over a lost connection
            return True
        if isinstance(error, DBAPIError):
            if type(error.orig).__module__.partition(".")[0] != "sqlite3":
                return "locked" in str(error.orig) or _by_the_server(error)
            code = getattr(error.orig, "sqlite_errorname", "")
            return "locked" in str(error.orig) or code.startswith("SQLITE_READONLY")
        error = error.__cause__
    return False


def _by_the_server(error: DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(error, OperationalError)
