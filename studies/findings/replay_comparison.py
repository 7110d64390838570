"""A study on one target beside the same networks on another: what moved, and in what order.

Accuracies are the same on both sides, so whatever changes is the latency.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nas_sv2.latency.measurements.head_to_head import EMULATOR_ERROR
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.studies.findings.front import compare_all
from nas_sv2.studies.findings.rank_agreement import Estimate, kendall, spearman
from nas_sv2.studies.findings.record import Record

MOST_RANKED = 200
"""Networks of which ranks are compared; resampling takes a second for so many, and more add
little: an interval is then about ±0.05 wide."""
FEWEST_RANKED = 3


@dataclass(frozen=True)
class Move:
    """One network on both targets.

    Attributes:
        number: Its trial in the new study.
        before: What the old study knows.
        after: The same with the latency on the new target.
        was_on: Whether it was on the front, among the networks that both sides know.
        is_on: Whether it is on the new front.
        old_rival: Trial of the old front that beat it, by its new number; None for none.
        new_rival: Trial of the new front that beats it.
    """

    number: int
    before: Record
    after: Record
    was_on: bool
    is_on: bool
    old_rival: int | None
    new_rival: int | None

    @property
    def change(self) -> str:
        """`enters`, `leaves`, `stays` or, where it is on neither front, nothing."""
        if self.was_on == self.is_on:
            return "stays" if self.is_on else ""
        return "enters" if self.is_on else "leaves"


@dataclass(frozen=True)
class Comparison:
    """Two targets, over the networks that both know.

    Attributes:
        old_target: The one that the study was made for.
        target: The one that it was replayed on.
        moves: Of each network, in the order of the new trials.
    """

    old_target: str
    target: str
    moves: tuple[Move, ...]

    def old_ms(self, move: Move) -> float:
        """Its latency on the old target."""
        return move.before.latencies[self.old_target].ms

    def new_ms(self, move: Move) -> float:
        """Its latency on the new one."""
        return move.after.latencies[self.target].ms

    def factor(self, move: Move) -> float:
        """How many times as long it takes on the new target."""
        return self.new_ms(move) / self.old_ms(move)

    @property
    def scored_by(self) -> str:
        """What the networks are compared by, beside their latencies."""
        return self.moves[0].after.evaluation.scored_by

    @cached_property
    def typical(self) -> float:
        """The median factor."""
        return statistics.median(self.factor(move) for move in self.moves)

    @cached_property
    def tau(self) -> Estimate | None:
        """Kendall's τ of the two latencies; None of fewer than three networks."""
        return self._ranked and kendall(*self._ranked)

    @cached_property
    def rho(self) -> Estimate | None:
        """Spearman's ρ of the two."""
        return self._ranked and spearman(*self._ranked)

    @property
    def changed(self) -> list[Move]:
        """Who came or went, the most accurate first."""
        found = [move for move in self.moves if move.change in ("enters", "leaves")]
        return sorted(found, key=lambda move: -move.after.evaluation.score)

    def find(self, number: int) -> Move:
        """The network of a trial of the new study."""
        return next(move for move in self.moves if move.number == number)

    @cached_property
    def _ranked(self) -> tuple[Sequence[Sequence[float]], Sequence[float]] | None:
        step = -(-len(self.moves) // MOST_RANKED)
        moves = self.moves[::step]
        if len(moves) < FEWEST_RANKED:
            return None
        return [[self.old_ms(move) for move in moves]], [self.new_ms(move) for move in moves]


def compare(
    old: Mapping[int, Record], new: Mapping[int, Record], old_target: str, target: str
) -> Comparison:
    """What moved between two studies of the same networks.

    Args:
        old: Records of the study by trial.
        new: Those of its replay; networks that only one side knows count on neither.
        old_target: Whose latencies are compared with; a target of the old study.
        target: The one of the replay.
    """
    numbers = {record.architecture.digest: number for number, record in new.items()}
    before = {
        numbers[record.architecture.digest]: record
        for record in old.values()
        if record.architecture.digest in numbers
    }
    after = {number: new[number] for number in sorted(before)}
    was, now = ({e.number: e for e in compare_all(each)} for each in (before, after))
    return Comparison(
        old_target,
        target,
        tuple(
            Move(
                number,
                before[number],
                record,
                was[number].on_front,
                now[number].on_front,
                was[number].beaten_by,
                now[number].beaten_by,
            )
            for number, record in after.items()
        ),
    )


def tied(one: Latency, other: Latency) -> bool:
    """Whether two latencies of one target cannot be told apart.

    Measured ones where their 95 % intervals overlap; ones without an interval where they are
    nearer to each other than the error of an emulator.
    """
    if one.ci_ms is not None and other.ci_ms is not None:
        return one.ci_ms[0] <= other.ci_ms[1] and other.ci_ms[0] <= one.ci_ms[1]
    low, high = sorted((one.ms, other.ms))
    return high <= low * (1 + EMULATOR_ERROR)
