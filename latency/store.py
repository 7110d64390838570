"""Measurements in a database, next to the study, so that nothing is measured twice.

The key is what makes two measurements the same question: architecture, device and runtime
(fingerprint), protocol (plan). Every answer is kept, with all its runs; the newest counts.
"""

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Engine, Index, MetaData, String, Text, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.latency.measurement import Fingerprint, Measurement
from nas_sv2.latency.plan import MeasurePlan

BUSY_TIMEOUT_MS = 30_000
"""How long SQLite waits for another writer; our writes take milliseconds, a study's the same."""
CREATE_ATTEMPTS = 5
"""Each failure means that another process made a table meanwhile; there are only a few tables."""


class Base(DeclarativeBase):
    """The tables of this module."""


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


@dataclass(frozen=True)
class MeasurementStore:
    """Finds and saves measurements.

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
        create_tables(engine, Base.metadata)
        return cls(engine)

    def find(
        self, architecture: str, fingerprint: Fingerprint, plan: MeasurePlan
    ) -> Measurement | None:
        """The newest measurement of the architecture with this digest, or None.

        Raises:
            StoreError: The database cannot be read, or holds what is no measurement.
        """
        query = (
            select(MeasurementRow.document)
            .where(
                MeasurementRow.architecture == architecture,
                MeasurementRow.fingerprint_key == fingerprint.key,
                MeasurementRow.plan_key == plan.key,
            )
            .order_by(MeasurementRow.id.desc())
            .limit(1)
        )
        try:
            with Session(self.engine) as session:
                text = session.scalar(query)
        except SQLAlchemyError as error:
            raise StoreError(f"measurements cannot be read: {one_line(error)}") from error
        return None if text is None else _read(text)

    def save(self, measurement: Measurement) -> None:
        """Keep `measurement`; an older one of the same key stays too.

        Raises:
            StoreError: The database cannot be written.
        """
        row = MeasurementRow(
            architecture=measurement.architecture,
            fingerprint_key=measurement.fingerprint.key,
            plan_key=measurement.plan.key,
            measured_at=measurement.measured_at,
            document=json.dumps(measurement.to_json()),
        )
        try:
            with Session(self.engine) as session, session.begin():
                session.add(row)
        except SQLAlchemyError as error:
            raise StoreError(f"a measurement cannot be saved: {one_line(error)}") from error

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()


def open_engine(url: str) -> Engine:
    """An engine for `url` that is known to connect; SQLite is set to write-ahead logging.

    With it readers do not wait for a writer, so a dashboard can watch a search.

    Raises:
        ConfigError: The text is no database URL, or the database cannot be opened.
        StoreError: The driver of the database is not installed.
    """
    try:
        address = make_url(url)
        shown = address.render_as_string(hide_password=True)
        engine = create_engine(address)
    except ArgumentError as error:
        allowed = "a database URL, as sqlite:///studies.db or postgresql://user@host/name"
        raise ConfigError("--storage", url, allowed) from error
    except ImportError as error:
        raise StoreError(f"{shown}: its driver is not installed: {error}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        engine.dispose()
        allowed = f"a database that can be opened ({one_line(error)})"
        raise ConfigError("--storage", shown, allowed) from error
    return engine


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Make the tables that are not there; other processes may be doing the same.

    Raises:
        StoreError: They cannot be made.
    """
    for attempt in range(1, CREATE_ATTEMPTS + 1):
        try:
            metadata.create_all(engine)
        except SQLAlchemyError as error:
            if attempt == CREATE_ATTEMPTS:
                raise StoreError(f"tables cannot be made: {one_line(error)}") from error
        else:
            return


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


def _read(text: str) -> Measurement:
    try:
        return Measurement.from_json(json.loads(text))
    except (KeyError, TypeError, ValueError, NasError) as error:
        raise StoreError(f"a stored measurement cannot be read: {error!r}") from error
