"""A target whose latencies a predictor of a device gives.

Predictors are stored with the measurements, so that a second search need not fit again. Each
belongs to a device and runtime (fingerprint), a protocol (plan) and a space.
"""

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from sqlalchemy import Index, String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.documents import reading_stored
from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.fingerprint import Fingerprint, TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.predictor.fit import Progress, can_predict, fit_on_device
from nas_sv2.latency.predictor.predictor import SCHEMA, Predictor
from nas_sv2.latency.targets.target import Target, fixed_plan
from nas_sv2.plain_data import parse_json
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network


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
        with reading_stored(
            "a stored predictor", "nas-sv2 device predictor --fresh makes a new one"
        ):
            document = None if text is None else parse_json(text)
            if document is None or document["schema"] != SCHEMA:
                return None
            return Predictor.from_json(document)

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


@dataclass(frozen=True, slots=True)
class PredictedTarget:
    """Predicts latencies without running networks.

    Attributes:
        measured: The target whose latencies are predicted.
        description: The device in words, as its measurements name it.
        reference: Name of the reference network.
        predictor: The predictor that was fitted to the device.
        reference_ms: The time of the reference network, in ms.
    """

    measured: Target
    description: str
    reference: str
    predictor: Predictor
    reference_ms: float

    @property
    def name(self) -> str:
        """The name of the device."""
        return self.measured.name

    @property
    def provenance(self) -> Provenance:
        """The origin of its latencies: predicted."""
        return "predicted"

    @property
    def device(self) -> None:
        """The device: None, as no network is run."""

    @property
    def batch(self) -> int:
        """Images of a run, as on the device."""
        return self.measured.batch

    @property
    def priced_runtime(self) -> None:
        """None: whole networks are predicted."""
        return None

    def estimate(self, network: Network) -> Latency:
        """Predict the latency; `ci_ms` covers 95 of 100 measured latencies.

        Raises:
            MeasurementError: The network is unlike those that the predictor was fitted to.
        """
        found = self.predictor.predict(network)
        return Latency(
            ms=found.ratio * self.reference_ms,
            ci_ms=(found.low * self.reference_ms, found.high * self.reference_ms),
            p95_ms=None,
            provenance=self.provenance,
            device=self.description,
            runs=None,
            contended=None,
            note=self.predictor.report.describe(),
            reference=self.reference,
            ratio=found.ratio,
            ratio_ci=(found.low, found.high),
            reference_ms=self.reference_ms,
        )

    def graph_of(self, network: Network) -> Graph:
        """Return the operators that run on the device."""
        return self.measured.graph_of(network)

    def kernel_times(self, network: Network) -> None:
        """Return None: whole networks are predicted."""

    def operator_shares(self, network: Network) -> None:
        """Return None: whole networks are predicted."""

    def uncovered(self, network: Network) -> Sequence[str]:
        """Return nothing: `estimate` refuses networks that cannot be predicted."""
        return ()

    def identity(self) -> TargetIdentity | None:
        """Return None: a predicted target has no profile."""
        return None

    def with_plan(self, **changes: Any) -> Target:
        """Refuse any change: the predictor was fitted to one plan."""
        return fixed_plan(self, changes)

    def corrected(self, reference_ms: float) -> Self:
        """Scale every latency to a reference network of `reference_ms`."""
        return replace(self, reference_ms=reference_ms)

    def close(self) -> None:
        """Do nothing: the measured target is closed by its owner."""


def is_predictable(target: Target) -> bool:
    """Return whether a predictor can be fitted to the target's latencies."""
    return target.device is not None and can_predict(target.device.plan)


def open_predicted(
    target: Target,
    space: SearchSpace,
    progress: Progress = lambda done, total: None,
    fresh: bool = False,
) -> PredictedTarget:
    """Open a predicted target with the stored predictor, or with one that is fitted now.

    Args:
        target: A target with a device; predictors are kept in its store.
        space: The space that the networks belong to.
        progress: Called with the number of networks that a fit has measured.
        fresh: Whether to fit even if a predictor is stored.

    Raises:
        ConfigError: The target cannot be predicted.
        DeviceError: The device is missing or cannot profile.
        MeasurementError: The device gave no times, or too few.
        StoreError: The database cannot be read or written.
    """
    device = target.device
    if device is None:
        allowed = "must be a target that onnxruntime measures on a CPU in float32"
        raise ConfigError("target", target.name, allowed)
    fingerprint = device.fingerprint()
    predictor = store = None
    if device.store is not None:
        store = PredictorStore(device.store.db, fingerprint, device.plan, space)
        predictor = None if fresh else store.find()
    if predictor is None:
        predictor = fit_on_device(device, space, progress)
        if store is not None:
            store.save(predictor)
    return PredictedTarget(
        target,
        f"{target.name}: {fingerprint.describe(device.plan)}",
        device.plan.reference or "",
        predictor,
        predictor.reference_ms if device.reference_ms is None else device.reference_ms,
    )
