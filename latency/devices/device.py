"""Devices that run networks. They differ only in the command that starts the agent.

A child process, `ssh host python3 ...`, `adb shell`, `docker run`: each is a command for
`AgentDevice`. A device of another kind is any object with the members of `Device`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from nas_sv2.errors import DeviceError, MeasurementError, MissingRuntime, NasError
from nas_sv2.latency.agent import agent
from nas_sv2.latency.devices.channel import Channel
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.devices.reply import measurements_of
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement, NodeTime
from nas_sv2.latency.measurements.measurement_check import (
    checked_facts,
    checked_node_times,
    checked_outputs,
)
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.plain_data import printable

AGENT_TEXTS = (
    *("estimator.py", "host_facts.py", "timed_runs.py", "node_times.py", "needed.py"),
    *("onnx_run.py", "litert_run.py", "ncnn_run.py", "agent.py"),
)
START_TIMEOUT_S = 60.0
"""Time limit of the greeting and of the fingerprint.

torch takes 4 s to import on a PC, and ten times that from an SD card."""
LONGEST_MESSAGE = 1000
"""The limit of an agent's error in characters; advice takes a hundred."""
ERRORS: Mapping[str, type[NasError]] = {"device": DeviceError, "runtime": MissingRuntime}
"""The agent's kinds of error; any other is a `MeasurementError`."""
Fact = TypeVar("Fact")


class Device(Protocol):
    """A machine on which networks are measured."""

    @property
    def name(self) -> str:
        """The user's name for the device."""

    def start(self) -> None:
        """Start to get ready without waiting; calling it is optional and saves time."""

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """Return the fingerprint of the parts that `plan` uses.

        Raises:
            DeviceError: The device cannot be reached or lacks something that the plan needs.
        """

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Time networks in alternation and return one measurement each, in the order given.

        Args:
            payloads: The networks.
            plan: The protocol.
            reference: The plan's reference network, timed in alternation with the others.

        Raises:
            DeviceError: As `fingerprint`.
            MeasurementError: The device failed while measuring.
        """

    def close(self) -> None:
        """Release the device; a later call starts it again."""


@runtime_checkable
class Profiler(Protocol):
    """A device that can also time the nodes of a model."""

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """Time each node, in the order in which they run.

        Raises:
            DeviceError: The device cannot be reached, or the plan's runtime cannot time nodes.
            MeasurementError: The device failed meanwhile.
        """


@dataclass(slots=True, eq=False)
class AgentDevice:
    """A device that is reached by a command.

    One agent serves many measurements; after a failure another is started. The class is not
    frozen: it holds the running agent.

    Attributes:
        name: The user's name for the device.
        command: Starts a python3 that runs the code on its stdin, as `agent_command` gives it.
    """

    name: str
    command: tuple[str, ...]
    _channel: Channel | None = None
    _fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    _kept: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        """Return the device; nothing starts yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the device."""
        self.close()

    def start(self) -> None:
        """Start the agent if none runs, without waiting for it."""
        if self._channel is None:
            self._channel = Channel.open(self.name, self.command)
            self._channel.send(agent_text())
            self._kept.clear()

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """Return the fingerprint; the device is asked once for each plan."""
        if plan.key not in self._fingerprints:
            facts = self._fact("fingerprint", (), plan, START_TIMEOUT_S, checked_facts)
            self._fingerprints[plan.key] = Fingerprint(facts)
        return self._fingerprints[plan.key]

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Time the networks in one agent; kill it after the plan's timeout for each network.

        The time in which the networks are sent does not count.
        """
        sent = [*payloads, *([] if reference is None else [reference])]
        timeout_s = plan.heat_s + plan.timeout_s * len(sent)
        answer = self._ask("measure", sent, plan, timeout_s, keep=reference)
        try:
            return measurements_of(answer, payloads, plan, reference)
        except MeasurementError as error:
            self._kill()
            raise MeasurementError(f"{self.name}: {error}") from error

    def outputs(self, payload: Payload, plan: MeasurePlan) -> list[float]:
        """Return the network's outputs for the plan's input, to compare with another device's."""
        return self._fact("outputs", (payload,), plan, plan.timeout_s, checked_outputs)

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """Time each node; see `Profiler`."""
        return self._fact("profile", (payload,), plan, timeout_s, checked_node_times, "nodes")

    def close(self) -> None:
        """End the agent."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _kill(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.kill()

    def _fact(
        self,
        operation: str,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        timeout_s: float,
        check: Callable[[object], Fact],
        key: str = "",
    ) -> Fact:
        """Ask for one value, which the answer has under `key`, or else the operation's name.

        Raises:
            MeasurementError: The value is missing or not valid.
        """
        answer, key = self._ask(operation, payloads, plan, timeout_s), key or operation
        try:
            return check(answer.get(key))
        except ValueError as error:
            self._kill()
            raise MeasurementError(f"{self.name}: {key} of the agent: {error}") from error

    def _ask(
        self,
        operation: str,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        timeout_s: float,
        keep: Payload | None = None,
    ) -> Mapping[str, Any]:
        """Send a request and return its answer; an interruption kills the agent.

        An interrupted agent would answer the next request with the answer to this one.
        """
        try:
            channel = self._greeted()
            channel.send(self._request(operation, payloads, plan, keep))
            answer = channel.receive(timeout_s)
        except BaseException:
            self._kill()
            raise
        if "error" in answer:
            kind = ERRORS.get(str(answer["error"]), MeasurementError)
            fault = (
                "a fault of our agent, please report it: " if answer["error"] == "agent" else ""
            )
            said = printable(str(answer.get("message")), LONGEST_MESSAGE)
            raise kind(f"{self.name}: {fault}{said}")
        return answer

    def _request(
        self, operation: str, payloads: Sequence[Payload], plan: MeasurePlan, keep: Payload | None
    ) -> bytes:
        """Return the request's line and the networks; one that the agent keeps is sent once."""
        bodies = [b"" if payload.digest in self._kept else payload.body for payload in payloads]
        networks = [
            {"digest": payload.digest, "bytes": len(body), "keep": payload is keep}
            for payload, body in zip(payloads, bodies, strict=True)
        ]
        if keep is not None:
            self._kept.add(keep.digest)
        stated = {**plan.to_json(), "cpu_time_is_latency": plan.cpu_time_is_latency}
        header = json.dumps({"op": operation, "plan": stated, "networks": networks}).encode()
        return b"".join([header, b"\n", *bodies])

    def _greeted(self) -> Channel:
        if self._channel is not None and self._channel.process.poll() is not None:
            self._kill()  # it ended between two requests: no measurement is lost
        if self._channel is not None and self._channel.greeted:
            return self._channel
        self.start()
        assert self._channel is not None
        try:
            greeting = self._channel.greeting("agent", START_TIMEOUT_S)
        except MeasurementError as error:
            raise DeviceError(f"{error}; the agent did not start") from error
        if greeting["agent"] != agent.VERSION:
            said = printable(str(greeting))
            raise DeviceError(f"{self.name}: {said} is not the greeting of our agent")
        return self._channel


def agent_command(python: str) -> tuple[str, ...]:
    """Return the command that makes `python` run the agent that is piped to it."""
    return (python, "-u", "-c", agent.BOOTSTRAP)


def agent_text() -> bytes:
    """Return the bytes that are piped to `agent_command`: the agent's texts, framed."""
    folder = resources.files("nas_sv2.latency.agent")
    texts = [folder.joinpath(name).read_bytes() for name in AGENT_TEXTS]
    return b"%d\n" % len(texts) + b"".join(b"%d\n%b" % (len(text), text) for text in texts)
