"""Estimates how long a search will take, from the candidates that have finished.

A whole training is taken to last in proportion to the FLOPs to the power of `POWER`. The stop rule
ends trainings early, so a candidate is expected to take a share of that. The share begins at
`STOPPED_AT`, and follows the candidates that have finished. Those under way are predicted from
their own FLOPs and the time since they began, the others from the mean. All of them are then
handed out to the workers, one after another, as long as the search begins any.
"""

import dataclasses
import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

from nas_sv2.search.events.events import Event, OnEvent, TrialAsked, TrialFinished

POWER = 0.6
"""V2 0.5x and 1x give 0.66, recorded trainings of four spaces 0.47 to 0.75 (`quick`, CPU)."""
FEWEST = 5
"""Candidates that count at least: the latest. Of more than twice as many, the later half counts,
since the stop rule ends more trainings the longer a search goes on."""
STOPPED_AT, WEIGHT = 0.58, 8
"""Share of its passes that the stop rule is expected to leave a candidate before any has finished,
and how many candidates this counts as. The share is the mean of four searches on CIFAR-10
(`benchmarks/flagship`), which had 0.52 to 0.65."""
LEAST = 0.1
"""Share of its time that a candidate under way has left at least, though it is overdue."""


@dataclass(frozen=True, slots=True)
class _Finished:
    size: float
    seconds: float
    share: float  # of the passes


@dataclass
class TimeLeft:
    """An `on_event` that fills in `TrialFinished.remaining_s`, and passes all events on.

    Attributes:
        on_event: The user's function.
        workers: Candidates at the same time.
        timeout_s: No candidate begins after so many seconds; None for no limit.
        passes: Passes of a whole training, of all its seeds; None if the stop rule ends none.
        clock: Gives seconds.
    """

    on_event: OnEvent
    workers: int
    timeout_s: float | None = None
    passes: int | None = None
    clock: Callable[[], float] = time.monotonic
    _begun: dict[int, tuple[float, float]] = field(default_factory=dict)
    _finished: list[_Finished] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Let the time run from now on."""
        self._ends = math.inf if self.timeout_s is None else self.clock() + self.timeout_s

    def __call__(self, event: Event) -> None:
        """Pass on an event."""
        match event:
            case TrialAsked():
                size = float(event.flops**POWER)
                self._begun[event.number] = (self.clock(), size)
            case TrialFinished():
                _, size = self._begun.pop(event.number, (0.0, 0.0))
                if event.verdict == "finished" and size and not _was_trained_before(event):
                    self._finished.append(_Finished(size, event.seconds, self._share(event)))
                left_s = self._left_s(event.wanted - event.finished) if self._finished else None
                event = dataclasses.replace(event, remaining_s=left_s)
        self.on_event(event)

    def _share(self, event: TrialFinished) -> float:
        """The share of a whole training that a candidate had."""
        if self.passes is None or event.record is None:
            return 1.0
        evaluation = event.record.evaluation
        return evaluation.epochs * max(1, len(evaluation.scores)) / self.passes or 1.0

    def _left_s(self, candidates: int) -> float:
        latest = self._finished[-max(FEWEST, math.ceil(len(self._finished) / 2)) :]
        rate = sum(one.seconds for one in latest) / sum(one.size * one.share for one in latest)
        if self.passes is not None:
            shares = STOPPED_AT * WEIGHT + sum(one.share for one in latest)
            rate *= shares / (WEIGHT + len(latest))
        # Of a worker that died, the candidate stays: only the latest are under way.
        begun = list(self._begun.values())[-min(self.workers, max(candidates, 0)) :]
        under_way = begun if candidates > 0 else []
        now = self.clock()
        left = [max(rate * size - (now - began), LEAST * rate * size) for began, size in under_way]
        free_s = sorted([*left, *[0.0] * (self.workers - len(left))])
        mean_s = rate * fmean([*(one.size for one in latest), *(size for _, size in under_way)])
        for _ in range(candidates - len(under_way)):
            if now + free_s[0] >= self._ends:
                break
            heapq.heapreplace(free_s, free_s[0] + mean_s)
        return max(free_s)


def _was_trained_before(event: TrialFinished) -> bool:
    """Whether the training was found in the database, or resumed: its own time is longer."""
    return event.record is not None and event.seconds < event.record.evaluation.seconds
