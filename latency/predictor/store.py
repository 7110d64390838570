"""Predictors in the database of the measurements, so that a second search need not fit again.

A predictor belongs to a device and runtime (fingerprint), a protocol (plan) and a space.
"""

import datetime
import json
from dataclasses import dataclass

from sqlalchemy import Index, String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.errors import StoreError
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.predictor.predictor import SCHEMA, Predictor
from nas_sv2.space.choices.search_space import SearchSpace


class PredictorRow(Base):
    """One fit; `document` is `Predictor.to_json`."""

    __tablename__ = "nas_predictors"
    __table_args__ = (Index("nas_predictors_key", "fingerprint_key", "plan_key", "space_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint_key: Mapped[str] = mapped_column(String(64))
    plan_key: Mapped[str] = mapped_column(String(64))
    space_digest: Mapped[str] = mapped_column(String(64))
    fitted_at: Mapped[str] = mapped_column(String(40))
    document: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True)
class PredictorStore:
    """Finds and saves predictors of one device, plan and space.

    Attributes:
        db: The database; its tables are made.
        fingerprint: The fingerprint of the device and its runtime.
        plan: The protocol of its measurements.
        space: The space of the networks.

    Raises:
        StoreError: The tables cannot be made.
    """

    db: Database
    fingerprint: Fingerprint
    plan: MeasurePlan
    space: SearchSpace

    def __post_init__(self) -> None:
        """Make the tables."""
        self.db.migrate()

    def find(self) -> Predictor | None:
        """Return the newest predictor, or None if there is none of this `SCHEMA`.

        Raises:
            StoreError: The database or the stored predictor cannot be read.
        """
        query = (
            select(PredictorRow.document)
            .where(
                PredictorRow.fingerprint_key == self.fingerprint.key,
                PredictorRow.plan_key == self.plan.key,
                PredictorRow.space_digest == self.space.digest,
            )
            .order_by(PredictorRow.id.desc())
            .limit(1)
        )
        with self.db.session("predictors cannot be read") as session:
            text = session.scalar(query)
        try:
            document = None if text is None else json.loads(text)
            if document is None or document["schema"] != SCHEMA:
                return None
            return Predictor.from_json(document)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"a stored predictor cannot be read: {error!r}") from error

    def save(self, predictor: Predictor) -> None:
        """Store a predictor; older ones stay, and the newest counts.

        Raises:
            StoreError: The database cannot be written.
        """
        row = PredictorRow(
            fingerprint_key=self.fingerprint.key,
            plan_key=self.plan.key,
            space_digest=self.space.digest,
            fitted_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            document=json.dumps(predictor.to_json()),
        )
        with self.db.session("a predictor cannot be saved") as session:
            session.add(row)
