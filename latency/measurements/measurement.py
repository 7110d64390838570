"""Measurements of a device, and the latencies that follow from them.

A `Measurement` keeps every timed run. Each statistic is a property of the runs, so that a better
statistic can be applied to old measurements. A `Latency` is the figure that the rest of the
program uses; it carries its origin. Faults of a measurement show in the clocks,
temperatures and loads during it.
"""

import dataclasses
import reprlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, NoReturn, Self, get_args

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.agent import estimator
from nas_sv2.latency.agent.estimator import Samples
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.plain_data import is_number, printable

CLOCK_DROP = 0.9
"""A clock below this share of the session's highest clock counts as throttled.

Governors at rest move a clock by a few percent; throttling lowers it by a step."""
STOLEN_SHARE = 0.01
"""Share of time taken by a hypervisor above which it is reported."""
QUOTA_USED_UP = 0.01
"""Share of the periods of a CPU quota that were cut short above which it is reported."""
GPU_IDLE_OR_USER = 0x1 | 0x2
"""Bits of NVIDIA's throttle reasons that are harmless: idle, or a clock set by the user."""


def device_complaints(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the faults of the device during a measurement; empty if none is known."""
    found = []
    for name, unit in (("khz", 1e3), ("gpu_mhz", 1.0)):
        clocks = column(conditions[1:], name)  # the first was read at rest
        if clocks and min(clocks) < CLOCK_DROP * max(clocks):
            low, high = min(clocks) / unit, max(clocks) / unit
            found.append(
                f"the clock fell from {high:.0f} to {low:.0f} MHz; fix it, or let it cool"
            )
    if _throttled(conditions):
        warmest = max(
            [*column(conditions, "celsius"), *column(conditions, "gpu_celsius")], default=0
        )
        at = f" at {warmest:.0f} °C" if warmest else ""
        found.append(f"the device throttled{at}; cool it, or time it hot (heat_s)")
    if any(column(conditions, "under_voltage")):
        found.append("the supply of the Raspberry Pi is too weak; use a stronger one")
    share = quota_share(conditions)
    if share > QUOTA_USED_UP:
        found.append(
            f"the CPU quota stopped it in {share:.0%} of the quota's periods: programs there take "
            "longer than this figure; raise the quota (docker --cpus, limits.cpu of Kubernetes)"
        )
    ticks, stolen = column(conditions, "ticks"), column(conditions, "stolen_ticks")
    if len(ticks) > 1 and len(stolen) > 1 and ticks[-1] > ticks[0]:
        share = (stolen[-1] - stolen[0]) / (ticks[-1] - ticks[0])
        if share > STOLEN_SHARE:
            found.append(f"{share:.0%} of the time went to other machines of this host")
    return found


def column(conditions: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return the values of one reading in order of time."""
    return [state[name] for state in conditions if isinstance(state.get(name), int | float)]


def quota_share(conditions: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of the CPU quota's periods in which it was used up; 0 without a quota."""
    periods = column(conditions, "quota_periods")
    stopped = column(conditions, "quota_throttled")
    if len(periods) < 2 or len(stopped) < 2 or periods[-1] <= periods[0]:
        return 0.0
    return (stopped[-1] - stopped[0]) / (periods[-1] - periods[0])


def _throttled(conditions: Sequence[Mapping[str, Any]]) -> bool:
    counts = column(conditions, "throttle_count")
    if len(counts) > 1 and counts[-1] > counts[0]:
        return True
    board = [_hexadecimal(state.get("throttled")) & 0xF for state in conditions]
    gpu = [_hexadecimal(state.get("gpu_throttled")) & ~GPU_IDLE_OR_USER for state in conditions]
    return any(board) or any(gpu)


def _hexadecimal(text: object) -> int:
    try:
        return int(str(text), 16)
    except ValueError:
        return 0


class NodeTime(NamedTuple):
    """A node of a model as the runtime ran it: the runtime's name and operator, and its µs."""

    name: str
    operator: str
    us: float


SHORTEST_MS, LONGEST_MS = 1e-6, 3.6e6
"""The limits of a run: a nanosecond, the unit of the clock, and an hour."""
LONGEST_TEXT = 1000
"""The limit of a text of a device in characters; onnxruntime describes its build in a hundred."""
LONGEST_NOTE = 4 * LONGEST_TEXT
"""The limit of the remarks on a figure, which quote texts of the device."""

Provenance = Literal["measured", "emulated", "predicted", "published"]
Interval = tuple[float, float]

SCHEMA = 2
"""The schema of a measurement's JSON.

Schema 1 had no rounds and no reference network, and was never released."""
UNSTABLE = 1.1
"""p95 / median above which runs are called unstable; at rest we saw 1.02-1.07."""
DRIFTING = 0.05
"""Change from the first third of a measurement to the last that is called drift.

At rest we saw up to 2 %."""


@dataclass(frozen=True, slots=True)
class Latency:
    """The time of one run of a network, in ms.

    Attributes:
        ms: The median of the runs, or the price of an emulator or predictor.
        ci_ms: The 95 % interval of the median; None if nothing was run.
        p95_ms: The 95th percentile of the runs.
        provenance: The origin of the figure.
        device: Device, runtime, threads and batch in words.
        runs: Number of timed runs.
        contended: Whether other programs held the processor meanwhile.
        note: A remark on the figure: the judgement of a measurement, or the error of an emulator;
            empty if there is none.
        reference: Name of the reference network that was timed in alternation.
        ratio: The time of this network relative to the reference network.
        ratio_ci: The 95 % interval of the ratio.
        reference_ms: The time of the reference network in the same session, in ms.
        measured_at: The time of the measurement, UTC in ISO 8601; None if nothing was run.
        stored: Whether an earlier command measured it, and this one found it in the database.
    """

    ms: float
    ci_ms: Interval | None
    p95_ms: float | None
    provenance: Provenance
    device: str
    runs: int | None
    contended: bool | None
    note: str
    reference: str | None = None
    ratio: float | None = None
    ratio_ci: Interval | None = None
    reference_ms: float | None = None
    measured_at: str | None = None
    stored: bool = False

    def __post_init__(self) -> None:
        """Refuse a figure that no network can have, whichever target it comes from.

        Raises:
            MeasurementError: A time is not finite, is not a time or contradicts its interval, or
                a text cannot be printed; names the device and the field.
        """
        for field_name, least in (("ms", SHORTEST_MS), ("p95_ms", self.ms), ("reference_ms", 0)):
            value = getattr(self, field_name)
            if field_name == "ms" or value is not None:
                self._check_time(field_name, value, max(least * NEARLY, SHORTEST_MS))
        self._check_interval("ci_ms", self.ci_ms, self.ms)
        if self.ratio is not None or self.ratio_ci is not None:
            self._check_time("ratio", self.ratio, SHORTEST_MS)
            self._check_interval("ratio_ci", self.ratio_ci, self.ratio)
        if self.provenance not in get_args(Provenance):
            self._refuse("provenance", f"one of {', '.join(get_args(Provenance))}")
        if self.runs is not None and not (is_number(self.runs, 1) and isinstance(self.runs, int)):
            self._refuse("runs", "a whole number above 0")
        if not (self.contended is None or isinstance(self.contended, bool)):
            self._refuse("contended", "true, false or nothing")
        for field_name in ("device", "note", "reference"):
            text = getattr(self, field_name)
            if not is_text(text, LONGEST_NOTE) and (field_name != "reference" or text is not None):
                self._refuse(field_name, f"a printable text of at most {LONGEST_NOTE} characters")

    def _check_time(self, name: str, value: object, least: float) -> None:
        if not is_number(value, least, LONGEST_MS):
            self._refuse(name, f"a number from {least:g} to {LONGEST_MS:g}")

    def _check_interval(self, name: str, interval: object, middle: Any) -> None:
        if interval is None:
            return
        if not (isinstance(interval, tuple) and len(interval) == 2):
            self._refuse(name, "a pair of numbers")
        low, high = interval
        if not (
            is_number(low, 0, middle / NEARLY) and is_number(high, middle * NEARLY, LONGEST_MS)
        ):
            self._refuse(name, f"finite numbers on both sides of {middle!r}")

    def _refuse(self, name: str, allowed: str) -> NoReturn:
        device = printable(self.device, 80) if isinstance(self.device, str) else "a device"
        got = printable(reprlib.repr(getattr(self, name)), 80)
        raise MeasurementError(f"{device}: {name} must be {allowed}; got {got}")

    @classmethod
    def of(cls, ms: float, provenance: Provenance, device: str, note: str = "") -> Self:
        """Make a latency without intervals, runs or a reference network."""
        return cls(ms, None, None, provenance, device, None, None, note)

    def scaled_to(self, reference_ms: float) -> Self:
        """Scale the latency as if the reference network had taken `reference_ms`.

        A cause that slows a device for longer than a tenth of a second slows both networks.
        Latencies that were taken hours apart are therefore comparable after scaling.

        Raises:
            ValueError: The latency was not measured beside a reference network.
        """
        if self.ratio is None or self.reference_ms is None:
            raise ValueError("no reference network was timed beside it")
        ms = self.ratio * reference_ms
        was = f"measured {self.ms:.3f} ms while {self.reference} took {self.reference_ms:.3f}"
        return dataclasses.replace(
            self,
            ms=ms,
            ci_ms=_scaled(self.ratio_ci, reference_ms),
            p95_ms=None if self.p95_ms is None else self.p95_ms * (ms / self.ms),
            note="; ".join(filter(None, [was, self.note])),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, with intervals as lists."""
        document = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in document.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the latency that `to_json` wrote; a field that is absent takes its default."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document.items()
        }
        return cls(**fields)


NEARLY = 1 - 1e-9
"""What rounding may change."""


def is_text(value: object, longest: int = LONGEST_TEXT) -> bool:
    """Whether a value is a text that can be printed safely, without escape codes."""
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    return None if interval is None else (interval[0] * factor, interval[1] * factor)


@dataclass(frozen=True, slots=True)
class Beside:
    """The reference network's runs in the rounds of a measurement.

    Attributes:
        name: The name of the network.
        samples: Its runs, in ms.
    """

    name: str
    samples: Samples


@dataclass(frozen=True)
class Measurement:
    """The timed runs of one network on one device, without warm-up and settling runs.

    Attributes:
        architecture: Digest of the architecture.
        plan: The protocol.
        fingerprint: The device and its runtime.
        samples: Its runs, in ms.
        warmup_runs: Runs before the first round.
        stationary: Whether the last two windows of warm-up agreed.
        session: Name of the session; its networks were timed in alternation, round by round.
        measured_at: The time of the measurement; UTC, ISO 8601.
        conditions: Clocks, temperature, load and more, before, during and after, as far as the
            system shows them (`host_facts.conditions`).
        heating: Seconds and ms of this network while it heated the device up; empty if the device
            was not heated or another network heated it.
        series: Further times of each run, in ms by name: `event_ms`, `graph_ms`,
            `graph_event_ms` on a GPU.
        beside: The reference network of the session; None if the plan names none.
        fallen_back: Nodes that ran on the CPU although the plan names another provider, and all
            nodes; None if it names none.
    """

    architecture: str
    plan: MeasurePlan
    fingerprint: Fingerprint
    samples: Samples
    warmup_runs: int
    stationary: bool
    session: str
    measured_at: str
    conditions: tuple[Mapping[str, Any], ...] = ()
    heating: tuple[tuple[float, float], ...] = ()
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    beside: Beside | None = None
    fallen_back: tuple[int, int] | None = None

    @cached_property
    def _choice(self) -> estimator.Choice:
        return estimator.chosen(self.samples, self.plan.cpu_time_is_latency)

    @cached_property
    def _times(self) -> list[float]:
        return estimator.times_of(self.samples, self._choice)

    @property
    def estimator(self) -> str:
        """The name of the times that the figures are taken from.

        - `undisturbed wall time`, of runs without an involuntary context switch, if nearly all
          runs are undisturbed.
        - Otherwise, if one thread does all the work, `settled thread CPU time` of the runs with
          warm caches. If those are too few, `thread CPU time` of all runs.
        - Otherwise, as CPU time is not the time of the network: undisturbed runs even if they are
          few, else `wall time`.
        """
        return self._choice.estimator

    @property
    def runs(self) -> int:
        """Number of timed runs, including those that the figures do not use."""
        return len(self.samples.wall)

    @property
    def median_ms(self) -> float:
        """The latency: the median of the runs that count, in ms."""
        return statistics.median(self._times)

    @property
    def p95_ms(self) -> float:
        """The 95th percentile of the runs that count, in ms."""
        times = sorted(self._times)
        return times[-(-95 * len(times) // 100) - 1]

    @cached_property
    def ci_ms(self) -> Interval | None:
        """The 95 % interval of the median, for any distribution; None for fewer than 6 runs."""
        return estimator.median_interval(self.samples, self._choice)

    @cached_property
    def ratio(self) -> tuple[float, Interval | None] | None:
        """The time relative to the reference network, and the 95 % interval."""
        return None if self.beside is None else self._relative_to(self.beside.samples)

    def relative_to(self, other: "Measurement") -> tuple[float, Interval | None] | None:
        """Return the time relative to `other`, and the 95 % interval.

        Raises:
            ValueError: The two were not timed in one session, so nothing would cancel.
        """
        if self.session != other.session:
            raise ValueError("only networks of one session were timed in alternation")
        return self._relative_to(other.samples)

    def _relative_to(self, samples: Samples) -> tuple[float, Interval | None] | None:
        return estimator.ratio_interval(self.samples, samples, self.plan.cpu_time_is_latency)

    @cached_property
    def reference_ms(self) -> float | None:
        """The median of the reference network in the same rounds, in ms."""
        if self.beside is None:
            return None
        samples = self.beside.samples
        choice = estimator.chosen(samples, self.plan.cpu_time_is_latency)
        return statistics.median(estimator.times_of(samples, choice))

    @property
    def disturbed_share(self) -> float | None:
        """Share of runs that context switches disturbed; None if they are not counted."""
        if self.samples.switches is None:
            return None
        undisturbed = estimator.undisturbed_runs(self.samples, self.plan.cpu_time_is_latency)
        return 1 - len(undisturbed) / self.runs

    @property
    def stopped_by_quota(self) -> bool:
        """Whether a CPU quota was used up meanwhile, which interrupts as other programs do."""
        return quota_share(self.conditions) > QUOTA_USED_UP

    @property
    def contended(self) -> bool:
        """Whether other programs held the processor for a part of the runs, or wanted to.

        A scheduler may not interrupt a short measurement although other programs want every core.
        They share caches and memory even then. Interruptions by a CPU quota do not count.
        """
        cores = len(self.fingerprint.facts.get("affinity") or ())
        wanted = [state["runnable"] for state in self.conditions if "runnable" in state]
        if wanted and 0 < cores < statistics.median_low(wanted):
            return True
        if self.stopped_by_quota:
            return False
        if self.disturbed_share is None:
            wall, cpu = map(statistics.median, self.samples[:2])
            return self.plan.cpu_time_is_latency and wall > estimator.WALL_OVER_CPU * cpu
        return self.disturbed_share > 1 - estimator.UNDISTURBED_SHARE

    @property
    def noise(self) -> float:
        """p95 / median of the runs that count; 1 is a device that never varies."""
        return self.p95_ms / self.median_ms

    @cached_property
    def drift(self) -> float:
        """Slowdown from the first third of the runs that count to the last, a share.

        If there is a reference network, its runs count, because its drift is the device's.
        """
        samples = self.beside.samples if self.beside else self.samples
        choice = estimator.chosen(samples, self.plan.cpu_time_is_latency)
        times = estimator.times_of(samples, choice)
        third = max(1, len(times) // 3)
        return statistics.median(times[-third:]) / statistics.median(times[:third]) - 1

    @property
    def judgement(self) -> str:
        """The faults of this measurement and their remedies; empty if it has none."""
        return "; ".join(self._complaints())

    def _complaints(self) -> list[str]:
        found = []
        if self.contended:
            share = self.disturbed_share
            how_much = "" if share is None else f": {share:.0%} of runs were interrupted"
            found.append(f"contended{how_much}, {self.estimator} is used; close other programs")
        found += device_complaints(self.conditions)
        if abs(self.drift) > DRIFTING:
            found.append(f"the device drifted by {self.drift:+.0%} meanwhile; trust the ratio")
        if not self.stationary:
            found.append("never warmed up: run times still changed; let the device come to rest")
        if self.noise > UNSTABLE:
            has_advice = self.contended or self.stopped_by_quota
            advice = "" if has_advice else "; close other programs"
            found.append(f"unstable: p95/median {self.noise:.2f}{advice}")
        if self.ci_ms is None:
            found.append(f"no interval from {self.runs} runs; measure longer")
        elif self.ci_ms[1] - self.ci_ms[0] > self.plan.ci_width * self.median_ms:
            width = (self.ci_ms[1] - self.ci_ms[0]) / self.median_ms
            found.append(f"95 % interval {width:.1%} wide, {self.plan.ci_width:.0%} was asked")
        return found

    def latency(self, device: str, stored: bool = False) -> Latency:
        """Return the latency, for the device that the user calls `device`.

        Args:
            device: The user's name for the device.
            stored: Whether the measurement was found in the database.
        """
        notes = [f"{name} {statistics.median(times):.3g}" for name, times in self.series.items()]
        if self.fallen_back is not None and self.fallen_back[0]:
            notes.append("{} of {} nodes fell back to the CPU".format(*self.fallen_back))
        if self.plan.heat_s:
            notes.append(f"after {self.plan.heat_s / 60:.1f} min of running")
        if self.heating:
            notes.append(f"{self.heating[0][1]:.3f} ms at first")
        ratio, ratio_ci = self.ratio or (None, None)
        if self.beside and self.plan.precision != "fp32":
            notes.append(f"its ratio is to {self.beside.name} in {self.plan.precision}")
        emulator = self.fingerprint.facts.get("emulator")
        if emulator:
            notes.append(f"ran under {emulator}: no latency of any device")
        return Latency(
            ms=self.median_ms,
            ci_ms=self.ci_ms,
            p95_ms=self.p95_ms,
            provenance="emulated" if emulator else "measured",
            device=f"{device}: {self.fingerprint.describe(self.plan)}",
            runs=self.runs,
            contended=self.contended,
            note="; ".join(filter(None, [", ".join(notes), self.judgement])),
            reference=None if self.beside is None else self.beside.name,
            ratio=ratio,
            ratio_ci=ratio_ci,
            reference_ms=self.reference_ms,
            measured_at=self.measured_at,
            stored=stored,
        )

    def to_json(self) -> dict[str, Any]:
        """Return all fields and samples, as the store keeps them."""
        beside = self.beside
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in _AS_IS},
            "plan": self.plan.to_json(),
            "fingerprint": dict(self.fingerprint.facts),
            "samples": _columns(self.samples),
            "conditions": [dict(state) for state in self.conditions],
            "heating": [list(point) for point in self.heating],
            "series": {name: list(times) for name, times in self.series.items()},
            "beside": None if beside is None else [beside.name, _columns(beside.samples)],
            **({} if self.fallen_back is None else {"fallen_back": list(self.fallen_back)}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the measurement that `to_json` wrote.

        Raises:
            ValueError: The document has another schema.
        """
        if document.get("schema") != SCHEMA:
            raise ValueError(f"schema {document.get('schema')}; this version reads {SCHEMA}")
        beside, fallen_back = document["beside"], document.get("fallen_back")
        return cls(
            **{name: document[name] for name in _AS_IS},
            plan=MeasurePlan.from_json(document["plan"]),
            fingerprint=Fingerprint(document["fingerprint"]),
            samples=_samples(document["samples"]),
            conditions=tuple(document["conditions"]),
            heating=tuple((at_s, ms) for at_s, ms in document["heating"]),
            series={name: tuple(times) for name, times in document["series"].items()},
            beside=None if beside is None else Beside(beside[0], _samples(beside[1])),
            fallen_back=None if fallen_back is None else (fallen_back[0], fallen_back[1]),
        )


_AS_IS = ("architecture", "warmup_runs", "stationary", "session", "measured_at")


def _columns(samples: Samples) -> dict[str, Any]:
    return {name: None if v is None else list(v) for name, v in samples._asdict().items()}


def _samples(columns: Mapping[str, Any]) -> Samples:
    switches = columns["switches"]
    return Samples(
        wall=tuple(columns["wall"]),
        cpu=tuple(columns["cpu"]),
        switches=None if switches is None else tuple(switches),
        rounds=tuple(columns["rounds"]),
    )
