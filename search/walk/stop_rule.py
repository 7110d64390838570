"""When a training cannot lead to the front any more, from how finished trainings went.

How long a network takes is known before it is trained. A candidate therefore competes only with
the recorded networks that are at least as fast on every target: if not even its optimistic final
score comes up to the best of them, it is dominated whatever the remaining passes bring, and they
need not be trained. Optuna's pruners cannot tell so, since they know one objective.

The optimistic final score comes from finished trainings by the same recipe: least squares from
what they showed after the same pass to their final scores, and the prediction limit above it
(`prediction_limit`). At a pass it fails about as often as `miss` says, if trainings
are alike and residuals normal. Those of a search are not quite, which is why some that the rule
would stop go on and are counted (`nas_sv2.search.walk.audit.Audit`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nas_sv2.errors import ConfigError
from nas_sv2.search.walk.prediction_limit import Line
from nas_sv2.studies.findings.front import find_dominators

FEWEST = 8
"""Finished trainings before anything is stopped: five degrees of freedom for two figures a pass.
Chosen in replays of 24 trainings (`docs/lab/2026-11-25-stop-rule-24-to-56-candidates.md`)."""
RISK = 0.05
"""How often bounds may fail, summed over the stopped trainings, for each member of the front. Most
of those are far below their rival: in replays 1 % of the members were lost in the mean, 4 % at
most."""
MISSES = 0.005, 0.1
"""How often a single bound may fail, at least and at most."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A training that ran to its end.

    Attributes:
        signals: What it showed after each pass, as many figures each time: training loss and size,
            say.
        final: Its score, higher is better.

    Raises:
        ConfigError: Fewer than two passes, no figures, or one that is no number.
    """

    signals: tuple[tuple[float, ...], ...]
    final: float

    def __post_init__(self) -> None:
        """Refuse what nothing can be learnt from."""
        widths = {len(each) for each in self.signals}
        finite = all(math.isfinite(one) for each in self.signals for one in each)
        if len(self.signals) < 2 or len(widths) > 1 or 0 in widths or not finite:
            allowed = "must cover two passes or more, with as many finite figures after each"
            raise ConfigError("signals", self.signals, allowed)
        if not math.isfinite(self.final):
            raise ConfigError("final", self.final, "must be a finite score")


@dataclass(frozen=True, eq=False)
class FinalBound:
    """The final score that a training may come to, by those that are finished.

    Attributes:
        curves: Of trainings by the same recipe that ran to their end.
        miss: How often the bound may fail at a pass.
        fewest: Courses without which it says nothing.

    Raises:
        ConfigError: Courses that do not go together, or a share or number that cannot be meant.
    """

    curves: tuple[LearningCurve, ...]
    miss: float = MISSES[1]
    fewest: int = FEWEST
    _lines: dict[int, Line] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be calibrated with."""
        if not 0 < self.miss < 1:
            raise ConfigError("miss", self.miss, "must be a share between 0 and 1, as 0.05")
        if self.fewest < 3:
            raise ConfigError("fewest", self.fewest, "must be a whole number from 3")
        shapes = sorted({(len(each.signals), len(each.signals[0])) for each in self.curves})
        if len(shapes) > 1:
            allowed = "must be curves of one recipe, with as many passes and figures"
            raise ConfigError("curves", shapes, allowed)

    @property
    def passes(self) -> int:
        """In a whole training; 0 while none is known."""
        return len(self.curves[0].signals) if self.curves else 0

    @property
    def why_not(self) -> str | None:
        """Why it says nothing yet; None where it does."""
        known = len(self.curves)
        if known >= self.fewest:
            return None
        return f"{known} finished trainings; {self.fewest} are needed"

    def expected_final(self, pass_number: int, signals: Sequence[float]) -> float:
        """The likeliest final score of a training that shows `signals` after pass `pass_number`.

        Raises:
            ConfigError: Too few curves, no such pass before the last, or other figures.
        """
        return self._line_after(pass_number, signals).read_at(signals)

    def best_final(self, pass_number: int, signals: Sequence[float]) -> float:
        """The best final score of a training that shows `signals` after pass `pass_number`.

        Infinite where the finished trainings do not determine one. Raises as `expected_final`.
        """
        return self._line_after(pass_number, signals).upper_at(signals, self.miss)

    def unexplained(self, pass_number: int) -> float:
        """Squared error of lines through all but one, of that of the mean of the others, from 0.

        Raises:
            ConfigError: Too few curves, or no such pass before the last.
        """
        return self._line_after(pass_number).unexplained()

    def _line_after(self, pass_number: int, signals: Sequence[float] | None = None) -> Line:
        if self.why_not is not None:
            raise ConfigError("curves", len(self.curves), f"must be at least {self.fewest}")
        if not 1 <= pass_number < self.passes:
            raise ConfigError("pass", pass_number, f"must be a number from 1 to {self.passes - 1}")
        known = len(self.curves[0].signals[0])
        if signals is not None and len(signals) != known:
            raise ConfigError("signals", tuple(signals), f"must be {known} figures")
        if pass_number not in self._lines:
            shown = np.array([curve.signals[pass_number - 1] for curve in self.curves])
            finals = np.array([curve.final for curve in self.curves])
            self._lines[pass_number] = Line.fitted(shown, finals)
        return self._lines[pass_number]


@dataclass(frozen=True, slots=True)
class Rival:
    """A recorded network that keeps every limit.

    Attributes:
        score: How good it became, higher is better.
        latencies_ms: On each target, in the order of the study's.
    """

    score: float
    latencies_ms: tuple[float, ...]

    def at_least_as_fast(self, latencies_ms: Sequence[float]) -> bool:
        """Whether no target takes longer for it.

        Raises:
            ValueError: The numbers of targets differ.
        """
        pairs = zip(self.latencies_ms, latencies_ms, strict=True)
        return all(own <= others for own, others in pairs)


def miss_beside(rivals: Sequence[Rival], stopped: int, risk: float = RISK) -> float:
    """How often the next bound may fail.

    Of a fixed share of failures a long search would lose more of its front than a short one: it
    stops more trainings for each member. The share is therefore what the front's size allows.

    Args:
        rivals: Their front counts.
        stopped: Trainings stopped so far.
        risk: See `RISK`.
    """
    costs = {place: (-one.score, *one.latencies_ms) for place, one in enumerate(rivals)}
    members = sum(better is None for better in find_dominators(costs).values())
    low, high = MISSES
    return min(high, max(low, risk * members / (stopped + 1)))


@dataclass(frozen=True, slots=True)
class Ending:
    """A training that is not worth the rest of its time.

    Attributes:
        reason: For a person.
        foreseen: The final score that it would most likely have come to; a prediction.
    """

    reason: str
    foreseen: float


@dataclass(frozen=True, slots=True)
class StopRule:
    """Whether a training under way can still lead to the front.

    Attributes:
        bound: What it can still come to.
        rivals: What it has to stand beside.
    """

    bound: FinalBound
    rivals: tuple[Rival, ...]

    def verdict(
        self, pass_number: int, signals: Sequence[float], latencies_ms: Sequence[float]
    ) -> Ending | None:
        """Why a training should end here; None where it should go on.

        Args:
            pass_number: Passes done, from 1.
            signals: What it shows after them.
            latencies_ms: Of the network, on each target.
        """
        if self.bound.why_not is not None or pass_number >= self.bound.passes:
            return None
        faster = [r.score for r in self.rivals if r.at_least_as_fast(latencies_ms)]
        if not faster:
            return None
        hoped = self.bound.best_final(pass_number, signals)
        if hoped >= max(faster):
            return None
        return Ending(
            f"after pass {pass_number} of {self.bound.passes} it can come to {hoped:.4f} at most, "
            f"and a network that is as fast has {max(faster):.4f}",
            self.bound.expected_final(pass_number, signals),
        )
