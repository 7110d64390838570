"""A device together with the plan by which networks are measured on it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from nas_sv2.errors import DeviceError
from nas_sv2.latency.devices.device import Device, Profiler
from nas_sv2.latency.devices.payload import Payload, payload_of, reference_payload
from nas_sv2.latency.devices.reconnecting import check_same
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement, NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.repeatability import repeatability_of
from nas_sv2.latency.measurements.spread import NOT_SEEN, Repeatability
from nas_sv2.space.model_files.model_file import ModelFile
from nas_sv2.space.networks.lowering import Described, Network
from nas_sv2.space.onnx_models.model import OnnxModel

if TYPE_CHECKING:
    import numpy as np

    from nas_sv2.latency.measurements.store import MeasurementStore

Images = Callable[[Described], "np.ndarray"]
"""A function that gives float32 images `(N, C, H, W)` of a network's input size."""
SESSIONS, FEWEST_SESSIONS = 4, 3
"""Sessions of a command; the fewest if more would take too long.

Two sessions leave their mean open by 9 standard deviations, three by 2.5, and four by 1.6."""
LONGEST_S = 3.4
"""Time for the sessions of one network, in seconds; start-up brings a command to 4 s."""


@dataclass(frozen=True)
class MeasuredDevice:
    """Runs networks in alternation with the plan's reference network.

    Attributes:
        name: The user's name for the device.
        device: The device itself.
        plan: The protocol of a measurement.
        store: Measurements are looked up and kept here; None keeps nothing.
        fresh: Whether to measure even if a measurement is stored; the new one is kept too.
        images: Gives the images that an int8 network takes its scales from; None for random ones.
        reference_ms: The agreed time of the reference network, to which latencies are scaled
            (`Latency.scaled_to`); None leaves latencies as measured.
    """

    name: str
    device: Device
    plan: MeasurePlan
    store: "MeasurementStore | None" = None
    fresh: bool = False
    images: Images | None = None
    reference_ms: float | None = None

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the parts that the plan uses.

        Raises:
            DeviceError: The device cannot be reached or lacks something that the plan needs.
        """
        return self.device.fingerprint(self.plan)

    def measure_together(self, networks: Sequence[Network]) -> list[Measurement]:
        """Measure networks in new sessions and keep the measurements.

        Raises:
            DeviceError: The device is missing, unreachable or lacks its runtime.
            MeasurementError: The device answered without a latency.
            StoreError: A measurement cannot be kept.
        """
        if self.store is not None:
            self.store.db.require_writable()
        self.device.start()
        payloads = [self._payload(network) for network in networks]
        measurements = self.measure_files(payloads)
        if self.store is not None:
            for measurement in measurements:
                self.store.save(measurement)
        return measurements

    def measure_files(self, payloads: Sequence[Payload]) -> list[Measurement]:
        """Measure models as they are, in sessions that each have an agent of their own.

        Nothing is kept, because the models may have any weights.

        Raises:
            DeviceError: As `measure_together`; or the device changed between two sessions.
            MeasurementError: As `measure_together`.
        """
        count, fewest = self.plan.sessions or SESSIONS, self.plan.sessions or FEWEST_SESSIONS
        held: list[list[Measurement]] = []
        began = time.perf_counter()
        while len(held) < count and not self._is_long(began, len(held), len(payloads)):
            if held:
                self.device.close()  # the next session starts an agent of its own
            part = self.plan.part(len(held), count, fewest)
            held.append(self.device.measure(payloads, part, reference=self._reference))
            check_same(self.name, held[0][0].fingerprint, held[-1][0].fingerprint)
        known = self._repeatability
        return [
            replace(Measurement.joined(sessions, self.plan), repeatability=known)
            for sessions in zip(*held, strict=True)
        ]

    def _is_long(self, began: float, held: int, networks: int) -> bool:
        """Return whether one more session would exceed the time that nobody asked for."""
        if self.plan.sessions is not None or held < FEWEST_SESSIONS:
            return False
        took_s = time.perf_counter() - began
        return took_s * (held + 1) / held > LONGEST_S * networks

    def measure_each(self, networks: Sequence[Network]) -> list[Measurement]:
        """Find the stored measurement of each network, and measure the others together.

        Raises:
            DeviceError: As `measure_together`.
            MeasurementError: As `measure_together`.
            StoreError: As `measure_together`, or stored measurements cannot be read.
        """
        found: Mapping[str, Measurement | None]
        found = {network.digest: self.stored(network) for network in networks}
        missing = [network for network in networks if found[network.digest] is None]
        new = iter(self.measure_together(missing) if missing else [])
        return [found[network.digest] or next(new) for network in networks]

    def session(self, networks: Sequence[Network]) -> list[Measurement]:
        """Return the newest stored session if it held all these networks, else measure them.

        Raises:
            DeviceError: As `measure_together`.
            MeasurementError: As `measure_together`.
            StoreError: Stored measurements cannot be read, or new ones not kept.
        """
        found = [self.stored(network) for network in networks]
        known = [measurement for measurement in found if measurement is not None]
        if len(known) == len(networks) and len({one.session for one in known}) == 1:
            return known
        return self.measure_together(networks)

    def stored(self, network: Network) -> Measurement | None:
        """Find the newest measurement for this device and plan.

        None if it must be fresh, or has fewer sessions than the plan asks for.
        """
        if self.store is None or self.fresh:
            return None
        self.device.start()
        found = self.store.find(network.digest, self.fingerprint(), self.plan)
        if found is None or len(found.starts) < (self.plan.sessions or 1):
            return None
        return replace(found, repeatability=self._repeatability)

    def node_times(self, network: Network) -> list[NodeTime]:
        """Time each node of the network, in the order in which they run.

        Raises:
            DeviceError: As `measure_together`, or the device cannot time nodes.
            MeasurementError: The device failed meanwhile.
        """
        return self.profile(self._payload(network), self.plan.timeout_s)

    def profile(self, payload: Payload, timeout_s: float) -> list[NodeTime]:
        """Time each node of a model; it raises the same errors as `node_times`."""
        if not isinstance(self.device, Profiler):
            raise DeviceError(f"{self.name}: this device cannot tell what parts of a network take")
        return self.device.profile(payload, self.plan, timeout_s)

    def close(self) -> None:
        """End the agent; a later call starts another."""
        self.device.close()

    def _payload(self, network: Network) -> Payload:
        if self.images is None or self.plan.precision != "int8":
            return payload_of(network, self.plan)
        if isinstance(network, OnnxModel | ModelFile):
            return payload_of(network, self.plan)
        return payload_of(network, self.plan, self.images(network))

    @cached_property
    def _repeatability(self) -> Repeatability:
        if self.store is None:
            return NOT_SEEN
        return repeatability_of(self.store, self.fingerprint(), self.plan)

    @cached_property
    def _reference(self) -> Payload | None:
        return reference_payload(self.plan)
