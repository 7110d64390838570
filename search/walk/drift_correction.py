"""One pace for all latencies of a study, so that figures taken hours apart can be compared.

A shared host, a warm board or a busy neighbour slows every network for minutes. Each candidate is
timed in alternation with a reference network; what counts is its ratio to it, times what the
reference took when the study was begun. That number is kept with the study.
"""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

from nas_sv2.latency.targets.measured_target import MeasuredTarget
from nas_sv2.latency.targets.targets import Target
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.attributes import REFERENCE_MS

SESSIONS = 3
"""Measurements that the pace is the median of, so that one spell does not set it; 6 s in all."""


class Attributes(Protocol):
    """Facts that are kept with a study; an Optuna study has them."""

    @property
    def user_attrs(self) -> dict[str, Any]:
        """All of them, by name."""

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep one."""


def at_pace(
    targets: Mapping[str, Target], study: Attributes
) -> tuple[dict[str, Target], dict[str, float]]:
    """The targets with measured ones at the study's pace, and that pace by their names.

    The first run of a study measures it.

    Raises:
        DeviceError: A device is missing, unreachable or lacks its runtime.
        MeasurementError: It answered, but not with a latency.
        StoreError: A measurement cannot be kept.
    """
    known: dict[str, float] = dict(study.user_attrs.get(REFERENCE_MS, {}))
    paced = {name: target for name, target in targets.items() if _has_pace(target)}
    missing = [name for name in paced if name not in known]
    if missing:
        known |= {name: _measured_pace(paced[name]) for name in missing}
        study.set_user_attr(REFERENCE_MS, known)
    set_to: dict[str, Target] = {
        name: dataclasses.replace(target, pace_ms=known[name]) for name, target in paced.items()
    }
    return {**targets, **set_to}, {name: known[name] for name in paced}


def _has_pace(target: Target) -> TypeGuard[MeasuredTarget]:
    return isinstance(target, MeasuredTarget) and target.plan.reference is not None


def _measured_pace(target: MeasuredTarget) -> float:
    assert target.plan.reference is not None, "`at_pace` asks for these only"
    network = reference(target.plan.reference)
    found = [target.measure_together([network])[0].reference_ms for _ in range(SESSIONS)]
    return statistics.median(ms for ms in found if ms is not None)
