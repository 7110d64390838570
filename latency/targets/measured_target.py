"""A device that runs the networks, as a target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nas_sv2.errors import DeviceError
from nas_sv2.latency.devices.device import Device, Profiler
from nas_sv2.latency.devices.payload import Payload, payload_of, reference_payload
from nas_sv2.latency.measurements.measurement import Latency, Measurement, Provenance
from nas_sv2.latency.measurements.node_time import NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.networks.network import Network

if TYPE_CHECKING:
    import numpy as np

    from nas_sv2.latency.measurements.store import MeasurementStore


Images = Callable[[Network], "np.ndarray"]
"""Gives float32 images `(N, C, H, W)` of a network's own size."""


@dataclass(frozen=True)
class MeasuredTarget:
    """A device that runs the network, in alternation with the plan's reference network.

    Attributes:
        name: What the user calls it.
        device: Where.
        plan: How.
        store: Where measurements are looked up and kept; None for nowhere.
        fresh: Measure even what is stored; the new measurement is kept too.
        pace_ms: What the reference network takes by agreement, so that figures taken hours apart
            can be compared (`Latency.at_pace`); None for figures as measured.
        images: Gives the images that an int8 network takes its scales from; None for random ones.
    """

    name: str
    device: Device
    plan: MeasurePlan
    store: "MeasurementStore | None" = None
    fresh: bool = False
    pace_ms: float | None = None
    images: "Images | None" = None

    @property
    def provenance(self) -> Provenance:
        """Always measured."""
        return "measured"

    def estimate(self, network: Network) -> Latency:
        """The stored figure for this device and plan, else a new one."""
        found = self.stored(network)
        measurement = found or self.measure_together([network])[0]
        latency = measurement.latency(self.name)
        return latency if self.pace_ms is None else latency.at_pace(self.pace_ms)

    def measure_together(self, networks: Sequence[Network]) -> list[Measurement]:
        """New measurements of networks timed in alternation, each of which is kept.

        Raises:
            DeviceError: The device is missing, unreachable or lacks its runtime.
            MeasurementError: It answered, but not with a latency.
            StoreError: A measurement cannot be kept.
        """
        self.device.start()
        payloads = [self._payload(network) for network in networks]
        measurements = self.measure_files(payloads)
        if self.store is not None:
            for measurement in measurements:
                self.store.save(measurement)
        return measurements

    def measure_files(self, payloads: Sequence[Payload]) -> list[Measurement]:
        """The same of models as they are given, which are not kept: any may have any weights.

        Raises:
            DeviceError: As `measure_together`.
            MeasurementError: The same.
        """
        return self.device.measure(payloads, self.plan, reference=self._reference)

    def node_times(self, network: Network) -> list[NodeTime]:
        """What each node of the network takes there, in the order in which they run.

        Raises:
            DeviceError: As `measure_together`, or the device cannot tell.
            MeasurementError: The device failed meanwhile.
        """
        if not isinstance(self.device, Profiler):
            raise DeviceError(f"{self.name}: this device cannot tell what parts of a network take")
        return self.device.profile(self._payload(network), self.plan, self.plan.timeout_s)

    def stored(self, network: Network) -> Measurement | None:
        """The newest measurement that is kept for this device and plan; None where fresh."""
        if self.store is None or self.fresh:
            return None
        self.device.start()
        fingerprint = self.device.fingerprint(self.plan)
        return self.store.find(network.digest, fingerprint, self.plan)

    def session_of(self, networks: Sequence[Network]) -> list[Measurement]:
        """The newest stored session if it was of these very networks, else a new one.

        Raises:
            DeviceError: As `measure_together`.
            MeasurementError: The same.
            StoreError: Stored measurements cannot be read, or new ones not kept.
        """
        found = [self.stored(network) for network in networks]
        known = [measurement for measurement in found if measurement is not None]
        if len(known) == len(networks) and len({one.session for one in known}) == 1:
            return known
        return self.measure_together(networks)

    def close(self) -> None:
        """End the agent."""
        self.device.close()

    def _payload(self, network: Network) -> Payload:
        if self.images is None or self.plan.precision != "int8":
            return payload_of(network, self.plan)
        return payload_of(network, self.plan, self.images(network))

    @cached_property
    def _reference(self) -> Payload | None:
        return reference_payload(self.plan)
