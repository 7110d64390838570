"""Where code runs: a device is a way to start the agent, and everything else is the same.

A child process, `ssh host python3 ...`, `adb shell`, `docker run`: each is a command list for
`AgentDevice`. A device of another kind is any object with the members of `Device`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Protocol, Self, runtime_checkable

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.agent import agent
from nas_sv2.latency.devices.channel import Channel
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.devices.reply import measurements_of
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.node_time import NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan

AGENT_TEXTS = ("estimator.py", "host_facts.py", "timed_runs.py", "node_times.py", "agent.py")
START_TIMEOUT_S = 60.0
"""For greeting and fingerprint: torch takes 4 s to import here, ten times that from an SD card."""


class Device(Protocol):
    """Where networks are measured."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def start(self) -> None:
        """Begin to get ready, without waiting; the rest works without it, but later."""

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """What the device is, as far as `plan` uses it.

        Raises:
            DeviceError: It cannot be reached or lacks what the plan needs.
        """

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Time networks in alternation; one measurement each, in the order given.

        Args:
            payloads: The networks.
            plan: How.
            reference: A further network that each is set in relation to; the plan names it.

        Raises:
            DeviceError: As `fingerprint`.
            MeasurementError: The device failed while measuring.
        """

    def close(self) -> None:
        """Let go of what is held; a later call starts again."""


@runtime_checkable
class Profiler(Protocol):
    """A device that can also tell what the parts of a model take."""

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """What each node takes there, in the order in which they run.

        Raises:
            DeviceError: It cannot be reached, or the plan's runtime does not tell.
            MeasurementError: The device failed meanwhile.
        """


@dataclass(slots=True, eq=False)
class AgentDevice:
    """A device that is reached by a command.

    One agent serves many measurements and is started anew after a failure. It is not frozen: it
    holds the agent that runs.

    Attributes:
        name: What the user calls it.
        command: Starts a python3 that runs the code on its stdin, as `agent_command` gives it.
    """

    name: str
    command: tuple[str, ...]
    _channel: Channel | None = None
    _fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    _kept: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        """Itself; nothing starts yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def process_id(self) -> int | None:
        """Of the agent that runs, and of its process group; None while none does."""
        return None if self._channel is None else self._channel.process.pid

    def start(self) -> None:
        """Start the agent if none runs; does not wait for it."""
        if self._channel is None:
            self._channel = Channel.open(self.name, self.command)
            self._channel.send(agent_text())
            self._kept.clear()

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """What the device is, asked once for each plan."""
        if plan.key not in self._fingerprints:
            answer = self._ask("fingerprint", (), plan, START_TIMEOUT_S)
            self._fingerprints[plan.key] = Fingerprint(_fact(self.name, answer, "fingerprint"))
        return self._fingerprints[plan.key]

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Time the networks in one agent; kills it when the plan's timeout for each is over."""
        sent = [*payloads, *([] if reference is None else [reference])]
        timeout_s = plan.heat_s + plan.timeout_s * len(sent)
        answer = self._ask("measure", sent, plan, timeout_s, keep=reference)
        try:
            return measurements_of(answer, payloads, plan, reference)
        except MeasurementError as error:
            self._kill()
            raise MeasurementError(f"{self.name}: {error}") from error

    def outputs(self, payload: Payload, plan: MeasurePlan) -> list[float]:
        """What the network gives there for the plan's input; to check it against another."""
        answer = self._ask("outputs", (payload,), plan, plan.timeout_s)
        return [float(number) for number in _fact(self.name, answer, "outputs")]

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """What each node takes; see `Profiler`."""
        answer = self._ask("profile", (payload,), plan, timeout_s)
        nodes = _fact(self.name, answer, "nodes")
        return [NodeTime(str(name), str(operator), float(us)) for name, operator, us in nodes]

    def close(self) -> None:
        """Let the agent leave."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _kill(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.kill()

    def _ask(
        self,
        operation: str,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        timeout_s: float,
        keep: Payload | None = None,
    ) -> Mapping[str, Any]:
        """One request, one answer; whatever interrupts it ends the agent, which is out of step."""
        try:
            channel = self._greeted()
            channel.send(self._request(operation, payloads, plan, keep))
            answer = channel.receive(time.monotonic() + timeout_s)
        except BaseException:
            self._kill()
            raise
        if "error" in answer:
            kind = DeviceError if answer["error"] == "device" else MeasurementError
            raise kind(f"{self.name}: {answer.get('message')}")
        return answer

    def _request(
        self, operation: str, payloads: Sequence[Payload], plan: MeasurePlan, keep: Payload | None
    ) -> bytes:
        """The request's line and the networks; one that this agent keeps is not sent again."""
        bodies = [b"" if payload.digest in self._kept else payload.body for payload in payloads]
        networks = [
            {"digest": payload.digest, "bytes": len(body), "keep": payload is keep}
            for payload, body in zip(payloads, bodies, strict=True)
        ]
        if keep is not None:
            self._kept.add(keep.digest)
        told = {**plan.to_json(), "cpu_time_is_latency": plan.cpu_time_is_latency}
        header = json.dumps({"op": operation, "plan": told, "networks": networks}).encode()
        return b"".join([header, b"\n", *bodies])

    def _greeted(self) -> Channel:
        if self._channel is not None and self._channel.process.poll() is not None:
            self._kill()  # it ended while nobody asked: no measurement is lost
        if self._channel is not None and self._channel.greeted:
            return self._channel
        self.start()
        assert self._channel is not None
        try:
            greeting = self._channel.receive(time.monotonic() + START_TIMEOUT_S)
        except MeasurementError as error:
            raise DeviceError(f"{error}; it did not start") from error
        if greeting.get("agent") != agent.VERSION:
            raise DeviceError(f"{self.name}: {greeting} is not the greeting of our agent")
        self._channel.greeted = True
        return self._channel


def agent_command(python: str) -> tuple[str, ...]:
    """The command that makes `python` run the agent that is piped to it."""
    return (python, "-u", "-c", agent.BOOTSTRAP)


def agent_text() -> bytes:
    """What is piped to that command: the agent's texts, framed."""
    folder = resources.files("nas_sv2.latency.agent")
    texts = [folder.joinpath(name).read_bytes() for name in AGENT_TEXTS]
    return b"%d\n" % len(texts) + b"".join(b"%d\n%b" % (len(text), text) for text in texts)


def _fact(name: str, answer: Mapping[str, Any], key: str) -> Any:
    if key not in answer:
        raise MeasurementError(f"{name}: the agent's answer has no {key!r}")
    return answer[key]
