"""Why a network came onto a front or left it when its study was replayed on another target.

First which rival it was and how the two stand on either target; then, where the operators of a
target are priced (`latency.breakdown`), which kind of operator makes the difference.
"""

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.breakdown.priced import Breakdown
from nas_sv2.studies.findings.replay_comparison import Comparison, Move, tied

TELLING = 0.03
"""Deviation from the typical factor from which operators are asked for a reason."""


@dataclass(frozen=True)
class Reasons:
    """Says why.

    Attributes:
        comparison: What moved.
        before: The breakdown of the old target; None where there is none.
        after: That of the new target.
    """

    comparison: Comparison
    before: Breakdown | None
    after: Breakdown | None

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
        no_worse = (
            "no less accurate" if by == "accuracy" else f"no worse by {by.replace('_', ' ')}"
        )
        return (
            f"{head}: trial {number}, {no_worse}, {'beat' if entered else 'beats'} it; that "
            f"takes {self._old(rival, move)} of its time on {self.comparison.old_target}, "
            f"{self._new(rival, move)}"
            + "".join(f"; {line}" for line in self._operators(move, rival))
        )

    def sources(self) -> list[str]:
        """Where the operators' shares come from, or that there are none."""
        target = self.comparison.target
        if self.after is None:
            made = f"nas-sv2 device guidelines --target {target} makes one"
            return [
                f"no operator of {target} is priced, so no reason is given by operator; {made}"
            ]
        told = " and ".join(each.source for each in (self.before, self.after) if each is not None)
        return [f"reasons by operator: from {told}; priced, not run"]

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
        """What makes the one of the pair that deviates more from the typical factor deviate."""
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
