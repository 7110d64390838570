"""Corrects the latencies of a study for drift, so that figures taken hours apart compare.

A shared host, a warm board or a busy neighbour slows every network for minutes. Each candidate is
timed in alternation with a reference network. Its latency is its ratio to the reference network,
times the time of the reference network when the study began. That time is kept with the study.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.attributes import REFERENCE_MS


class Attributes(Protocol):
    """Facts that are kept with a study, such as those of an Optuna study."""

    @property
    def user_attrs(self) -> dict[str, Any]:
        """The facts, by name."""

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep one fact."""


def correct_drift(
    targets: Mapping[str, Target], study: Attributes
) -> tuple[dict[str, Target], dict[str, float]]:
    """Give the targets with drift corrected, and the reference network's ms by their names.

    The first run of a study measures the reference network. A target that times no reference
    network stays as it is.

    Raises:
        DeviceError: If a device is missing, unreachable or lacks its runtime.
        MeasurementError: If a device answers, but not with a latency.
        StoreError: If a measurement cannot be kept.
    """
    known: dict[str, float] = dict(study.user_attrs.get(REFERENCE_MS, {}))
    drifting = {
        name: target.device
        for name, target in targets.items()
        if target.device is not None and target.device.plan.reference is not None
    }
    missing = [name for name in drifting if name not in known]
    if missing:
        known |= {name: _reference_ms(drifting[name]) for name in missing}
        study.set_user_attr(REFERENCE_MS, known)
    corrected = {name: targets[name].corrected(known[name]) for name in drifting}
    return {**targets, **corrected}, {name: known[name] for name in drifting}


def _reference_ms(device: MeasuredDevice) -> float:
    """Measure the reference network, in several sessions so that a slow one does not set it."""
    assert device.plan.reference is not None, "`correct_drift` asks for these only"
    (found,) = device.measure_together([reference(device.plan.reference)])
    return found.median_ms if found.reference_ms is None else found.reference_ms
