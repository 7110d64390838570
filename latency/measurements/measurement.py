"""Measurements of a device, and the latencies that follow from them.

A `Measurement` keeps every timed run. Each statistic is a property of the runs, so that a better
statistic can be applied to old measurements. A `Latency` is the figure that the rest of the
program uses; it carries its origin. Faults of a measurement show in the clocks,
temperatures and loads during it.
"""

import dataclasses
import reprlib
import statistics
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, NoReturn, Self, get_args

from nas_sv2.counts import counted
from nas_sv2.errors import MeasurementError
from nas_sv2.latency.agent import estimator
from nas_sv2.latency.agent.estimator import Samples
from nas_sv2.latency.measurements.conditions import QUOTA_USED_UP, device_complaints, quota_share
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.samples import columns_of, joined_samples, samples_from
from nas_sv2.latency.measurements.spread import NOT_SEEN, Repeatability, Repeated
from nas_sv2.latency.measurements.spread import Interval as Interval
from nas_sv2.plain_data import is_number, printable


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

SCHEMA = 3
"""The schema of a measurement's JSON; schema 2 had one session and no `starts`.

Schema 1 had no rounds and no reference network, and was never released."""
READ_SCHEMAS = (2, SCHEMA)
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
        ci_ms: The 95 % interval, in which the figure of a later command lies; None if nothing was
            run.
        p95_ms: The 95th percentile of the runs.
        provenance: The origin of the figure.
        device: Device, runtime, threads and batch in words.
        runs: Number of timed runs, of all sessions.
        contended: Whether other programs held the processor meanwhile.
        note: A remark on the figure: the judgement of a measurement, or the error of an emulator;
            empty if there is none.
        reference: Name of the reference network that was timed in alternation.
        ratio: The time of this network relative to the reference network.
        ratio_ci: The 95 % interval of the ratio.
        reference_ms: The time of the reference network in the same session, in ms.
        measured_at: The time of the measurement, UTC in ISO 8601; None if nothing was run.
        stored: Whether an earlier command measured it, and this one found it in the database.
        sessions: Number of sessions; None if nothing was run or it is not known.
        repeats: How well the device repeats, in words; empty if nothing was run.
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
    sessions: int | None = None
    repeats: str = ""

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
        for field_name in ("runs", "sessions"):
            count = getattr(self, field_name)
            if count is not None and not (is_number(count, 1) and isinstance(count, int)):
                self._refuse(field_name, "a whole number above 0")
        if not (self.contended is None or isinstance(self.contended, bool)):
            self._refuse("contended", "true, false or nothing")
        for field_name in ("device", "note", "reference", "repeats"):
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

    They are of one command, which held one or several sessions. A session is one process of the
    agent.

    Attributes:
        architecture: Digest of the architecture.
        plan: The protocol.
        fingerprint: The device and its runtime.
        samples: Its runs, in ms.
        warmup_runs: Runs before the first round.
        stationary: Whether the last two windows of warm-up agreed.
        session: Name of the first session. Measurements of one name are of the same sessions;
            their networks were timed in alternation, round by round.
        measured_at: The time of the measurement; UTC, ISO 8601.
        conditions: Clocks, temperature, load and more, before, during and after, as far as the
            system shows them (`host_facts.conditions`).
        heating: Seconds and ms of this network while it heated the device up; empty if the device
            was not heated or another network heated it.
        series: Further times of each run, in ms by name: `event_ms`, `graph_ms`,
            `graph_event_ms` on a GPU.
        beside: The reference network of the sessions; None if the plan names none.
        fallen_back: Nodes that ran on the CPU although the plan names another provider, and all
            nodes; None if it names none.
        starts: The first round of each session, in ascending order.
        repeatability: How well the device repeats. It is known to the database and no part of
            the measurement; it widens the intervals.
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
    starts: tuple[int, ...] = (0,)
    repeatability: Repeatability = field(default=NOT_SEEN, compare=False, repr=False)

    @classmethod
    def joined(cls, sessions: Sequence[Self], plan: MeasurePlan) -> Self:
        """Join the sessions of one command, which timed one network on one device.

        Args:
            sessions: A measurement of each session, in order.
            plan: The plan of all sessions together.
        """
        if len(sessions) == 1:
            return dataclasses.replace(sessions[0], plan=plan)
        lengths = [1 + max(one._all_rounds) for one in sessions]
        starts = tuple(sum(lengths[:number]) for number in range(len(sessions)))
        beside = None
        if (known := sessions[0].beside) is not None:
            runs = [one.beside.samples for one in sessions if one.beside is not None]
            beside = Beside(known.name, joined_samples(runs, starts))
        return dataclasses.replace(
            sessions[0],
            plan=plan,
            samples=joined_samples([one.samples for one in sessions], starts),
            warmup_runs=sum(one.warmup_runs for one in sessions),
            stationary=all(one.stationary for one in sessions),
            measured_at=sessions[-1].measured_at,
            # The first state of a session was read at rest.
            conditions=sessions[0].conditions
            + tuple(state for one in sessions[1:] for state in one.conditions[1:]),
            series={
                name: tuple(ms for one in sessions for ms in one.series[name])
                for name in sessions[0].series
            },
            beside=beside,
            starts=starts,
        )

    @property
    def _all_rounds(self) -> list[int]:
        beside = self.beside.samples.rounds if self.beside else ()
        return [*self.samples.rounds, *beside]

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
    def _repeats(self) -> Repeatability:
        """How well figures repeat that were taken as this one was."""
        known = self.repeatability
        return known.beside_others() if self.contended else known

    @cached_property
    def _runs_interval(self) -> Interval | None:
        """The 95 % interval that the runs alone leave open; None for fewer than 6 runs."""
        return estimator.median_interval(self.samples, self._choice)

    @cached_property
    def ci_ms(self) -> Interval | None:
        """The 95 % interval, in which a later command's figure lies; None for fewer than 6 runs.

        It is the widest of those of the runs, of the sessions, and of the device's repeatability.
        If the reference network's usual time is known, the interval also holds the figure at it.
        """
        if self._runs_interval is None:
            return None
        rounds = [self.samples.rounds[index] for index in self._choice.runs]
        sessions = self._by_session(zip(rounds, self._times, strict=True))
        found = Repeated(self.median_ms, sessions, self._repeats.ms)
        low, high = found.widened(self._runs_interval, later=True)
        slower = self.slower or 1.0
        return min(low, low / slower), min(max(high, high / slower), LONGEST_MS)

    @cached_property
    def ratio(self) -> tuple[float, Interval | None] | None:
        """The time relative to the reference network, and the 95 % interval.

        A later command's ratio lies in the interval; see `ci_ms`.
        """
        if self.beside is None:
            return None
        found = self._relative_to(self.beside.samples)
        if found is None:
            return None
        repeated, interval = found
        repeated = dataclasses.replace(repeated, spread=self._repeats.ratio)
        if interval is None:
            return repeated.figure, None
        low, high = repeated.widened(interval, later=True)
        return repeated.figure, (low, min(high, LONGEST_MS))

    def relative_to(self, other: "Measurement") -> tuple[float, Interval | None] | None:
        """Return the time relative to `other`, and the 95 % interval of its true value.

        None if no round has runs of both.

        Raises:
            ValueError: The two were not timed in one session, so nothing would cancel.
        """
        if self.session != other.session:
            raise ValueError("only networks of one session were timed in alternation")
        found = self._relative_to(other.samples)
        if found is None:
            return None
        repeated, interval = found
        return repeated.figure, None if interval is None else repeated.widened(interval)

    def round_ratios(self, other: Samples) -> Mapping[int, float]:
        """Return the time relative to a network of the same sessions, by round."""
        return estimator.round_ratios(self.samples, other, self.plan.cpu_time_is_latency)

    def repeated_ratio(self, ratios: Mapping[int, float]) -> Repeated:
        """Return the median of ratios by round, with that of each session."""
        known = self.repeatability
        spread = known.ratio if known.saw_ratios else None
        figure = statistics.median(ratios.values())
        return Repeated(figure, self._by_session(ratios.items()), spread)

    def _relative_to(self, other: Samples) -> tuple[Repeated, Interval | None] | None:
        ratios = self.round_ratios(other)
        if not ratios:
            return None
        return self.repeated_ratio(ratios), estimator.order_interval(list(ratios.values()))

    def _by_session(self, values: Iterable[tuple[int, float]]) -> tuple[float, ...]:
        """Return the median of each session of values with their rounds."""
        found: dict[int, list[float]] = {}
        for number, value in values:
            found.setdefault(bisect(self.starts, number), []).append(value)
        return tuple(statistics.median(each) for each in found.values())

    @property
    def slower(self) -> float | None:
        """The reference network's time relative to its usual one; None if that is not known."""
        usual_ms, now_ms = self.repeatability.reference_ms, self.reference_ms
        return None if usual_ms is None or now_ms is None else now_ms / usual_ms

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
        if self._is_crowded or self.stopped_by_quota:
            return self._is_crowded
        if self.disturbed_share is None:
            wall, cpu = map(statistics.median, self.samples[:2])
            return self.plan.cpu_time_is_latency and wall > estimator.WALL_OVER_CPU * cpu
        return self.disturbed_share > 1 - estimator.UNDISTURBED_SHARE

    @property
    def _is_crowded(self) -> bool:
        cores = len(self.fingerprint.facts.get("affinity") or ())
        wanted = [state["runnable"] for state in self.conditions if "runnable" in state]
        return bool(wanted) and 0 < cores < statistics.median_low(wanted)

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
            why = "" if share is None else f": {share:.0%} of runs were interrupted"
            if self._is_crowded and (share or 0) <= 1 - estimator.UNDISTURBED_SHARE:
                why = ": others wanted the same cores"
            found.append(f"contended{why}, {self.estimator} is used; close other programs")
        found += device_complaints(self.conditions)
        if self.beside and self.slower and (change := self._repeats.change(self.slower)):
            found.append(f"{self.beside.name} {change}")
        if abs(self.drift) > DRIFTING:
            found.append(f"the device drifted by {self.drift:+.0%} meanwhile; trust the ratio")
        if not self.stationary:
            found.append("never warmed up: run times still changed; let the device come to rest")
        if self.noise > UNSTABLE:
            has_advice = self.contended or self.stopped_by_quota
            advice = "" if has_advice else "; close other programs"
            found.append(f"unstable: p95/median {self.noise:.2f}{advice}")
        if self.ci_ms is None:
            found.append(f"no interval from {counted(self.runs, 'run')}; measure longer")
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
            sessions=len(self.starts),
            repeats=self._repeats.describe(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return all fields and samples, as the store keeps them."""
        beside = self.beside
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in _AS_IS},
            "plan": self.plan.to_json(),
            "fingerprint": dict(self.fingerprint.facts),
            "samples": columns_of(self.samples),
            "conditions": [dict(state) for state in self.conditions],
            "heating": [list(point) for point in self.heating],
            "series": {name: list(times) for name, times in self.series.items()},
            "beside": None if beside is None else [beside.name, columns_of(beside.samples)],
            "starts": list(self.starts),
            **({} if self.fallen_back is None else {"fallen_back": list(self.fallen_back)}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the measurement that `to_json` wrote, in this version or an earlier one.

        Raises:
            ValueError: The document has another schema.
        """
        if document.get("schema") not in READ_SCHEMAS:
            raise ValueError(f"schema {document.get('schema')}; this version reads {SCHEMA}")
        beside, fallen_back = document["beside"], document.get("fallen_back")
        return cls(
            **{name: document[name] for name in _AS_IS},
            plan=MeasurePlan.from_json(document["plan"]),
            fingerprint=Fingerprint(document["fingerprint"]),
            samples=samples_from(document["samples"]),
            conditions=tuple(document["conditions"]),
            heating=tuple((at_s, ms) for at_s, ms in document["heating"]),
            series={name: tuple(times) for name, times in document["series"].items()},
            beside=None if beside is None else Beside(beside[0], samples_from(beside[1])),
            starts=tuple(document.get("starts", (0,))),
            fallen_back=None if fallen_back is None else (fallen_back[0], fallen_back[1]),
        )


_AS_IS = ("architecture", "warmup_runs", "stationary", "session", "measured_at")
