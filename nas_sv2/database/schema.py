"""Our tables in a database, beside Optuna's: Alembic makes and migrates them.

They have a version of their own. A process that writes takes the missing steps (`migrate`); a
process that only reads adds nothing. Both refuse the database of a newer program.
"""

from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase

from nas_sv2.database.turns import writing_alone
from nas_sv2.errors import StoreError

VERSIONS = ("0001", "0002")
"""The schemas that this program knows, its own last: the revisions in `migrations/`."""
VERSION_TABLE = "nas_schema_version"
VERSION_TABLES = (VERSION_TABLE, "version_info", "alembic_version")
"""The tables that say of which version others are: ours, and Optuna's."""


class Base(DeclarativeBase):
    """The base of all our tables, which are defined beside the stores that read them."""


def check_schema(connection: Connection) -> None:
    """Check that this program knows the schema of a database.

    Raises:
        StoreError: A newer program made the tables.
    """
    version = version_of(connection)
    if version is not None and version not in VERSIONS:
        raise StoreError(
            f"the database has schema {version}, made by a newer nas-sv2; "
            f"this one knows schemas up to {VERSIONS[-1]}: update nas-sv2"
        )


def version_of(connection: Connection) -> str | None:
    """Return the schema of our tables; None if there are none or they have no version."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def migrate(engine: Engine) -> None:
    """Make our tables, or bring them to the present schema; other processes may do the same.

    Raises:
        StoreError: The tables cannot be made, or a newer program made them.
    """
    try:
        with engine.connect() as connection:
            if version_of(connection) == VERSIONS[-1]:
                return
        with writing_alone(engine, "schema") as connection:
            check_schema(connection)
            _upgrade(connection)
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StoreError(f"tables cannot be made: {said}") from error


def _upgrade(connection: Connection) -> None:
    """Take the missing steps, in the transaction of `connection`."""
    # Imported here: it takes a tenth of a second, and there is rarely a step to take.
    from alembic import command
    from alembic.config import Config

    folder = str(Path(str(files("nas_sv2.database.migrations"))))
    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["configure"] = {"connection": connection, "version_table": VERSION_TABLE}
    command.upgrade(config, VERSIONS[-1])
