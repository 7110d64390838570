"""The database of a call: a URL or an open handle, and its tables."""

from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database as Database
from nas_sv2.database.engine import without_password as without_password
from nas_sv2.database.schema import VERSIONS


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
