"""Arguments that several calls share: a database, lines for the user, files to write."""

from collections.abc import Callable
from pathlib import Path

from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database as Database
from nas_sv2.database.engine import without_password as without_password
from nas_sv2.database.schema import VERSIONS
from nas_sv2.errors import ConfigError


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


def writable_folder(path: Path) -> None:
    """Make a folder.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        allowed = f"must be a writable folder ({error.strerror})"
        raise ConfigError("out", str(path), allowed) from None


def writable_file(path: Path) -> None:
    """Try to write to a file, which is made.

    Raises:
        ConfigError: It cannot be written.
    """
    check_folder(path)
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        allowed = f"must be a writable file ({error.strerror})"
        raise ConfigError("out", str(path), allowed) from None


def check_folder(path: Path) -> None:
    """Refuse a file whose folder does not exist, or that is a folder.

    Raises:
        ConfigError: It is so.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError("out", str(path), "must name a file in a folder that exists")
