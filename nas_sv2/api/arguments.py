"""Arguments that several calls share: a database, lines for the user."""

from collections.abc import Callable

from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database as Database
from nas_sv2.database.schema import VERSIONS
from nas_sv2.search.events.interrupts import sigterm_interrupts as sigterm_interrupts


def database_of(storage: str | Database) -> Database:
    """Return the handle that was given, or open the database at the URL.

    Raises:
        ConfigError: The text is not the URL of a database.
    """
    return storage if isinstance(storage, Database) else Database.open(storage)


def upgrade(storage: str | Database = DEFAULT_STORAGE) -> str:
    """Make the tables of a database, or bring them to the present schema; its number.

    Raises:
        ConfigError: It cannot be opened.
        StoreError: A newer program made it, or the tables cannot be made.
    """
    database_of(storage).migrate()
    return VERSIONS[-1]


Notify = Callable[[str], None]
"""Is called with a line before each step that takes long, and for each wait."""
Progress = Callable[[int, int], None]
"""Is called with the steps done and all steps."""


def ignore(*_: object) -> None:
    """Take a line or a count and do nothing with it."""
