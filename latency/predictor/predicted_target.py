"""A device whose networks are priced by a predictor, as a target."""

from dataclasses import dataclass

from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.predictor.fit import Progress, fit_on_device
from nas_sv2.latency.predictor.predictor import Predictor
from nas_sv2.latency.predictor.store import PredictorStore
from nas_sv2.latency.targets.measured_target import MeasuredTarget
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.networks.network import Network


@dataclass(frozen=True)
class PredictedTarget:
    """Prices networks without running them.

    Attributes:
        name: What the user calls the device.
        device: The device in words, as its measurements name it.
        reference: Name of the network that ratios are to.
        predictor: Fitted to that device.
        pace_ms: What the reference network takes.
    """

    name: str
    device: str
    reference: str
    predictor: Predictor
    pace_ms: float

    @property
    def provenance(self) -> Provenance:
        """Always predicted."""
        return "predicted"

    def estimate(self, network: Network) -> Latency:
        """The predicted latency; `ci_ms` holds 95 of 100 measured ones.

        Raises:
            MeasurementError: The predictor refuses: it never saw the like.
        """
        found = self.predictor.predict(network)
        return Latency(
            ms=found.ratio * self.pace_ms,
            ci_ms=(found.low * self.pace_ms, found.high * self.pace_ms),
            p95_ms=None,
            provenance=self.provenance,
            device=self.device,
            runs=None,
            contended=None,
            note=self.predictor.report.describe(),
            reference=self.reference,
            ratio=found.ratio,
            ratio_ci=(found.low, found.high),
            reference_ms=self.pace_ms,
        )

    def close(self) -> None:
        """Nothing is held open."""


def open_predicted(
    target: MeasuredTarget,
    space: SearchSpace,
    progress: Progress = lambda done, total: None,
    fresh: bool = False,
) -> PredictedTarget:
    """The target's networks predicted: by the stored predictor, else by one that is fitted now.

    Args:
        target: The device and plan; predictors are kept in its store.
        space: What the networks are of.
        progress: Told how many networks a fit has measured.
        fresh: Fit even where a predictor is stored.

    Raises:
        ConfigError: The target's plan cannot be predicted.
        DeviceError: The device is missing or cannot profile.
        MeasurementError: It gave no times.
        StoreError: The database cannot be read or written.
    """
    predictor = None
    store = None
    fingerprint = target.device.fingerprint(target.plan)
    if target.store is not None:
        store = PredictorStore.beside(target.store, fingerprint, target.plan, space)
        predictor = None if fresh else store.find()
    if predictor is None:
        predictor = fit_on_device(target, space, progress)
        if store is not None:
            store.save(predictor)
    return PredictedTarget(
        target.name,
        f"{target.name}: {fingerprint.describe(target.plan)}",
        target.plan.reference or "",
        predictor,
        predictor.reference_ms if target.pace_ms is None else target.pace_ms,
    )
