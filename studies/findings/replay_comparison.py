"""Compares a study on one target with the same networks on another: what moved, and why.

Trainings are the same on both sides, so that only the latency changes. The reason for a change
of the front is first the rival, and how the two stand on either target. If the operators of a
target are priced (`latency.breakdown`), it is also the kind of operator that makes the difference.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nas_sv2.errors import MeasurementError
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.latency.breakdown.priced import Breakdown
from nas_sv2.latency.measurements.head_to_head import EMULATED_TIE
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.spread import apart
from nas_sv2.studies.findings.front import Front, compare_all
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
        before: The record of the old study.
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
class ReplayComparison:
    """Two targets, over the networks that both know.

    Attributes:
        old_target: The one that the study was made for.
        target: The one that it was replayed on.
        moves: The networks, in the order of the new trials.
        expected: Whether the fronts follow the scores that are expected of longer trainings.
    """

    old_target: str
    target: str
    moves: tuple[Move, ...]
    expected: bool = False

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
        """The score by which the networks are compared, beside their latencies."""
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


def compare(old: Front, new: Front, old_target: str, target: str) -> ReplayComparison:
    """Compare two studies of the same networks.

    Args:
        old: The front of the study, with its estimates.
        new: That of its replay; networks that only one side knows count on neither.
        old_target: Whose latencies are compared with; a target of the old study.
        target: The one of the replay.
    """
    numbers = {record.architecture.digest: number for number, record in new.records.items()}
    known = {
        numbers[record.architecture.digest]: number
        for number, record in old.records.items()
        if record.architecture.digest in numbers
    }
    before = {number: old.records[was] for number, was in known.items()}
    after = {number: new.records[number] for number in sorted(before)}
    believed = {number: old.estimates[was] for number, was in known.items() if old.estimates}
    was, now = (
        {entry.number: entry for entry in compare_all(*each)}
        for each in ((before, believed), (after, new.estimates))
    )
    return ReplayComparison(
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
        bool(new.estimates),
    )


def tied(one: Latency, other: Latency) -> bool:
    """Whether two latencies of one target cannot be told apart.

    Measured ones where one is in the other's 95 % interval; ones without an interval where they
    are nearer to each other than emulators can tell.
    """
    if one.ci_ms is not None and other.ci_ms is not None:
        return not apart((one.ms, one.ci_ms), (other.ms, other.ci_ms))
    low, high = sorted((one.ms, other.ms))
    return high <= low * (1 + EMULATED_TIE)


TELLING = 0.03
"""Deviation from the typical factor from which operators are asked for a reason."""


@dataclass(frozen=True)
class Reasons:
    """Says why.

    Attributes:
        comparison: The comparison of both targets.
        before: The breakdown of the old target; None where there is none.
        after: That of the new target.
        remedy: How the new target gets a breakdown, or that it has none.
    """

    comparison: ReplayComparison
    before: Breakdown | None
    after: Breakdown | None
    remedy: str = ""

    def why(self, move: Move) -> str:
        """Why `move` entered or left, in a line."""
        entered = move.change == "enters"
        head = f"trial {move.number} {move.change}"
        record, number = (move.before, move.old_rival) if entered else (move.after, move.new_rival)
        if not record.feasible:
            return f"{head}: it {'broke' if entered else 'breaks'} {_broken(record.excesses)}"
        assert number is not None, "within the limits and off the front: something beats it"
        rival = self.comparison.find(number)
        by = record.evaluation.scored_by
        expected = "expected " if self.comparison.expected else ""
        no_worse = f"no worse by {expected}{facts_of(by).name}"
        if by == "accuracy" and not expected:
            no_worse = "no less accurate"
        return (
            f"{head}: trial {number}, {no_worse}, {'beat' if entered else 'beats'} it; that "
            f"takes {self._old(rival, move)} of its time on {self.comparison.old_target}, "
            f"{self._new(rival, move)}"
            + "".join(f"; {line}" for line in self._operators(move, rival))
        )

    def sources(self) -> list[str]:
        """Name the sources of the operators' shares, or say that there are none."""
        target = self.comparison.target
        if self.after is None:
            unknown = f"no operator of {target} is priced, so no reason is given by operator"
            return [f"{unknown}; {self.remedy}"]
        sources = " and ".join(
            each.source for each in (self.before, self.after) if each is not None
        )
        return [f"reasons by operator: from {sources}; priced, not run"]

    def _old(self, rival: Move, move: Move) -> str:
        name = self.comparison.old_target
        share = self.comparison.old_ms(rival) / self.comparison.old_ms(move)
        return _share(share, tied(rival.before.latencies[name], move.before.latencies[name]))

    def _new(self, rival: Move, move: Move) -> str:
        name = self.comparison.target
        share = self.comparison.new_ms(rival) / self.comparison.new_ms(move)
        tie = tied(rival.after.latencies[name], move.after.latencies[name])
        limit = (
            "" if rival.after.feasible else f", where it breaks {_broken(rival.after.excesses)}"
        )
        return f"{_share(share, tie)} on {name}{limit}"

    def _operators(self, *moves: Move) -> Iterator[str]:
        """Explain the one of the pair that deviates more from the typical factor."""
        subject = max(moves, key=lambda move: abs(math.log(self._deviation(move))))
        deviation = self._deviation(subject)
        if abs(deviation - 1) < TELLING:
            return
        typical = f"{deviation:.2f} × what the typical network lets expect"
        yield f"trial {subject.number} takes {typical}"
        try:
            reason = self._kind(subject, slower=deviation > 1)
        except MeasurementError as error:
            reason = str(error)
        if reason:
            yield reason

    def _deviation(self, move: Move) -> float:
        return self.comparison.factor(move) / self.comparison.typical

    def _kind(self, move: Move, *, slower: bool) -> str:
        if self.after is None:
            return ""
        network, sign = move.after.architecture, 1 if slower else -1
        after = self.after.shares(network)
        if self.before is not None:
            # Shares times latency, so that the excesses of all kinds add up to the deviation.
            here = {kind: share * self.comparison.new_ms(move) for kind, share in after.items()}
            expected_ms = self.comparison.typical * self.comparison.old_ms(move)
            before = self.before.shares(network)
            expected = {kind: before.get(kind, 0.0) * expected_ms for kind in here}
            kind = max(here, key=lambda kind: sign * (here[kind] - expected[kind]))
            return (
                f"most of that is {kind}: {here[kind]:.3f} ms where {expected[kind]:.3f} would be "
                "expected"
            )
        usual = self._usual(self.after)
        kind = max(after, key=lambda kind: sign * (after[kind] - usual.get(kind, 0.0)))
        return (
            f"{after[kind]:.0%} of its time there is {kind}, {usual.get(kind, 0.0):.0%} in the "
            "median network"
        )

    def _usual(self, breakdown: Breakdown) -> Mapping[str, float]:
        found = [breakdown.shares(move.after.architecture) for move in self.comparison.moves]
        kinds = {kind for shares in found for kind in shares}
        return {
            kind: statistics.median(shares.get(kind, 0.0) for shares in found) for kind in kinds
        }


def _share(share: float, tie: bool) -> str:
    return f"{share:.2f}" + (" (a tie)" if tie else "")


def _broken(excesses: Mapping[str, float]) -> str:
    name = max(excesses, key=excesses.__getitem__)
    return f"{name} by {excesses[name]:.1%}"
