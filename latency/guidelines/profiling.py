"""A guideline profile made on a device: the experiments' times, and those of whole networks."""

import statistics
from collections.abc import Callable, Iterator, Sequence

from nas_sv2.latency.guidelines.experiment_run import ExperimentTime
from nas_sv2.latency.guidelines.profile import GuidelineProfile, fit_profile
from nas_sv2.latency.guidelines.store import known_identity
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.networks.network import Network
from nas_sv2.space.units.reference import REFERENCES

SCALES = ("x0_5", "x1_0", "x1_5", "x2_0")
FORMS = ("", "se_", "residual_", "se_residual_", "star_")


def profile_device(
    target: Target,
    times: Sequence[ExperimentTime],
    progress: Callable[[str], None] = lambda what: None,
) -> GuidelineProfile:
    """The profile of the target that gave these times.

    The paper's own networks, ShuffleNet V2 in four sizes and five forms, are timed too: what
    operators cost in a row of ten like ones is not quite what they cost in a network.

    Args:
        target: As its plan stood when the times were taken.
        times: Of the controlled experiments.
        progress: Told what is timed.

    Raises:
        DeviceError: The device is missing, unreachable or lacks its runtime.
        MeasurementError: It answered, but not with a latency, or there are too few times.
        StoreError: Stored measurements cannot be read or written.
    """
    timed: list[tuple[Network, Latency]] = [(time.network, time.latency) for time in times]
    for scale in SCALES:
        progress(f"ShuffleNet V2 {scale} in {len(FORMS)} forms")
        networks = [REFERENCES[f"shufflenet_v2_{form}{scale}"] for form in FORMS]
        timed += zip(networks, _latencies(target, networks), strict=True)
    return fit_profile(list(_at_one_pace(timed)), known_identity(target).lowering)


def _latencies(target: Target, networks: Sequence[Network]) -> list[Latency]:
    if target.device is not None:
        return [one.latency(target.name) for one in target.device.session(networks)]
    return [target.estimate(network) for network in networks]


def _at_one_pace(timed: Sequence[tuple[Network, Latency]]) -> Iterator[tuple[Network, Latency]]:
    """The times as if the reference network had taken the same in every session."""
    paces = [latency.reference_ms for _, latency in timed if latency.reference_ms is not None]
    for network, latency in timed:
        beside = latency.reference_ms is not None
        yield network, latency.scaled_to(statistics.median(paces)) if beside else latency
