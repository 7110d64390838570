"""A device that runs the networks, as a target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.kernels.of_graph import graph_in_form
from nas_sv2.latency.measurements.fingerprint import TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, NodeTime, Provenance
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network


@dataclass(frozen=True, slots=True)
class MeasuredTarget:
    """Measures networks on a device.

    Attributes:
        device: The device and its plan.
    """

    device: MeasuredDevice

    @property
    def name(self) -> str:
        """The name of the device."""
        return self.device.name

    @property
    def provenance(self) -> Provenance:
        """The origin of its latencies: measured."""
        return "measured"

    def estimate(self, network: Network) -> Latency:
        """Return the latency stored for this device and plan, or measure it."""
        stored = self.device.stored(network)
        measurement = stored or self.device.measure_together([network])[0]
        latency = measurement.latency(self.name, stored=stored is not None)
        scale_ms = self.device.reference_ms
        return latency if scale_ms is None else latency.scaled_to(scale_ms)

    def graph_of(self, network: Network) -> Graph:
        """Return the operators in the form that the plan sends to the device."""
        return graph_in_form(network, self.device.plan.lowering)

    def kernel_times(self, network: Network) -> list[NodeTime]:
        """Time each node by the runtime's profiler; without one, raise `DeviceError`."""
        return self.device.node_times(network)

    def operator_shares(self, network: Network) -> None:
        """Return None: operators have times only if they run."""

    def uncovered(self, network: Network) -> Sequence[str]:
        """Return nothing: every network can be run."""
        return ()

    def identity(self) -> TargetIdentity:
        """Identify the device by its fingerprint and the plan."""
        found, plan = self.device.fingerprint(), self.device.plan
        description = f"{self.name}: {found.describe(plan)}"
        return TargetIdentity(found.key, plan.key, plan.lowering, description)

    def with_plan(self, **changes: Any) -> Self:
        """Change fields of the plan."""
        return replace(
            self, device=replace(self.device, plan=replace(self.device.plan, **changes))
        )

    def corrected(self, reference_ms: float) -> Self:
        """Scale every latency to a reference network of `reference_ms`."""
        return replace(self, device=replace(self.device, reference_ms=reference_ms))

    def close(self) -> None:
        """End the agent."""
        self.device.close()
