"""A device that is used by one process at a time and survives lost connections."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nas_sv2.database.locks import Exclusive
from nas_sv2.errors import ConnectionLost, DeviceError, MeasurementError
from nas_sv2.latency.devices.channel import sending_s
from nas_sv2.latency.devices.device import START_TIMEOUT_S, AgentDevice
from nas_sv2.latency.devices.launcher import Launcher
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.fingerprint import Fingerprint, differing
from nas_sv2.latency.measurements.measurement import Measurement, NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.graph.peak_memory import memory_in_words

Answer = TypeVar("Answer")

MAX_BYTES = 1 << 30
"""Limit of a network; the paper's largest has 508 MiB, and onnxruntime reads at most 2 GiB."""
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pauses before each new attempt to reach a device that has answered before.

They add up to a minute, in which a server restarts."""
DEATHS = 3
"""Ends of the agent in one call after which the network is taken for the cause."""
LEASE_MARGIN_S = 60.0
"""Time beyond a call's time limits after which another process may take the device."""


@dataclass(slots=True, eq=False)
class ReconnectingDevice:
    """A device that one process uses at a time and waits for after a lost connection.

    A device that has never answered is not waited for: a mistake is more likely than a fault.
    The class is not frozen: it holds the known facts about the device.

    Attributes:
        inner: The device.
        exclusive: The right to use the device.
        launcher: Started it; it knows the remedy for a failed start.
        notify: Called with a line for each wait.
        max_bytes: The limit of one network, in bytes.
        waits_s: The pauses before each new attempt to reach the device, in seconds.
    """

    inner: AgentDevice
    exclusive: Exclusive
    launcher: Launcher
    notify: Callable[[str], None] = lambda line: None
    max_bytes: int = MAX_BYTES
    waits_s: Sequence[float] = WAITS_S
    _answered: bool = False
    _known: dict[str, Fingerprint] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The user's name for the device."""
        return self.inner.name

    def start(self) -> None:
        """Start to get ready without waiting."""
        self.inner.start()

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """Return the fingerprint; the device is asked once for each plan.

        Raises:
            DeviceError: The device cannot be reached, lacks something that the plan needs, or
                is in use too long.
        """
        if plan.key not in self._known:
            try:
                self._known[plan.key] = self._steadily(
                    lambda: self.inner.fingerprint(plan), START_TIMEOUT_S
                )
            except MeasurementError as error:  # a runtime that kills its python when imported
                raise DeviceError(str(error)) from error
        return self._known[plan.key]

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Measure on the inner device while this process holds it.

        Raises:
            DeviceError: As `Device.measure`; or the device has changed, or is in use too long.
            MeasurementError: As `Device.measure`; or a network is too large.
        """
        sent = [*payloads, *([] if reference is None else [reference])]
        for payload in sent:
            if len(payload.body) > self.max_bytes:
                size, limit = map(memory_in_words, (len(payload.body), self.max_bytes))
                raise MeasurementError(
                    f"{self.name}: the network has {size}; the limit is {limit}"
                )
        measurements = self._steadily(
            lambda: self.inner.measure(payloads, plan, reference=reference),
            plan.heat_s + plan.timeout_s * len(sent),
            sent,
        )
        for measurement in measurements:
            known = self._known.setdefault(plan.key, measurement.fingerprint)
            check_same(self.name, known, measurement.fingerprint)
        return measurements

    def outputs(self, payload: Payload, plan: MeasurePlan) -> list[float]:
        """Return the network's outputs for the plan's input."""
        return self._steadily(lambda: self.inner.outputs(payload, plan), plan.timeout_s, [payload])

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """Time each node of the model."""
        return self._steadily(
            lambda: self.inner.profile(payload, plan, timeout_s), timeout_s, [payload]
        )

    def close(self) -> None:
        """Release the device."""
        self.inner.close()

    def _steadily(
        self, call: Callable[[], Answer], answer_s: float, sent: Sequence[Payload] = ()
    ) -> Answer:
        """Call while this process holds the device; repeat after a lost connection.

        Args:
            call: Asks the device.
            answer_s: The time limit of the answer, in seconds.
            sent: The networks that are sent before.
        """
        bytes_sent = sum(len(payload.body) for payload in sent)
        longest_s = START_TIMEOUT_S + sending_s(bytes_sent) + answer_s
        deaths, waits = 0, iter(self.waits_s)
        while True:
            try:
                with self.exclusive.held(longest_s + LEASE_MARGIN_S):
                    answer = call()
            except ConnectionLost as error:
                self._answered = True  # or it would not have started
                deaths += 1
                if deaths == DEATHS:
                    raise MeasurementError(f"{error}; {deaths} times in a row") from error
                self.notify(f"{error}; starting it again")
            except DeviceError as error:
                self._wait(error, waits)
            else:
                self._answered = True
                return answer

    def _wait(self, error: DeviceError, waits: Iterator[float]) -> None:
        """Wait for a device that is away, or raise the error if waiting cannot help."""
        lost = error.__cause__
        if not isinstance(lost, ConnectionLost):
            raise error
        wait_s = next(waits, None) if self._answered else None
        if wait_s is None:
            advice = self.launcher.advice(lost.words)
            raise DeviceError(f"{error}; {advice}" if advice else str(error)) from error
        self.notify(f"{error}; trying again in {wait_s:g} s")
        time.sleep(wait_s)


def check_same(name: str, known: Fingerprint, found: Fingerprint) -> None:
    """Check that a fingerprint is that of the known device.

    Raises:
        DeviceError: The fingerprints differ; the error names the facts.
    """
    if known.key == found.key:
        return
    changes = [
        f"{fact} was {was!r} and is {now!r}"
        for fact, (was, now) in differing(known.facts, found.facts).items()
    ]
    raise DeviceError(f"{name}: not the device it was: {'; '.join(changes)}")
