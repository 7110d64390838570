"""Make and set up engines, and show database URLs without passwords."""

import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, CreateEnginePlugin, Engine, event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from nas_sv2.database.restarts import LIBPQ, PATIENT_CONNECTION
from nas_sv2.database.turns import POSTGRESQL, SQLITE
from nas_sv2.errors import ConfigError

BUSY_TIMEOUT_MS = 30_000
"""Time that SQLite waits for another writer; our writes and Optuna's take milliseconds."""
DURABLE = "nas_sv2_durable"
"""The execution option of connections whose commits wait for the disk."""
HIDDEN = "***"
_PLUGIN = "nas_sv2"
_SECRET = re.compile(r"pass|secret|token", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=:)(?!//).*(?=@)")


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


def address_of(url: str) -> URL:
    """Parse `url`.

    Raises:
        ConfigError: The text is not the URL of an SQLite or PostgreSQL database.
    """
    allowed = "must be sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
    try:
        address = make_url(url)
        kind = address.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise ConfigError("storage", without_password(url), allowed) from error
    if "@" in (address.host or ""):
        raise ConfigError(
            "storage", without_password(url), "must have %40 for an @ in the password"
        )
    if kind not in (SQLITE, POSTGRESQL):
        raise ConfigError("storage", without_password(url), allowed)
    return address


def engine_options(address: URL, set_up: Callable[[Engine], None]) -> dict[str, Any]:
    """Return the options of `create_engine` for this database.

    The pool may grow: a thread that waits for its turn holds a connection meanwhile.

    Args:
        address: The parsed URL.
        set_up: Called with the engine before its first use.
    """
    options: dict[str, Any] = {"plugins": [_PLUGIN], "set_up": set_up}
    if address.get_backend_name() == SQLITE:
        options |= {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}}
        return options | ({} if is_in_memory(address) else {"max_overflow": -1})
    options |= {"pool_pre_ping": True, "max_overflow": -1}
    if address.drivername in LIBPQ:
        missing = {k: v for k, v in PATIENT_CONNECTION.items() if k not in address.query}
        options["connect_args"] = missing
    return options


def is_in_memory(address: URL) -> bool:
    """Return whether an SQLite database has no file."""
    return address.database in (None, "", ":memory:")


def set_up_sqlite(engine: Engine) -> None:
    """Make every connection wait for other writers, but never a reader for a writer."""
    event.listen(engine, "connect", _set_up_connection)
    event.listen(engine, "engine_connect", _set_durability)


def one_line(error: SQLAlchemyError) -> str:
    """Return the message of the database, without SQLAlchemy's further lines."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(said).strip().splitlines()[0]


def without_password(url: str) -> str:
    """Return `url` with its password hidden, and without secrets among its parameters."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # not a URL, or one whose port is not a number
        return _CREDENTIALS.sub(HIDDEN, url)
    if "@" in (parsed.host or ""):  # the end of a password that holds one
        return _CREDENTIALS.sub(HIDDEN, url)
    secrets = [name for name in parsed.query if _SECRET.search(name)]
    return parsed.difference_update_query(secrets).render_as_string(hide_password=True)


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
