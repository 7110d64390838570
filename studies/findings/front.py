"""The Pareto front: what no other candidate beats in accuracy and on every target at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import le

from nas_sv2.errors import StoreError
from nas_sv2.studies.findings.record import Record


@dataclass(frozen=True)
class Entry:
    """One row of a front's table.

    Attributes:
        number: The trial.
        record: What was found.
        beaten_by: The trial of the front that dominates it, or None where it is on the front.
    """

    number: int
    record: Record
    beaten_by: int | None = None

    @property
    def on_front(self) -> bool:
        """Whether it is feasible and nothing dominates it."""
        return self.record.feasible and self.beaten_by is None


def standings(records: Mapping[int, Record]) -> list[Entry]:
    """Where every candidate stands, in the order of `records`.

    Only candidates within every limit can be on the front or beat one that is.
    """
    costs = {number: _best_first(record) for number, record in records.items()}
    front: dict[int, tuple[float, ...]] = {}
    beaten: dict[int, int | None] = {}
    # The most accurate first and the fastest of equals: what beats one stands before it, and on
    # the front, for what beats that beats it too.
    feasible = (number for number, record in records.items() if record.feasible)
    for number in sorted(feasible, key=costs.__getitem__):
        beaten[number] = _beaten_by(front, costs[number])
        if beaten[number] is None:
            front[number] = costs[number]
    for number in records.keys() - beaten:
        beaten[number] = _beaten_by(front, costs[number])
    return [Entry(number, record, beaten[number]) for number, record in records.items()]


def front_of(records: Mapping[int, Record]) -> list[Entry]:
    """The front, fastest first, and behind it the baselines that are not on it."""
    shown = [entry for entry in standings(records) if entry.on_front or entry.record.baseline]
    return sorted(shown, key=lambda entry: (not entry.on_front, entry.record.objectives[1:]))


def _best_first(record: Record) -> tuple[float, ...]:
    """The objectives, all to be minimised."""
    score, *times = record.objectives
    return (-score, *times)


def _beaten_by(front: Mapping[int, tuple[float, ...]], costs: tuple[float, ...]) -> int | None:
    """The first of `front` that is as good in everything and better in something.

    As `Record.dominates`, but thousands are compared after each trial.
    """
    for number, theirs in front.items():
        if theirs != costs and all(map(le, theirs, costs)):
            return number
    return None


def best_of(records: Mapping[int, Record]) -> int:
    """The trial of the front with the highest score.

    Raises:
        StoreError: No candidate keeps the limits yet.
    """
    front = [entry for entry in front_of(records) if entry.on_front]
    if not front:
        raise StoreError("no finished trial keeps every limit of the study yet")
    return max(front, key=lambda entry: entry.record.evaluation.score).number
