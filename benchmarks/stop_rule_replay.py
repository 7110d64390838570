"""What the stop rule would have saved and lost, had it been on in trainings that are recorded.

Only trainings that ran to their end can tell: of each it is then known whether it is on the front.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.early_stop import (
    FEWEST,
    RISK,
    FinalBound,
    LearningCurve,
    Rival,
    StopRule,
    miss_beside,
)
from nas_sv2.studies.findings.front import find_dominators


@dataclass(frozen=True, slots=True)
class FullTraining:
    """A recorded training that ran to its end.

    Attributes:
        digest: Of the network.
        curve: What it showed, and its final score.
        latencies_ms: Of the network, on each target.
        seconds: What the training took, equally much for each pass.
    """

    digest: str
    curve: LearningCurve
    latencies_ms: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What the rule did to one order of trainings.

    Attributes:
        trained: Networks in all.
        stopped: Of them, those whose training was ended early.
        audited: Those that the rule would have stopped and the audit let run on.
        audited_on_front: Of these, how many are on the front: false stops.
        front: Members of the front that full trainings give.
        lost: Of them, those whose training was stopped.
        lost_by: By how much each of these was better than what is left and as fast.
        seconds: Of all trainings, in full.
        seconds_before: Of those, spent before the first verdict was possible.
        seconds_saved: By stopping.
    """

    trained: int
    stopped: int
    audited: int
    audited_on_front: int
    front: int
    lost: int
    lost_by: tuple[float, ...]
    seconds: float
    seconds_before: float
    seconds_saved: float

    @property
    def saved(self) -> float:
        """Share of the training time that was saved, 0 to 1."""
        return self.seconds_saved / self.seconds

    @property
    def saved_once_calibrated(self) -> float | None:
        """The same of the time after the first trainings, which only calibrate; None without."""
        rest = self.seconds - self.seconds_before
        return self.seconds_saved / rest if rest > 0 else None

    @property
    def lost_share(self) -> float:
        """Share of the front's members that were lost, 0 to 1."""
        return self.lost / self.front

    def lost_beyond(self, noise: float) -> int:
        """Of the lost members, those that were better by more than `noise`: the rest are ties."""
        return sum(score > noise for score in self.lost_by)


def front_members(trainings: Sequence[FullTraining]) -> set[str]:
    """Return the digests of the networks that no other beats."""
    costs = {one.digest: (-one.curve.final, *one.latencies_ms) for one in trainings}
    return {digest for digest, better in find_dominators(costs).items() if better is None}


def replay(
    trainings: Sequence[FullTraining],
    audit: Audit,
    *,
    risk: float = RISK,
    fewest: int = FEWEST,
    earlier: Sequence[LearningCurve] = (),
) -> Replay:
    """Go through `trainings` in their order with the rule on.

    What is stopped teaches the bound nothing and is nobody's rival, as in a search; what the audit
    lets run on is and does. Trainings of `earlier` studies teach it, and are nobody's rivals.
    """
    full: list[FullTraining] = []
    stopped: set[str] = set()
    audited: set[str] = set()
    before = saved = 0.0
    for one in trainings:
        known = (*earlier, *(each.curve for each in full))
        rivals = tuple(Rival(f.curve.final, f.latencies_ms) for f in full)
        bound = FinalBound(known, miss_beside(rivals, len(stopped), risk), fewest)
        if bound.why_not is not None:
            before += one.seconds
        rule = StopRule(bound, rivals)
        last = _stopped_after(rule, one)
        if last is None:
            full.append(one)
        elif audit.takes(one.digest):
            audited.add(one.digest)
            full.append(one)
        else:
            stopped.add(one.digest)
            saved += one.seconds * (1 - last / len(one.curve.signals))
    front = front_members(trainings)
    return Replay(
        trained=len(trainings),
        stopped=len(stopped),
        audited=len(audited),
        audited_on_front=len(audited & front),
        front=len(front),
        lost=len(stopped & front),
        lost_by=tuple(
            one.curve.final - _best_as_fast(full, one)
            for one in trainings
            if one.digest in stopped & front
        ),
        seconds=sum(one.seconds for one in trainings),
        seconds_before=before,
        seconds_saved=saved,
    )


def _best_as_fast(full: Sequence[FullTraining], one: FullTraining) -> float:
    """There is one: the rival for which `one` was stopped."""
    rivals = ((f.curve.final, Rival(f.curve.final, f.latencies_ms)) for f in full)
    return max(final for final, rival in rivals if rival.at_least_as_fast(one.latencies_ms))


def _stopped_after(rule: StopRule, one: FullTraining) -> int | None:
    """The first pass after which the rule ends the training, from 1, or None."""
    for done, signals in enumerate(one.curve.signals[:-1], start=1):
        if rule.verdict(done, signals, one.latencies_ms) is not None:
            return done
    return None
