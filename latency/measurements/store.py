"""Measurements and grades in a database, next to the study, so that nothing is measured twice.

The key is what makes two measurements the same question: architecture, device and runtime
(fingerprint), protocol (plan). Every answer is kept, with all its runs; the newest counts. A
grade is of a device and a protocol.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from sqlalchemy import Engine, Index, Select, String, Text, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from nas_sv2.database.restarts import LIBPQ, PATIENT_CONNECTION, wait_for_database
from nas_sv2.database.schema import Base, check_schema, migrate
from nas_sv2.database.storage_url import without_password
from nas_sv2.database.turns import POSTGRESQL, SQLITE
from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.grade import GRADE_SCHEMA, Grade
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan

BUSY_TIMEOUT_MS = 30_000
_OF_THE_MOMENT = ("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_BUSY")  # the URL is right all the same
"""How long SQLite waits for another writer; our writes take milliseconds, a study's the same."""
ROWS_AT_ONCE = 20
"""Rows that are fetched together; a document has some 100 kB."""


class MeasurementRow(Base):
    """One measurement; `document` is `Measurement.to_json`."""

    __tablename__ = "nas_measurements"
    __table_args__ = (
        Index("nas_measurements_key", "architecture", "fingerprint_key", "plan_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    architecture: Mapped[str] = mapped_column(String(64))
    fingerprint_key: Mapped[str] = mapped_column(String(64))
    plan_key: Mapped[str] = mapped_column(String(64))
    measured_at: Mapped[str] = mapped_column(String(40))
    document: Mapped[str] = mapped_column(Text)


class GradeRow(Base):
    """How far a device can be trusted; `document` is `Grade.to_json`."""

    __tablename__ = "nas_grades"
    __table_args__ = (Index("nas_grades_key", "fingerprint_key", "plan_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint_key: Mapped[str] = mapped_column(String(64))
    plan_key: Mapped[str] = mapped_column(String(64))
    graded_at: Mapped[str] = mapped_column(String(40))
    document: Mapped[str] = mapped_column(Text)


class Key(NamedTuple):
    """What makes measurements comparable: one network, one device and runtime, one protocol."""

    architecture: str
    fingerprint: str
    plan: str

    @classmethod
    def of(cls, measurement: Measurement) -> Self:
        """The key of a measurement."""
        return cls(measurement.architecture, measurement.fingerprint.key, measurement.plan.key)


@dataclass(frozen=True)
class MeasurementStore:
    """Finds and saves measurements and grades.

    Attributes:
        engine: As `open_engine` gives it; its tables exist.
    """

    engine: Engine

    @classmethod
    def open(cls, url: str) -> Self:
        """The store in the database at `url`, made if it is not there.

        Raises:
            ConfigError: The text is no database URL, or the database cannot be opened.
            StoreError: Its tables cannot be made.
        """
        engine = open_engine(url)
        migrate(engine)
        return cls(engine)

    def find(
        self, architecture: str, fingerprint: Fingerprint, plan: MeasurePlan
    ) -> Measurement | None:
        """The newest measurement of the architecture with this digest, or None.

        Raises:
            StoreError: The database cannot be read, or holds what is no measurement.
        """
        query = _newest_first(Key(architecture, fingerprint.key, plan.key)).limit(1)
        with self._session("measurements cannot be read") as session:
            text = session.scalar(query)
        return None if text is None else _read(text)

    def documents(self, key: Key | None = None) -> Iterator[str]:
        """The documents of a key, the newest first; of all keys, the oldest first.

        They are read as they are asked for, so that a large database fits.

        Raises:
            StoreError: The database cannot be read.
        """
        every = select(MeasurementRow.document).order_by(MeasurementRow.id)
        query = every if key is None else _newest_first(key)
        with self._session("measurements cannot be read") as session:
            yield from session.scalars(query.execution_options(yield_per=ROWS_AT_ONCE))

    def save(self, measurement: Measurement) -> None:
        """Keep `measurement`; an older one of the same key stays too.

        Raises:
            StoreError: The database cannot be written.
        """
        self.save_all([measurement])

    def save_all(self, measurements: Iterable[Measurement]) -> int:
        """Keep all of them, or none if one cannot be had; how many there were.

        Raises:
            StoreError: The database cannot be written.
        """
        count = 0
        with self._session("a measurement cannot be saved") as session:
            for measurement in measurements:
                count += 1
                key = Key.of(measurement)
                row = MeasurementRow(
                    architecture=key.architecture,
                    fingerprint_key=key.fingerprint,
                    plan_key=key.plan,
                    measured_at=measurement.measured_at,
                    document=json.dumps(measurement.to_json()),
                )
                session.add(row)
                session.flush()  # and let go of it: a document has some 100 kB
                session.expunge(row)
        return count

    def grade(self, fingerprint: Fingerprint, plan: MeasurePlan) -> Grade | None:
        """The newest grade of the device for this plan; None if it never had one.

        Raises:
            StoreError: The database cannot be read, or holds what is no grade.
        """
        query = (
            select(GradeRow.document)
            .where(GradeRow.fingerprint_key == fingerprint.key, GradeRow.plan_key == plan.key)
            .order_by(GradeRow.id.desc())
            .limit(1)
        )
        with self._session("grades cannot be read") as session:
            text = session.scalar(query)
        if text is None:
            return None
        try:
            document = json.loads(text)
            return Grade.from_json(document) if document["schema"] == GRADE_SCHEMA else None
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"a stored grade cannot be read: {error!r}") from error

    def save_grade(self, fingerprint: Fingerprint, plan: MeasurePlan, grade: Grade) -> None:
        """Keep `grade`; an older one stays too.

        Raises:
            StoreError: The database cannot be written.
        """
        row = GradeRow(
            fingerprint_key=fingerprint.key,
            plan_key=plan.key,
            graded_at=grade.graded_at,
            document=json.dumps(grade.to_json()),
        )
        with self._session("a grade cannot be saved") as session:
            session.add(row)

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, failed: str) -> Iterator[Session]:
        """A transaction whose database errors become a `StoreError`."""
        try:
            with Session(self.engine) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            raise StoreError(f"{failed}: {one_line(error)}") from error


def open_engine(url: str, *, answered: bool = False) -> Engine:
    """An engine for `url` that is known to connect.

    SQLite is set to write-ahead logging: readers do not wait for a writer, so a dashboard can
    watch a search. A PostgreSQL that is started anew meanwhile is waited for.

    Args:
        url: Of the database.
        answered: Whether it has answered before, and the first connection is waited for too.

    Raises:
        ConfigError: The text is no URL of such a database, or it cannot be opened.
        StoreError: The driver of the database is not installed, or a newer nas-sv2 made it.
    """
    allowed = "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
    try:
        address = make_url(url)
        kind = address.get_backend_name()
        if "@" in (address.host or ""):
            allowed = "the password with %40 for @"
        elif kind in (SQLITE, POSTGRESQL):
            engine = create_engine(address, **engine_options(url))
            allowed = ""
    except (ArgumentError, ValueError) as error:
        raise ConfigError("--storage", without_password(url), allowed) from error
    except ImportError as error:
        missing = "pip install 'nas-sv2[postgres]'" if kind == POSTGRESQL else str(error)
        shown = without_password(url)
        raise StoreError(f"{shown}: its driver is not installed: {missing}") from error
    if allowed:
        raise ConfigError("--storage", without_password(url), allowed)
    if kind == SQLITE:
        event.listen(engine, "connect", _set_up_sqlite)
    if answered:
        wait_for_database(engine)
    try:
        with engine.connect() as connection:
            check_schema(connection)
    except SQLAlchemyError as error:
        engine.dispose()
        fault = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
        if fault.startswith(_OF_THE_MOMENT):
            raise StoreError(f"{without_password(url)}: {one_line(error)}") from error
        allowed = f"a database that can be opened ({one_line(error)})"
        raise ConfigError("--storage", without_password(url), allowed) from error
    except StoreError:
        engine.dispose()
        raise
    if not answered:
        wait_for_database(engine)
    return engine


def engine_options(url: str) -> dict[str, Any]:
    """How `create_engine` is called for a database of this kind."""
    address = make_url(url)
    if address.get_backend_name() == SQLITE:
        return {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}}
    if address.drivername not in LIBPQ:
        return {"pool_pre_ping": True}
    asked = {k: v for k, v in PATIENT_CONNECTION.items() if k not in address.query}
    return {"pool_pre_ping": True, "connect_args": asked}


def one_line(error: SQLAlchemyError) -> str:
    """What the database said, without SQLAlchemy's further lines."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(said).strip().splitlines()[0]


def _set_up_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Turn write-ahead logging on, which stays with the file.

    SQLite does not wait for others here as it does elsewhere: the turn needs the file for itself,
    and fails at once while another process opens it too. Where it cannot be had, on a read-only
    file say, SQLite goes on without.
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


def _newest_first(key: Key) -> Select[str]:
    return (
        select(MeasurementRow.document)
        .where(
            MeasurementRow.architecture == key.architecture,
            MeasurementRow.fingerprint_key == key.fingerprint,
            MeasurementRow.plan_key == key.plan,
        )
        .order_by(MeasurementRow.id.desc())
    )


def _read(text: str) -> Measurement:
    try:
        return Measurement.from_json(json.loads(text))
    except (KeyError, TypeError, ValueError, NasError) as error:
        raise StoreError(f"a stored measurement cannot be read: {error!r}") from error
