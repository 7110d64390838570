"""Make and set up engines, and say in one line how they fail."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, CreateEnginePlugin, Engine, event
from sqlalchemy.dialects import plugins
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from nas_sv2.database.restarts import LIBPQ, PATIENT_CONNECTION
from nas_sv2.database.turns import SQLITE

BUSY_TIMEOUT_MS = 30_000
"""Time that SQLite waits for another writer; our writes and Optuna's take milliseconds."""
DURABLE = "nas_sv2_durable"
"""The execution option of connections whose commits wait for the disk."""
_PLUGIN = "nas_sv2"


class EngineSetUp(CreateEnginePlugin):
    """Passes a new engine to the function `set_up` before its first use.

    Optuna makes its engine by itself and connects at once. This hook of SQLAlchemy applies our
    settings and checks before that.
    """

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        self._set_up: Callable[[Engine], None] = kwargs.pop("set_up")

    def update_url(self, url: URL) -> URL:
        """Leave the URL as it is."""
        return url

    def engine_created(self, engine: Engine) -> None:
        """Set the engine up."""
        self._set_up(engine)


plugins.register(_PLUGIN, __name__, EngineSetUp.__name__)


def engine_options(address: URL, set_up: Callable[[Engine], None]) -> dict[str, Any]:
    """Return the options of `create_engine` for this database.

    The pool may grow: a thread that waits for its turn holds a connection meanwhile.

    Args:
        address: The parsed URL.
        set_up: Called with the engine before its first use.
    """
    options: dict[str, Any] = {"plugins": [_PLUGIN], "set_up": set_up, "max_overflow": -1}
    if address.get_backend_name() == SQLITE:
        return options | {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}}
    options |= {"pool_pre_ping": True}
    if address.drivername in LIBPQ:
        missing = {k: v for k, v in PATIENT_CONNECTION.items() if k not in address.query}
        options["connect_args"] = missing
    return options


def set_up_sqlite(engine: Engine) -> None:
    """Make every connection wait for other writers, but never a reader for a writer."""
    event.listen(engine, "connect", _set_up_connection)
    event.listen(engine, "engine_connect", _set_durability)


def one_line(error: SQLAlchemyError) -> str:
    """Return the message of the database, without SQLAlchemy's further lines."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(said).strip().splitlines()[0]


def _set_up_connection(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _write_ahead(cursor)
    cursor.close()


def _set_durability(connection: Connection) -> None:
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
    except sqlite3.OperationalError as error:  # a full disk, say: as of any other statement
        raise OperationalError(statement, None, error) from error


def _write_ahead(cursor: Any) -> None:
    """Turn on write-ahead logging, which the file keeps.

    SQLite does not wait for other processes here. The change needs the file alone, and fails at
    once while another process opens it. A read-only file stays as it is.
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
