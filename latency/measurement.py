"""What a device answered, and the latency that follows from it.

A `Measurement` keeps every timed run; each statistic is a property of them, so that a better one
can be applied to old measurements. A `Latency` is the figure that the rest of the program uses,
and says where it came from.
"""

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

from nas_sv2.latency import estimator
from nas_sv2.latency.plan import MeasurePlan

Provenance = Literal["measured", "emulated", "predicted", "published"]
Interval = tuple[float, float]

UNSTABLE = 1.1
"""p95 / median above which runs are called unstable; at rest we saw 1.02-1.07."""


ARM_CORES = {
    "0x41/0xd03": "Cortex-A53",
    "0x41/0xd05": "Cortex-A55",
    "0x41/0xd07": "Cortex-A57",
    "0x41/0xd08": "Cortex-A72",
    "0x41/0xd09": "Cortex-A73",
    "0x41/0xd0a": "Cortex-A75",
    "0x41/0xd0b": "Cortex-A76",
    "0x41/0xd0c": "Neoverse-N1",
    "0x41/0xd40": "Neoverse-V1",
    "0x41/0xd49": "Neoverse-N2",
}
"""Linux names an ARM core by implementer and part number only; those a user is likely to have."""


@dataclass(frozen=True, slots=True)
class Latency:
    """The time of one run of a network, in ms.

    Attributes:
        ms: The median of the runs, or the price of an emulator or predictor.
        ci_ms: The 95 % interval of the median; None where nothing was run.
        p95_ms: The time that 95 % of runs keep within.
        provenance: Where the figure comes from.
        device: Device, runtime, threads and batch, for people.
        runs: How many timed runs there were.
        contended: Whether other programs held the processor meanwhile.
        note: What to know about the figure: the judgement of a measurement, the error of an
            emulator; empty where there is nothing to say.
    """

    ms: float
    ci_ms: Interval | None
    p95_ms: float | None
    provenance: Provenance
    device: str
    runs: int | None
    contended: bool | None
    note: str

    def to_json(self) -> dict[str, Any]:
        """Stable keys: ms, ci_ms, p95_ms, provenance, device, runs, contended, note."""
        return {**dataclasses.asdict(self), "ci_ms": list(self.ci_ms) if self.ci_ms else None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        ci_ms = document["ci_ms"]
        return cls(**{**document, "ci_ms": tuple(ci_ms) if ci_ms else None})


@dataclass(frozen=True)
class Fingerprint:
    """What must be equal for two measurements to be comparable: machine, system, runtime.

    Attributes:
        facts: As the agent named them (`agent.fingerprint`); no clock, load or temperature,
            which change from minute to minute.
    """

    facts: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name the content."""
        text = json.dumps(dict(self.facts), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self, plan: MeasurePlan) -> str:
        """Processor, runtime, threads and batch in one line."""
        facts = self.facts
        processor = str(facts.get("gpu") or facts.get("cpu"))
        parts = [
            " ".join(ARM_CORES.get(word, word) for word in processor.split()),
            f"{facts['runtime']} {facts['runtime_version']}",
            f"{plan.threads} thread{'s' if plan.threads > 1 else ''}",
            f"batch {plan.batch}",
        ]
        return " · ".join(parts)


@dataclass(frozen=True)
class Measurement:
    """The timed runs of one network on one device; warm-up runs are not among them.

    Attributes:
        architecture: Digest of the architecture.
        plan: How it was measured.
        fingerprint: On what.
        wall_ms: Wall time of each run, in the order of the runs.
        cpu_ms: CPU time of the calling thread in each run.
        switches: Involuntary context switches of that thread in each run; None where the system
            does not count them by thread (it does on Linux).
        warmup_runs: Runs before the first timed one.
        stationary: Whether the last two windows of warm-up agreed.
        runnable: Threads of the whole system that wanted a processor, this one included; the
            fewer of before and after the timed runs. None where the system does not say.
        measured_at: UTC, ISO 8601.
        series: What else was timed in each run, in ms by name: `event_ms`, `graph_ms`,
            `graph_event_ms` on a GPU.
    """

    architecture: str
    plan: MeasurePlan
    fingerprint: Fingerprint
    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    switches: tuple[int, ...] | None
    warmup_runs: int
    stationary: bool
    runnable: int | None
    measured_at: str
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @cached_property
    def _chosen(self) -> tuple[str, list[float]]:
        return estimator.chosen(
            self.wall_ms, self.cpu_ms, self.switches, self.plan.cpu_time_is_latency
        )

    @property
    def estimator(self) -> str:
        """What the figures are taken from.

        `undisturbed wall time` (runs without an involuntary context switch) where nearly all runs
        are such. Else, where one thread does all the work, `settled thread CPU time` of the runs
        whose caches no switch left cold, or `thread CPU time` of all if those are too few. With
        several threads or a GPU, CPU time is not the time of the network: undisturbed runs are
        then used even when they are few, else `wall time`.
        """
        return self._chosen[0]

    @property
    def runs(self) -> int:
        """Timed runs, whether the figures use them or not."""
        return len(self.wall_ms)

    @property
    def median_ms(self) -> float:
        """The latency."""
        return statistics.median(self._chosen[1])

    @property
    def p95_ms(self) -> float:
        """The time that 95 % of the runs that count keep within."""
        times = sorted(self._chosen[1])
        return times[-(-95 * len(times) // 100) - 1]

    @cached_property
    def ci_ms(self) -> Interval | None:
        """The 95 % interval of the median; None under 6 runs. No distribution is assumed."""
        return estimator.median_interval(self._chosen[1])

    @property
    def disturbed_share(self) -> float | None:
        """Share of runs with an involuntary context switch; None where they are not counted."""
        if self.switches is None:
            return None
        return sum(count > 0 for count in self.switches) / self.runs

    @property
    def contended(self) -> bool:
        """Whether other programs held the processor for a part of the runs, or wanted to.

        A scheduler may leave a short measurement alone though every core is wanted by another
        program; caches and memory are shared even then.
        """
        cores = len(self.fingerprint.facts.get("affinity") or ())
        if self.runnable is not None and 0 < cores < self.runnable:
            return True
        if self.disturbed_share is None:
            wall, cpu = statistics.median(self.wall_ms), statistics.median(self.cpu_ms)
            return self.plan.cpu_time_is_latency and wall > estimator.WALL_OVER_CPU * cpu
        return self.disturbed_share > 1 - estimator.UNDISTURBED_SHARE

    @property
    def noise(self) -> float:
        """p95 / median of the runs that count; 1 is a device that never varies."""
        return self.p95_ms / self.median_ms

    @property
    def judgement(self) -> str:
        """What is wrong with this measurement, and what to do; empty if nothing is."""
        return "; ".join(self._complaints())

    def _complaints(self) -> list[str]:
        found = []
        if self.contended:
            share = self.disturbed_share
            how_much = "" if share is None else f": {share:.0%} of runs were interrupted"
            found.append(f"contended{how_much}, {self.estimator} is used; close other programs")
        if not self.stationary:
            found.append("never warmed up: run times still changed; let the device come to rest")
        if self.noise > UNSTABLE:
            found.append(f"unstable: p95/median {self.noise:.2f}; close other programs")
        if self.ci_ms is None:
            found.append(f"no interval from {self.runs} runs; measure longer")
        elif self.ci_ms[1] - self.ci_ms[0] > self.plan.ci_width * self.median_ms:
            width = (self.ci_ms[1] - self.ci_ms[0]) / self.median_ms
            found.append(f"95 % interval {width:.1%} wide, {self.plan.ci_width:.0%} was asked")
        return found

    def latency(self, device: str) -> Latency:
        """The figure, for the device that the user calls `device`."""
        extra = [f"{name} {statistics.median(times):.3g}" for name, times in self.series.items()]
        return Latency(
            ms=self.median_ms,
            ci_ms=self.ci_ms,
            p95_ms=self.p95_ms,
            provenance="measured",
            device=f"{device}: {self.fingerprint.describe(self.plan)}",
            runs=self.runs,
            contended=self.contended,
            note="; ".join(filter(None, [", ".join(extra), self.judgement])),
        )

    def to_json(self) -> dict[str, Any]:
        """All samples; what the store keeps."""
        return {
            **{name: getattr(self, name) for name in _AS_IS},
            "plan": self.plan.to_json(),
            "fingerprint": dict(self.fingerprint.facts),
            "wall_ms": list(self.wall_ms),
            "cpu_ms": list(self.cpu_ms),
            "switches": None if self.switches is None else list(self.switches),
            "series": {name: list(times) for name, times in self.series.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        switches = document["switches"]
        return cls(
            **{name: document[name] for name in _AS_IS},
            plan=MeasurePlan.from_json(document["plan"]),
            fingerprint=Fingerprint(document["fingerprint"]),
            wall_ms=tuple(document["wall_ms"]),
            cpu_ms=tuple(document["cpu_ms"]),
            switches=None if switches is None else tuple(switches),
            series={name: tuple(times) for name, times in document["series"].items()},
        )


_AS_IS = ("architecture", "warmup_runs", "stationary", "runnable", "measured_at")
