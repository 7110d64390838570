"""Measurements and grades in a database, next to the study, so that nothing is measured twice.

Measurements of one key are comparable: architecture, device and runtime (fingerprint), and
protocol (plan). Every measurement is kept, with all its runs; the newest counts. A grade belongs
to a device and a protocol.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Self

from sqlalchemy import Index, Select, String, Text, func, select
from sqlalchemy.orm import Mapped, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.documents import reading_stored
from nas_sv2.errors import StoreError
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.grade import GRADE_SCHEMA, Grade
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.measurement_check import OtherSchema, read_measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.plain_data import parse_json

LOG = logging.getLogger(__name__)
ROWS_AT_ONCE = 20
"""Rows that are fetched together; a document has about 100 kB."""


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
    """One grade of a device; `document` is `Grade.to_json`."""

    __tablename__ = "nas_grades"
    __table_args__ = (Index("nas_grades_key", "fingerprint_key", "plan_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint_key: Mapped[str] = mapped_column(String(64))
    plan_key: Mapped[str] = mapped_column(String(64))
    graded_at: Mapped[str] = mapped_column(String(40))
    document: Mapped[str] = mapped_column(Text)


class Key(NamedTuple):
    """The key of comparable measurements: one network, one device and runtime, one protocol."""

    architecture: str
    fingerprint: str
    plan: str

    @classmethod
    def of(cls, measurement: Measurement) -> Self:
        """Return the key of a measurement."""
        return cls(measurement.architecture, measurement.fingerprint.key, measurement.plan.key)


@dataclass(frozen=True)
class MeasurementStore:
    """Finds and saves measurements and grades.

    Attributes:
        db: The database; its tables are made.

    Raises:
        ConfigError: The database cannot be opened.
        StoreError: Its tables cannot be made.
    """

    db: Database

    def __post_init__(self) -> None:
        """Make the tables."""
        self.db.migrate()

    def find(
        self, architecture: str, fingerprint: Fingerprint, plan: MeasurePlan
    ) -> Measurement | None:
        """Return the newest measurement of the architecture with this digest, or None.

        Raises:
            StoreError: The database or the stored measurement cannot be read.
        """
        query = _newest_first(Key(architecture, fingerprint.key, plan.key)).limit(1)
        with self.db.session("measurements cannot be read") as session:
            text = session.scalar(query)
        if text is None:
            return None
        with reading_stored("a stored measurement"):
            try:
                return read_measurement(text)
            except OtherSchema:
                raise
            except ValueError as error:
                raise ValueError(f"{error}; `nas-sv2 db repair` removes it") from error

    def documents(self, key: Key | None = None) -> Iterator[str]:
        """Yield the documents of a key, the newest first, or of all keys, the oldest first.

        They are read in small batches, so that a large database fits into memory.

        Raises:
            StoreError: The database cannot be read.
        """
        every = select(MeasurementRow.document).order_by(MeasurementRow.id)
        query = every if key is None else _newest_first(key)
        with self.db.session("measurements cannot be read") as session:
            yield from session.scalars(query.execution_options(yield_per=ROWS_AT_ONCE))

    def save(self, measurement: Measurement) -> None:
        """Store a measurement; older ones of the same key stay.

        Raises:
            StoreError: The database cannot be written.
        """
        self.save_all([measurement])

    def save_all(self, measurements: Iterable[Measurement]) -> int:
        """Store all measurements, or none if the iterable raises, and return their number.

        Raises:
            StoreError: The database cannot be written.
        """
        count = 0
        with self.db.session("a measurement cannot be saved") as session:
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
                session.flush()  # and forget the row: a document has about 100 kB
                session.expunge(row)
        return count

    def reference_times(
        self, fingerprint: Fingerprint, plan: MeasurePlan, most: int
    ) -> list[float]:
        """Return the reference network's time in the newest commands on a device, in ms.

        Measurements of other versions and damaged ones are left out.

        Args:
            fingerprint: The device.
            plan: The protocol.
            most: The most commands that are looked at.

        Raises:
            StoreError: The database cannot be read.
        """
        newest = func.max(MeasurementRow.id)
        commands = (
            select(newest.label("id"))
            .where(
                MeasurementRow.fingerprint_key == fingerprint.key,
                MeasurementRow.plan_key == plan.key,
            )
            .group_by(MeasurementRow.measured_at)  # one command measures all its networks at once
            .order_by(newest.desc())
            .limit(most)
            .subquery()
        )
        query = select(MeasurementRow.document).join(commands, MeasurementRow.id == commands.c.id)
        with self.db.session("measurements cannot be read") as session:
            texts = list(session.scalars(query))
        found = []
        for text in texts:
            with suppress(ValueError):  # OtherSchema among them
                found.append(read_measurement(text).reference_ms)
        return [ms for ms in found if ms is not None]

    def grade(self, fingerprint: Fingerprint, plan: MeasurePlan) -> Grade | None:
        """Return the newest grade of the device for this plan; None if it has no grade.

        A damaged grade counts as none, and a line says so. No new one could be made otherwise.

        Raises:
            StoreError: The database cannot be read.
        """
        query = (
            select(GradeRow.document)
            .where(GradeRow.fingerprint_key == fingerprint.key, GradeRow.plan_key == plan.key)
            .order_by(GradeRow.id.desc())
            .limit(1)
        )
        with self.db.session("grades cannot be read") as session:
            text = session.scalar(query)
        if text is None:
            return None
        try:
            with reading_stored("a stored grade", "nas-sv2 device grade makes a new one"):
                document = parse_json(text)
                return Grade.from_json(document) if document["schema"] == GRADE_SCHEMA else None
        except StoreError as error:
            LOG.warning("%s", error)
            return None

    def save_grade(self, fingerprint: Fingerprint, plan: MeasurePlan, grade: Grade) -> None:
        """Store a grade; older ones stay.

        Raises:
            StoreError: The database cannot be written.
        """
        row = GradeRow(
            fingerprint_key=fingerprint.key,
            plan_key=plan.key,
            graded_at=grade.graded_at,
            document=json.dumps(grade.to_json()),
        )
        with self.db.session("a grade cannot be saved") as session:
            session.add(row)


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
