"""Make and set up engines, and say in one line how they fail."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, CreateEnginePlugin, Engine
from sqlalchemy.dialects import plugins
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError

from nas_sv2.database.restarts import LIBPQ, PATIENT_CONNECTION
from nas_sv2.database.sqlite_file import BUSY_TIMEOUT_MS
from nas_sv2.database.turns import SQLITE

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


def one_line(error: SQLAlchemyError) -> str:
    """Return the message of the database, without SQLAlchemy's further lines."""
    if isinstance(error, PendingRollbackError):
        return "the connection was lost"  # its own words are for who writes the program
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(said).strip().splitlines()[0]
