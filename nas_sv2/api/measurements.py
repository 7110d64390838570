"""Stored measurements: moved between databases, and compared."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from nas_sv2.api.databases import database_of
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.exchange import (
    Counts as Counts,
)
from nas_sv2.latency.measurements.exchange import (
    Difference,
    Figures,
    check_file,
    difference,
    export_lines,
    figures_of,
    merge,
    read_file,
    stored_measurements,
    write_file,
)
from nas_sv2.latency.measurements.store import Key, MeasurementStore


def measurement_lines(counts: Counts, storage: str | Database = DEFAULT_STORAGE) -> Iterator[str]:
    """Give all measurements of a database, with every run, as JSON lines.

    Args:
        counts: Counts what was taken and what was skipped.
        storage: The URL of the database, or an open handle.

    Raises:
        ConfigError: There is no such database.
        StoreError: It cannot be read.
    """
    return export_lines(_existing(storage), counts)


def export_measurements(file: Path, storage: str | Database = DEFAULT_STORAGE) -> Counts:
    """Write all measurements of a database to a new file; how many were taken.

    Raises:
        ConfigError: There is no such database, or the file exists.
        StoreError: It cannot be read or written.
    """
    counts = Counts()
    write_file(measurement_lines(counts, storage), file)
    return counts


def merge_measurements(file: Path, storage: str | Database = DEFAULT_STORAGE) -> Counts:
    """Import the measurements of a file that the database lacks; nothing if a line is invalid.

    Raises:
        ConfigError: The file does not hold measurements.
        StoreError: It cannot be read, or the database cannot be written.
    """
    check_file(file)
    return merge(file, MeasurementStore(database_of(storage)))


def difference_between(one: str, other: str) -> tuple[Difference, Mapping[str, int]]:
    """Compare two sets of measurements, files or URLs of databases.

    Returns:
        The difference, and how many measurements of each set were skipped.

    Raises:
        ConfigError: A file or database does not exist.
        StoreError: It cannot be read.
    """
    skipped = dict[str, int]()
    figures = []
    for source in (one, other):
        counts = Counts()
        figures.append(_figures(source, counts))
        if counts.skipped:
            skipped[source] = counts.skipped
    return difference(*figures), skipped


def _figures(source: str, counts: Counts) -> Mapping[Key, Figures]:
    """The newest figures of a database or file."""
    if "://" not in source:
        return figures_of(measurement for _, measurement in read_file(Path(source)))
    with Database.open(source) as db:
        return figures_of(stored_measurements(_existing(db), counts))


def _existing(storage: str | Database) -> MeasurementStore:
    """The store of a database that exists: reading must not make one."""
    db = database_of(storage)
    db.require()
    return MeasurementStore(db)
