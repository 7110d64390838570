"""The tables of a database."""

from nas_sv2.database.engine import open_engine
from nas_sv2.database.schema import VERSIONS, migrate
from nas_sv2.studies.storage.study import DEFAULT_STORAGE


def upgrade(storage: str = DEFAULT_STORAGE) -> str:
    """Make the tables of a database, or bring them to the present schema; its number.

    Raises:
        ConfigError: It cannot be opened.
        StoreError: A newer program made it, or the tables cannot be made.
    """
    engine = open_engine(storage)
    try:
        migrate(engine)
    finally:
        engine.dispose()
    return VERSIONS[-1]
