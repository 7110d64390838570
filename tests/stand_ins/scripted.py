"""Measurements and a device whose times are written down, not taken."""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas_sv2.latency.agent.estimator import Samples
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Beside, Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan

PLAN = MeasurePlan()
FACTS: dict[str, Any] = {
    "agent": "2",
    "cpu": "A board",
    "cores": 4,
    "affinity": [0, 1, 2, 3],
    "runtime": "onnxruntime",
    "runtime_version": "1",
    "threads": 1,
    "precision": "fp32",
}
ROUNDS, RUNS = 30, 4


def samples_of(rounds_ms: Sequence[float], disturbed: float = 0.0, tail: float = 1.0) -> Samples:
    """Runs of 30 rounds or so, each round with one time.

    Args:
        rounds_ms: The times.
        disturbed: Share of runs with a switch, in which wall time is half as long again.
        tail: Every tenth run takes so many times as long.
    """
    times = [ms for ms in rounds_ms for _ in range(RUNS)]
    generator = random.Random(0)
    switches = [int(generator.random() < disturbed) for _ in times]
    cpu = [ms * (tail if run % 10 == 9 else 1) for run, ms in enumerate(times)]
    wall = [ms * (1.5 if switch else 1) for ms, switch in zip(cpu, switches, strict=True)]
    rounds = [index // RUNS for index in range(len(times))]
    return Samples(tuple(wall), tuple(cpu), tuple(switches), tuple(rounds))


def measurement_of(
    samples: Samples | None = None,
    beside: Samples | None = None,
    *,
    architecture: str = "0123456789abcdef",
    session: str = "a",
    plan: MeasurePlan = PLAN,
    facts: Mapping[str, Any] = FACTS,
    **other: Any,
) -> Measurement:
    """A measurement of those runs; the reference ran at 2 ms, this network at 3."""
    defaults: dict[str, Any] = {
        "warmup_runs": 20,
        "stationary": True,
        "measured_at": "2026-01-01T00:00:00+00:00",
        "conditions": ({"at_s": 0.0, "runnable": 1},) * 3,
    }
    assert plan.reference is not None
    return Measurement(
        architecture=architecture,
        plan=plan,
        fingerprint=Fingerprint(facts),
        samples=samples or samples_of([3.0] * ROUNDS),
        session=session,
        beside=Beside(plan.reference, beside or samples_of([2.0] * ROUNDS)),
        **{**defaults, **other},
    )


@dataclass
class ScriptedDevice:
    """Answers each session as `script` says, which is given its number from 0.

    `calls` tells what was asked, in order.
    """

    script: Callable[[int], Measurement] = lambda number: measurement_of()
    name: str = "cpu"
    calls: list[str] = field(default_factory=list)

    def start(self) -> None: ...

    def close(self) -> None:
        self.calls.append("close")

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        return self.script(0).fingerprint

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        number = self.calls.count("measure")
        self.calls.append("measure")
        return [
            dataclasses.replace(
                self.script(number),
                architecture=payload.architecture,
                plan=plan,
                session=f"s{number}",
            )
            for payload in payloads
        ]
