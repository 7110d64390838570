"""A device that is used by one process at a time and survives what happens to connections."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nas_sv2.database.locks import Exclusive
from nas_sv2.errors import ConnectionLost, DeviceError, MeasurementError
from nas_sv2.latency.devices.device import START_TIMEOUT_S, AgentDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.node_time import NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan

Answer = TypeVar("Answer")

MAX_BYTES = 1 << 30
"""Of a network; the paper's largest has 508 MiB, and onnxruntime reads no message above 2 GiB."""
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Before each new attempt to reach a device that has answered before: a minute in all, in which a
server is restarted."""
DEATHS = 3
"""How often an agent may end in one call: the third time it is the network's doing."""
LEASE_MARGIN_S = 60.0
"""What a call may take beyond its time limits before another process may take the device."""


@dataclass(slots=True, eq=False)
class ReconnectingDevice:
    """A device, used by one process at a time, that is waited for when its connection is lost.

    A device that has never answered is not waited for: it is a mistake more likely than a fault.
    It is not frozen: it holds what is known of the device.

    Attributes:
        inner: The device.
        exclusive: The right to use it.
        advice: What to do about what a failed start wrote to stderr.
        told: Is told when the device is waited for.
        max_bytes: Of one network.
        waits_s: Before each new attempt to reach it.
    """

    inner: AgentDevice
    exclusive: Exclusive
    advice: Callable[[str], str] = lambda words: ""
    told: Callable[[str], None] = lambda line: None
    max_bytes: int = MAX_BYTES
    waits_s: Sequence[float] = WAITS_S
    _answered: bool = False
    _known: dict[str, Fingerprint] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.inner.name

    def start(self) -> None:
        """Begin to get ready, without waiting."""
        self.inner.start()

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """What the device is, asked once for each plan.

        Raises:
            DeviceError: It cannot be reached, lacks what the plan needs, or is in use too long.
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
        """As the device does, in our turn.

        Raises:
            DeviceError: As `Device.measure`; or it is another device than before, or in use for
                too long.
            MeasurementError: As `Device.measure`; or a network is too large.
        """
        sent = [*payloads, *([] if reference is None else [reference])]
        for payload in sent:
            if len(payload.body) > self.max_bytes:
                size, limit = (number / 2**20 for number in (len(payload.body), self.max_bytes))
                raise MeasurementError(
                    f"{self.name}: the network has {size:.1f} MiB; the limit is {limit:.1f} MiB"
                )
        longest_s = START_TIMEOUT_S + plan.heat_s + plan.timeout_s * len(sent)
        measurements = self._steadily(
            lambda: self.inner.measure(payloads, plan, reference=reference), longest_s
        )
        for measurement in measurements:
            known = self._known.setdefault(plan.key, measurement.fingerprint)
            check_same(self.name, known, measurement.fingerprint)
        return measurements

    def outputs(self, payload: Payload, plan: MeasurePlan) -> list[float]:
        """What the network gives there for the plan's input, in our turn."""
        return self._steadily(lambda: self.inner.outputs(payload, plan), plan.timeout_s)

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """What each node of the model takes there, in our turn."""
        return self._steadily(lambda: self.inner.profile(payload, plan, timeout_s), timeout_s)

    def close(self) -> None:
        """Let go of what is held."""
        self.inner.close()

    def _steadily(self, call: Callable[[], Answer], longest_s: float) -> Answer:
        """Call in our turn, again where the connection was lost."""
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
                self.told(f"{error}; starting it again")
            except DeviceError as error:
                self._wait(error, waits)
            else:
                self._answered = True
                return answer

    def _wait(self, error: DeviceError, waits: Iterator[float]) -> None:
        """Wait for a device that is away, or raise what is not to be waited for."""
        lost = error.__cause__
        if not isinstance(lost, ConnectionLost):
            raise error
        wait_s = next(waits, None) if self._answered else None
        if wait_s is None:
            advice = self.advice(lost.words)
            raise DeviceError(f"{error}; {advice}" if advice else str(error)) from error
        self.told(f"{error}; trying again in {wait_s:g} s")
        time.sleep(wait_s)


def check_same(name: str, known: Fingerprint, found: Fingerprint) -> None:
    """Refuse the times of another device, or of one that was changed meanwhile.

    Raises:
        DeviceError: Names what differs.
    """
    if known.key == found.key:
        return
    names = {**known.facts, **found.facts}
    changes = [
        f"{fact} was {known.facts.get(fact)!r} and is {found.facts.get(fact)!r}"
        for fact in names
        if known.facts.get(fact) != found.facts.get(fact)
    ]
    raise DeviceError(f"{name}: not the device it was: {'; '.join(changes)}")
