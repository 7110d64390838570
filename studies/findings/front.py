"""The Pareto front: what no other candidate beats in accuracy and on every target at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import le
from typing import TypeVar

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


def compare_all(records: Mapping[int, Record]) -> list[Entry]:
    """Return an entry for every candidate, in the order of `records`.

    Only candidates within every limit can be on the front or beat one that is.
    """
    costs = {number: _costs(record) for number, record in records.items()}
    feasible = {number: costs[number] for number in records if records[number].feasible}
    beaten = find_dominators(feasible)
    front = {number: costs[number] for number, better in beaten.items() if better is None}
    for number in records.keys() - beaten:
        beaten[number] = _first_better(front, costs[number])
    return [Entry(number, record, beaten[number]) for number, record in records.items()]


def front_of(records: Mapping[int, Record]) -> list[Entry]:
    """The front, fastest first, and behind it the baselines that are not on it."""
    shown = [entry for entry in compare_all(records) if entry.on_front or entry.record.baseline]
    return sorted(shown, key=lambda entry: (not entry.on_front, entry.record.objectives[1:]))


def best_of(records: Mapping[int, Record]) -> int:
    """The trial of the front with the highest score.

    Raises:
        StoreError: No candidate keeps the limits yet.
    """
    front = [entry for entry in front_of(records) if entry.on_front]
    if not front:
        raise StoreError("no finished trial keeps every limit of the study yet")
    return max(front, key=lambda entry: entry.record.evaluation.score).number


@dataclass
class GrowingFront:
    """The front of a study that grows; only new candidates are compared with it.

    What is beaten stays beaten: what beats the one that beat it beats it too. Only if a record of
    the front itself was changed, as by a later measurement, are all compared again.
    """

    _shown: set[int] = field(default_factory=set)
    _seen: Mapping[int, Record] = field(default_factory=dict)

    def update(self, records: Mapping[int, Record]) -> tuple[list[Entry], list[Record]]:
        """Return `front_of(records)`, and those compared that are not in it.

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
        entries = front_of(compared)
        self._shown, self._seen = {entry.number for entry in entries}, records
        beaten = [record for number, record in compared.items() if number not in self._shown]
        return entries, beaten


def _costs(record: Record) -> Costs:
    score, *times = record.objectives
    return (-score, *times)


def _first_better(front: Mapping[K, Costs], costs: Costs) -> K | None:
    for key, theirs in front.items():
        if theirs != costs and all(map(le, theirs, costs)):
            return key
    return None
