"""A device of a cluster, measured by a task on the node that offers it.

Ray gives the device to one task at a time. The task also takes the usual lock, so that programs
outside the cluster wait. The process of a task keeps the device open for the next task.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice, check_same
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement, NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search.scale.cluster import OFFERED, RETRIES, Cluster, tried, versions


@dataclass(slots=True, eq=False)
class ClusterDevice:
    """A device on some node of a cluster; a `Device` and a `Profiler`.

    It is not frozen, because it keeps the fingerprints of the device.

    Attributes:
        name: Name of the target, on the node as here.
        cluster: The cluster.
    """

    name: str
    cluster: Cluster
    _known: dict[str, Fingerprint] = field(default_factory=dict)

    @classmethod
    def offered(cls, cluster: Cluster, name: str) -> "ClusterDevice | None":
        """The device of that name; None if no node offers it."""
        return cls(name, cluster) if cluster.is_able({OFFERED + name: 1.0}) else None

    def start(self) -> None:
        """Do nothing: a task starts the device."""

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """The fingerprint of the device, requested once for each plan."""
        if plan.key not in self._known:
            self._known[plan.key] = self._ask(plan, "fingerprint", plan)
        return self._known[plan.key]

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Measure on the node.

        Raises:
            DeviceError: If no node offers the device any more, or it is another one than before.
            MeasurementError: If the device answers, but not with a latency.
        """
        found: list[Measurement] = self._ask(plan, "measure", payloads, plan, reference=reference)
        for measurement in found:
            known = self._known.setdefault(plan.key, measurement.fingerprint)
            check_same(self.name, known, measurement.fingerprint)
        return found

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """The time of each operator of the model on the device."""
        found: list[NodeTime] = self._ask(plan, "profile", payload, plan, timeout_s)
        return found

    def close(self) -> None:
        """Do nothing: the processes of the tasks end with the driver."""

    def _ask(self, plan: MeasurePlan, method: str, *arguments: Any, **named: Any) -> Any:
        gpus = self._gpus(plan)
        needs = {OFFERED + self.name: 1.0} | ({"GPU": gpus} if gpus else {})
        measure = _remote().options(
            num_cpus=0,
            num_gpus=gpus,
            resources={OFFERED + self.name: 1.0},
            max_retries=RETRIES,
            name=f"{method} on {self.name}",
        )
        task = measure.remote(self.name, versions(), method, arguments, named)
        return self.cluster.answer(task, needs, self.name, MeasurementError)

    def _gpus(self, plan: MeasurePlan) -> float:
        """1 if the device is the GPU of its node, which must not train meanwhile; otherwise 0."""
        has = any(
            node.get(OFFERED + self.name) and node.get("GPU") for node in self.cluster.nodes()
        )
        return 1.0 if plan.processor == "cuda" and has else 0.0


_devices: dict[tuple[str, str], ReconnectingDevice] = {}
"""The devices open in this process of a node, by name and the GPUs that it may see."""


@cache
def _remote() -> Any:
    """`_asked` as a Ray task."""
    import ray

    return ray.remote(_asked)


def _asked(
    name: str, version: str, method: str, arguments: Sequence[Any], named: dict[str, Any]
) -> Any:
    """Call a method of the device, on the node."""

    def call() -> Any:
        return getattr(_device(name), method)(*arguments, **named)

    return tried(call, version)


def _device(name: str) -> ReconnectingDevice:
    """The device, open; its agent sees the GPUs that it could see at its start."""
    key = (name, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    if key not in _devices:
        while _devices:
            _devices.popitem()[1].close()
        _devices[key] = TargetBook.read().device(name)
    return _devices[key]
