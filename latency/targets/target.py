"""`Target`: everything that a source of latencies can do; and a device as a target.

A target measures on a device, emulates, predicts, or is the user's own object. No caller asks
which of these it is: an ability that a target lacks gives None or one clear error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from nas_sv2.errors import ConfigError, DeviceError
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.kernels.of_graph import graph_in_form
from nas_sv2.latency.measurements.fingerprint import TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, NodeTime, Provenance
from nas_sv2.latency.measurements.plan import no_plan
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network


class Target(Protocol):
    """A source of latencies.

    A target of the user's needs `name`, `provenance` and `estimate` alone (`UserTarget`).
    """

    @property
    def name(self) -> str:
        """The user's name for the target."""

    @property
    def provenance(self) -> Provenance:
        """The origin of its latencies."""

    @property
    def device(self) -> MeasuredDevice | None:
        """The device that runs the networks, with its plan; None if no network is run."""

    @property
    def batch(self) -> int:
        """Images of a run."""

    @property
    def priced_runtime(self) -> str | None:
        """The runtime whose kernels it prices; None if it has no prices of kernels."""

    def estimate(self, network: Network) -> Latency:
        """Return the latency of `network` at its own resolution.

        Raises:
            DeviceError: The device is missing, unreachable or lacks its runtime.
            MeasurementError: The device answered without a latency.
            StoreError: Stored measurements cannot be read or written.
        """

    def graph_of(self, network: Network) -> Graph:
        """Return the operators that really run: shuffle-free if the target runs that form."""

    def kernel_times(self, network: Network) -> Sequence[NodeTime] | None:
        """Time or price each kernel of `graph_of(network)`; None if the target cannot.

        Raises:
            DeviceError: As `estimate`, or the device cannot time parts of a network.
            MeasurementError: The device failed, or an emulated core has no price of a kernel.
        """

    def operator_shares(self, network: Network) -> Mapping[str, float] | None:
        """Split the time over kinds of operator (`node_costs.share_of`), without running it.

        None if the target has no prices of operators; shares add up to 1.

        Raises:
            MeasurementError: An operator has no price.
        """

    def uncovered(self, network: Network) -> Sequence[str]:
        """Name the kernels that have no price; empty if `estimate` gives a latency."""

    def identity(self) -> TargetIdentity | None:
        """Return the facts that its latencies depend on; None if the target does not know them.

        Raises:
            DeviceError: The device does not answer.
        """

    def with_plan(self, **changes: Any) -> "Target":
        """Change fields of the plan, for example `batch` or `precision`.

        Raises:
            ConfigError: The plan does not allow a change, or the target has no plan.
        """

    def corrected(self, reference_ms: float) -> "Target":
        """Correct its latencies for drift, as if the reference network took `reference_ms`.

        A target whose latencies do not drift returns itself.
        """

    def close(self) -> None:
        """Release the device; call it once, at the end."""


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

    @property
    def batch(self) -> int:
        """Images of a run, by the plan."""
        return self.device.plan.batch

    @property
    def priced_runtime(self) -> None:
        """None: networks are run."""
        return None

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
        return replace(self, device=replace(self.device, plan=self.device.plan.changed(**changes)))

    def corrected(self, reference_ms: float) -> Self:
        """Scale every latency to a reference network of `reference_ms`."""
        return replace(self, device=replace(self.device, reference_ms=reference_ms))

    def close(self) -> None:
        """End the agent."""
        self.device.close()


def device_of(target: Target, field: str = "target") -> MeasuredDevice:
    """Return the device of a target that must have one.

    Args:
        target: The target.
        field: The name of the parameter that holds the target, for errors.

    Raises:
        ConfigError: The target runs no network.
    """
    if target.device is None:
        allowed = (
            "must be a measured target, with a device that runs networks; this one has none, and "
            f"its figures are {target.provenance}"
        )
        raise ConfigError(field, target.name, allowed)
    return target.device


NO_IDENTITY = "has no profile, as it does not say which device it is"


def known_identity(target: Target) -> TargetIdentity:
    """Return the identity of a target that can have a profile.

    Raises:
        DeviceError: The device does not answer, or the target has no identity.
    """
    identity = target.identity()
    if identity is None:
        raise DeviceError(f"{target.name} {NO_IDENTITY}")
    return identity


def fixed_plan(target: Target, changes: Mapping[str, Any]) -> "Target":
    """Refuse to change the plan of a target that has no plan.

    Returns:
        The target itself, if there are no changes.

    Raises:
        ConfigError: `changes` is not empty.
    """
    for field, value in changes.items():
        raise no_plan(target.name, field, value)
    return target
