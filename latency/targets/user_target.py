"""The user's own targets: any object with `name`, `provenance` and `estimate`."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, get_args

from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.kernels.of_graph import graph_in_form
from nas_sv2.latency.measurements.fingerprint import TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, NodeTime, Provenance
from nas_sv2.latency.measurements.measurement_check import checked_node_times
from nas_sv2.latency.targets.device_file import NAME
from nas_sv2.latency.targets.target import Target, fixed_plan
from nas_sv2.plain_data import is_number, printable
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network


class LatencySource(Protocol):
    """The members that every user's target must have.

    Further members of `Target` are used if the object has them.
    """

    @property
    def name(self) -> str:
        """The target's name in tables, budgets and studies."""

    @property
    def provenance(self) -> Provenance:
        """The origin of its latencies."""

    def estimate(self, network: Network) -> Latency:
        """Return the latency of `network` at its own resolution."""


@dataclass(frozen=True, slots=True)
class UserTarget:
    """A complete target around a user's object; it checks every latency of the object.

    Attributes:
        source: The object.

    Raises:
        ConfigError: The object lacks a member, or its name or provenance is not valid.
    """

    source: LatencySource

    def __post_init__(self) -> None:
        """Refuse an object that is not a target."""
        for member in ("name", "provenance", "estimate"):
            if not hasattr(self.source, member):
                sentence = f"must have name, provenance and estimate(network), and lacks {member}"
                raise ConfigError("target", self.source, sentence)
        if not (isinstance(self.name, str) and NAME.fullmatch(self.name)):
            allowed = "must consist of letters, digits, '-', '_' and '.', at most 64"
            raise ConfigError("target.name", self.name, allowed)
        if not (type(self.batch) is int and self.batch > 0):
            raise ConfigError("target.batch", self.batch, "must be a whole number above 0")
        if self.provenance not in get_args(Provenance):
            allowed = "must be one of " + ", ".join(get_args(Provenance))
            raise ConfigError("target.provenance", self.provenance, allowed)

    @property
    def name(self) -> str:
        """The object's name."""
        return self.source.name

    @property
    def provenance(self) -> Provenance:
        """The object's provenance."""
        return self.source.provenance

    @property
    def device(self) -> MeasuredDevice | None:
        """The object's device, if it has one."""
        device: MeasuredDevice | None = getattr(self.source, "device", None)
        return device

    @property
    def batch(self) -> int:
        """Images of a run: the object's own number, that of its device, or one."""
        device = self.device
        batch: int = getattr(self.source, "batch", 1 if device is None else device.plan.batch)
        return batch

    @property
    def priced_runtime(self) -> str | None:
        """The runtime whose kernels the object prices, if it says so."""
        runtime: str | None = getattr(self.source, "priced_runtime", None)
        return runtime

    def estimate(self, network: Network) -> Latency:
        """Return the object's latency for the network.

        Raises:
            MeasurementError: The object gives no latency, or an impossible one.
        """
        try:
            latency = self.source.estimate(network)
        except MeasurementError as error:  # such as that of a Latency that cannot be
            raise MeasurementError(f"{self.name}: {error}") from error
        if type(latency) is not Latency:
            got = printable(reprlib.repr(latency))
            raise MeasurementError(f"{self.name}: estimate must give a Latency; got {got}")
        if latency.provenance != self.provenance:
            raise MeasurementError(
                f"{self.name}: its latencies must be {self.provenance}, as the target says; "
                f"got {latency.provenance!r}"
            )
        return latency

    def graph_of(self, network: Network) -> Graph:
        """Return the object's graph; without one, the plain operators."""
        own: Callable[[Network], Graph] | None = getattr(self.source, "graph_of", None)
        return graph_in_form(network, "plain") if own is None else own(network)

    def kernel_times(self, network: Network) -> Sequence[NodeTime] | None:
        """Return the object's kernel times, or None."""
        own: Callable[[Network], Sequence[NodeTime] | None] | None
        own = getattr(self.source, "kernel_times", None)
        times = None if own is None else own(network)
        if times is None:
            return None
        try:
            return checked_node_times(list(times))
        except (TypeError, ValueError) as error:
            raise MeasurementError(f"{self.name}: kernel_times: {error}") from error

    def operator_shares(self, network: Network) -> Mapping[str, float] | None:
        """Return the object's operator shares, or None."""
        own: Callable[[Network], Mapping[str, float] | None] | None
        own = getattr(self.source, "operator_shares", None)
        shares = None if own is None else own(network)
        known = shares is None or all(is_number(one, 0, 1) for one in shares.values())
        if not known:
            raise MeasurementError(f"{self.name}: operator_shares must be numbers from 0 to 1")
        return shares

    def uncovered(self, network: Network) -> Sequence[str]:
        """Return the kernels that the object names as uncovered, if it names any."""
        own: Callable[[Network], Sequence[str]] | None = getattr(self.source, "uncovered", None)
        return () if own is None else own(network)

    def identity(self) -> TargetIdentity | None:
        """Return the object's identity, or None."""
        own: Callable[[], TargetIdentity | None] | None = getattr(self.source, "identity", None)
        return None if own is None else own()

    def with_plan(self, **changes: Any) -> Target:
        """Change the object's plan, if it has one."""
        own: Callable[..., LatencySource] | None = getattr(self.source, "with_plan", None)
        return fixed_plan(self, changes) if own is None else UserTarget(own(**changes))

    def corrected(self, reference_ms: float) -> Self:
        """Correct the object's latencies for drift, if the object supports it."""
        own: Callable[[float], LatencySource] | None = getattr(self.source, "corrected", None)
        return self if own is None else type(self)(own(reference_ms))

    def close(self) -> None:
        """Close the object, if it can be closed."""
        own: Callable[[], None] | None = getattr(self.source, "close", None)
        if own is not None:
            own()
