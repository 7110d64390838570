"""The Pareto front: what no other candidate beats in accuracy and on every target at once.

Accuracy is the mean of the fused estimate, or the training's score in a study without estimates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from operator import le
from typing import Any, TypeVar

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.studies.findings.fused_estimate import Estimates, FusedEstimate
from nas_sv2.studies.findings.record import Record

NONE: Estimates = {}


@dataclass(frozen=True)
class Entry:
    """One row of a front's table.

    Attributes:
        number: The trial.
        record: Its cost, latencies and evaluation.
        beaten_by: The trial of the front that dominates it, or None where it is on the front.
        estimate: Its fused estimate; None if the study has no estimates.
    """

    number: int
    record: Record
    beaten_by: int | None = None
    estimate: FusedEstimate | None = None

    @property
    def believed(self) -> float:
        """The score by which it is compared: the estimate's mean, or else the training's."""
        return self.record.evaluation.score if self.estimate is None else self.estimate.mean

    @property
    def on_front(self) -> bool:
        """Whether it is feasible and nothing dominates it."""
        return self.record.feasible and self.beaten_by is None

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain data."""
        record, cost, evaluation = self.record, self.record.cost, self.record.evaluation
        return {
            "trial": self.number,
            "name": record.baseline or record.architecture.digest,
            "digest": record.architecture.digest,
            "flops": cost.flops,
            "params": cost.params,
            "peak_memory_bytes": record.memory_bytes,
            "detector_flops": record.detector_flops,
            "memory_access_bytes": cost.memory_access_bytes,
            "elementwise_bytes": cost.elementwise_bytes,
            "kernel_count": cost.kernel_count,
            "baseline": record.baseline,
            "on_front": self.on_front,
            "beaten_by": self.beaten_by,
            "feasible": record.feasible,
            "excesses": dict(record.excesses),
            "accuracy": evaluation.accuracy,
            "mean_ap": evaluation.mean_ap,
            "box_ap": evaluation.box_ap,
            "box_ap50": evaluation.box_ap50,
            "mae": evaluation.mae,
            "float_accuracy": evaluation.float_accuracy,
            "balanced_accuracy": evaluation.balanced_accuracy,
            "majority": evaluation.majority,
            "loss": evaluation.loss,
            "scored_by": evaluation.scored_by,
            "score": evaluation.score,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "spread": evaluation.spread,
            "recipe": evaluation.recipe,
            "seed": evaluation.seed,
            "data": evaluation.data,
            "latencies": {name: latency.to_json() for name, latency in record.latencies.items()},
        }


Costs = tuple[float, ...]
"""What a candidate is compared by, all to be minimised."""
K = TypeVar("K")


def find_dominators(costs: Mapping[K, Costs]) -> dict[K, K | None]:
    """Return a member of the front that beats each candidate; None for the members themselves.

    One candidate beats another if it is as good in everything and better in something.
    """
    front: dict[K, Costs] = {}
    beaten: dict[K, K | None] = {}
    # In this order a candidate comes after all that beat it. One of these is on the front, for
    # what beats it beats the candidate too.
    for key in sorted(costs, key=costs.__getitem__):
        beaten[key] = _first_better(front, costs[key])
        if beaten[key] is None:
            front[key] = costs[key]
    return beaten


def compare_all(records: Mapping[int, Record], estimates: Estimates = NONE) -> list[Entry]:
    """Return an entry for every candidate, in the order of `records`.

    Only candidates within every limit can be on the front or beat one that is.
    """
    costs = {number: _costs(record, estimates.get(number)) for number, record in records.items()}
    feasible = {number: costs[number] for number in records if records[number].feasible}
    beaten = find_dominators(feasible)
    front = {number: costs[number] for number, better in beaten.items() if better is None}
    for number in records.keys() - beaten:
        beaten[number] = _first_better(front, costs[number])
    return [
        Entry(number, record, beaten[number], estimates.get(number))
        for number, record in records.items()
    ]


def _front_first(records: Mapping[int, Record], estimates: Estimates = NONE) -> list[Entry]:
    """The front, fastest first, and behind it the baselines that are not on it."""
    entries = compare_all(records, estimates)
    shown = [entry for entry in entries if entry.on_front or entry.record.baseline]
    return sorted(shown, key=lambda entry: (not entry.on_front, entry.record.objectives[1:]))


@dataclass
class GrowingFront:
    """The front of a study that grows; only new candidates are compared with it.

    A beaten candidate stays beaten: whichever beats the one that beat it beats it too. Only if a
    record of the front itself was changed, as by a later measurement, are all compared again.
    """

    _shown: set[int] = field(default_factory=set)
    _seen: Mapping[int, Record] = field(default_factory=dict)

    def update(self, records: Mapping[int, Record]) -> list[Entry]:
        """Return the entries of the front.

        Args:
            records: Every record of the study by its trial, as it is now.
        """
        if all(records.get(number) is self._seen[number] for number in self._shown):
            compared = {
                number: record
                for number, record in records.items()
                if number in self._shown or self._seen.get(number) is not record
            }
        else:
            compared = dict(records)
        entries = _front_first(compared)
        self._shown, self._seen = {entry.number for entry in entries}, records
        return entries


def _costs(record: Record, estimate: FusedEstimate | None) -> Costs:
    score, *times = record.objectives
    return (-(score if estimate is None else estimate.mean), *times)


def _first_better(front: Mapping[K, Costs], costs: Costs) -> K | None:
    for key, theirs in front.items():
        if theirs != costs and all(map(le, theirs, costs)):
            return key
    return None


@dataclass(frozen=True)
class Row:
    """One row of a front as it is shown.

    Attributes:
        cells: A text for each of `Front.columns`.
        on_front: Whether the candidate is on the front, or a baseline behind it.
    """

    cells: tuple[str, ...]
    on_front: bool


@dataclass(frozen=True)
class Front:
    """The front of a study and, behind it, its other baselines.

    It prints as a table, shows as one in a notebook, and `to_json` gives the same as plain data.

    Attributes:
        records: Every record of the study by its trial.
        estimates: The fused estimates; empty where the study has none.
        is_proxy: Whether accuracies are of another network than the timed one.
        of_boxes: Whether the networks are backbones of detectors.
    """

    records: Mapping[int, Record]
    estimates: Estimates = field(default_factory=dict)
    is_proxy: bool = False
    of_boxes: bool = False

    @cached_property
    def entries(self) -> list[Entry]:
        """The members, fastest first, then the baselines that are not on the front."""
        return _front_first(self.records, self.estimates)

    @property
    def members(self) -> list[Entry]:
        """The entries that are on the front."""
        return [entry for entry in self.entries if entry.on_front]

    @property
    def best(self) -> Entry:
        """The member that is believed to have the highest score.

        Raises:
            ConfigError: No candidate keeps the limits yet.
        """
        if not self.members:
            allowed = "must wait: no finished trial keeps every limit of the study yet"
            raise ConfigError("trial", "best", allowed)
        return max(self.members, key=lambda entry: entry.believed)

    @property
    def targets(self) -> list[str]:
        """The targets of the study; empty before its first record."""
        return list(next(iter(self.records.values())).latencies) if self.records else []

    @property
    def columns(self) -> tuple[str, ...]:
        """The heads of the columns."""
        times = (f"{name} ms\n({' and '.join(self._kinds(name))})" for name in self.targets)
        figure = (f"{self._figure} int8", "float32") if self._in_int8 else (self._figure,)
        names = (*figure, *(("balanced",) if self._uneven else ()))
        scores = (*names, *self._compared)
        shown = (f"{name}\n(proxy)" if self.is_proxy else name for name in scores)
        last = ("AP50",) if self.of_boxes else ("loss",) if self._has_loss else ()
        trained = (*(("memory",) if self._limits_memory else ()), *shown, *last)
        if not self.estimates:
            return ("trial", "network", *self._costs, *trained, *times, "beaten by")
        chances = ("on\nfront", "beats a\nbaseline")
        return (
            *("trial", "network", "MFLOPs"),
            *trained,
            *("expected\n(90 %)", *times, *chances, "beaten\nby"),
        )

    @property
    def rows(self) -> list[Row]:
        """The rows in the order of `entries`; "beaten by" names a trial or the broken limit."""
        return [Row(self._cells(entry), entry.on_front) for entry in self.entries]

    def describe_beyond(self) -> str:
        """Name the trials that finished beyond the budget, with the limits; empty without any."""
        broken = {number: record.beyond_budget for number, record in self.records.items()}
        trials = [f"{number} ({', '.join(names)})" for number, names in broken.items() if names]
        if not trials:
            return ""
        return f"beyond the budget, finished but never on the front: trials {', '.join(trials)}"

    def to_json(self) -> list[dict[str, Any]]:
        """The entries as plain data."""
        return [entry.to_json() for entry in self.entries]

    def __str__(self) -> str:
        """The table as plain text."""
        head = [column.replace("\n", " ") for column in self.columns]
        lines = [head, *(list(row.cells) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if index == 1 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        """The table for a notebook; names may hold any character."""
        head = "".join(f"<th>{escape(column)}</th>" for column in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.cells)}</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    @property
    def _costs(self) -> tuple[str, ...]:
        """The heads of the columns of cost, which is that of the backbone of a detector."""
        heads = ("MFLOPs", "Mparams")
        if not self.of_boxes:
            return heads
        whole = ("detector\nMFLOPs",) if self._counts_detectors else ()
        return (*(f"backbone\n{head}" for head in heads), *whole)

    @cached_property
    def _uneven(self) -> bool:
        return any(record.evaluation.uneven for record in self.records.values())

    @cached_property
    def _figure(self) -> str:
        """The name of the figure that a study shows first."""
        evaluations = (each.evaluation for each in self.records.values())
        otherwise = facts_of("box_ap" if self.of_boxes else "accuracy").name
        return next((each.figure.name for each in evaluations), otherwise)

    @cached_property
    def _compared(self) -> tuple[str, ...]:
        """The name of the compared score, if no other column has it."""
        found = (each.evaluation for each in self.records.values())
        names = (facts_of(each.scored_by).name for each in found if each.shows_score)
        return tuple(dict.fromkeys(names))[:1]

    @cached_property
    def _in_int8(self) -> bool:
        return any(one.evaluation.float_accuracy is not None for one in self.records.values())

    @cached_property
    def _has_loss(self) -> bool:
        """Whether a loss stands beside the figure; that of numbers is the figure."""
        return all(record.evaluation.mae is None for record in self.records.values())

    @cached_property
    def _counts_detectors(self) -> bool:
        return any(record.detector_flops is not None for record in self.records.values())

    @cached_property
    def _limits_memory(self) -> bool:
        return any(record.memory_bytes is not None for record in self.records.values())

    def _kinds(self, target: str) -> list[str]:
        """The provenances of the latencies on a target, each once."""
        found = (record.latencies[target].provenance for record in self.records.values())
        return list(dict.fromkeys(found))

    def _cells(self, entry: Entry) -> tuple[str, ...]:
        record, evaluation = entry.record, entry.record.evaluation
        own = evaluation.scored_by == evaluation.figure.by
        spread = evaluation.describe_spread() if own else ""
        return (
            str(entry.number),
            record.baseline or record.architecture.digest[:8],
            f"{record.cost.flops / 1e6:.1f}",
            *([] if self.estimates else [f"{record.cost.params / 1e6:.2f}"]),
            *([_millions(record.detector_flops)] if self._counts_detectors else []),
            *([_memory(record.memory_bytes)] if self._limits_memory else []),
            f"{evaluation.figure.describe()} {spread}".rstrip(),
            *([_percent(evaluation.box_ap50)] if self.of_boxes else []),
            *([_percent(evaluation.float_accuracy)] if self._in_int8 else []),
            *([_percent(evaluation.balanced_accuracy)] if self._uneven else []),
            *(facts_of(evaluation.scored_by).value(evaluation.score) for _ in self._compared),
            *([evaluation.describe_loss(3)] if self._has_loss and not self.of_boxes else []),
            *([] if entry.estimate is None else [str(entry.estimate)]),
            *(
                _shown_ms(record.latencies[name], several=len(self._kinds(name)) > 1)
                for name in self.targets
            ),
            *([] if entry.estimate is None else entry.estimate.chances),
            _beaten_by(entry),
        )


def _millions(flops: int | None) -> str:
    return "–" if flops is None else f"{flops / 1e6:.1f}"


def _memory(size_bytes: int | None) -> str:
    return "–" if size_bytes is None else memory_in_words(size_bytes)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _shown_ms(latency: Latency, several: bool) -> str:
    """Milliseconds, with the provenance if the column has `several`; `?` marks a prediction."""
    mark = "?" if latency.provenance == "predicted" else "*" if latency.contended else ""
    kind = f" {latency.provenance}" if several and latency.provenance != "predicted" else ""
    if latency.ci_ms is None:
        return f"{latency.ms:.2f}{mark}{kind}"
    low, high = latency.ci_ms
    return f"{latency.ms:.2f} ±{(high - low) / 2:.2f}{mark}{kind}"


def _beaten_by(entry: Entry) -> str:
    if entry.on_front:
        return ""
    if entry.record.feasible:
        return str(entry.beaten_by)
    return max(entry.record.excesses, key=entry.record.excesses.__getitem__)
