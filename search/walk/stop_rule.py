"""Decides from finished trainings whether a training can still lead to the front.

The latency of a network is known before its training. A candidate therefore competes only with
recorded networks that are at least as fast on every target. If its optimistic final score is below
the best of theirs, it is dominated, and the remaining passes are not needed. Optuna's pruners
cannot decide this, since they know one objective.

The optimistic final score comes from finished trainings by the same recipe. Least squares lead
from their signals after the same pass to their final scores; the prediction limit lies above this
line (`prediction_limit`). At a pass it fails about as often as `miss` says, if trainings are alike
and residuals normal. In a search this holds only roughly. So some trainings that the rule would
stop run on as an audit (`nas_sv2.search.walk.audit.Audit`).
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
"""Failures of bounds allowed over all stopped trainings, for each member of the front.

Most stopped trainings are far below their rival: replays lost 1 % of the members on average, 4 %
at most."""
MISSES = 0.005, 0.1
"""Least and largest share of failures allowed to a single bound."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A training that ran to its end.

    Attributes:
        signals: Figures after each pass, such as training loss and size; equally many each time.
        final: Final score, higher is better.

    Raises:
        ConfigError: If there are fewer than two passes, no figures, or a figure is not finite.
    """

    signals: tuple[tuple[float, ...], ...]
    final: float

    def __post_init__(self) -> None:
        """Refuse a curve that is not of use."""
        widths = {len(each) for each in self.signals}
        finite = all(math.isfinite(one) for each in self.signals for one in each)
        if len(self.signals) < 2 or len(widths) > 1 or 0 in widths or not finite:
            allowed = "must cover two passes or more, with as many finite figures after each"
            raise ConfigError("signals", self.signals, allowed)
        if not math.isfinite(self.final):
            raise ConfigError("final", self.final, "must be a finite score")


@dataclass(frozen=True, eq=False)
class FinalBound:
    """The final score that a training may reach, judged by finished trainings.

    Attributes:
        curves: Curves of trainings by the same recipe that ran to their end.
        miss: Share of failures allowed to the bound at a pass.
        fewest: Number of curves that it needs.

    Raises:
        ConfigError: If curves do not go together, or a share or number is out of range.
    """

    curves: tuple[LearningCurve, ...]
    miss: float = MISSES[1]
    fewest: int = FEWEST
    _lines: dict[int, Line] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse values that cannot calibrate the bound."""
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
        """Passes of a whole training; 0 without a curve."""
        return len(self.curves[0].signals) if self.curves else 0

    @property
    def why_not(self) -> str | None:
        """Reason why there is no bound yet; None if there is one."""
        known = len(self.curves)
        if known >= self.fewest:
            return None
        return f"{known} finished trainings; {self.fewest} are needed"

    def expected_final(self, pass_number: int, signals: Sequence[float]) -> float:
        """The likeliest final score of a training with `signals` after pass `pass_number`.

        Raises:
            ConfigError: If curves are too few, or the pass or the figures do not fit them.
        """
        return self._line_after(pass_number, signals).read_at(signals)

    def best_final(self, pass_number: int, signals: Sequence[float]) -> float:
        """The best final score of a training with `signals` after pass `pass_number`.

        It is infinite if finished trainings do not bound it. See `expected_final` for errors.
        """
        return self._line_after(pass_number, signals).upper_at(signals, self.miss)

    def unexplained(self, pass_number: int) -> float:
        """Leave-one-out squared error of the line, as a share of that of the mean; at least 0.

        Raises:
            ConfigError: If curves are too few, or there is no such pass before the last.
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
        score: Final score, higher is better.
        latencies_ms: Latencies on the targets, in the order of the study.
    """

    score: float
    latencies_ms: tuple[float, ...]

    def at_least_as_fast(self, latencies_ms: Sequence[float]) -> bool:
        """Whether the network takes no longer on any target.

        Raises:
            ValueError: If the numbers of targets differ.
        """
        pairs = zip(self.latencies_ms, latencies_ms, strict=True)
        return all(own <= others for own, others in pairs)


def miss_beside(rivals: Sequence[Rival], stopped: int, risk: float = RISK) -> float:
    """The share of failures allowed to the next bound.

    It shrinks as more trainings are stopped for each member of the front. Long searches then lose
    no more of their front than short ones.

    Args:
        rivals: Networks whose front counts.
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
        reason: Reason, in words.
        foreseen: Predicted final score.
    """

    reason: str
    foreseen: float


@dataclass(frozen=True, slots=True)
class StopRule:
    """Decides whether a training under way can still lead to the front.

    Attributes:
        bound: Bound on its final score.
        rivals: Networks that it is compared with.
    """

    bound: FinalBound
    rivals: tuple[Rival, ...]

    def verdict(
        self, pass_number: int, signals: Sequence[float], latencies_ms: Sequence[float]
    ) -> Ending | None:
        """Give the reason to end a training here, or None.

        Args:
            pass_number: Number of passes done, at least 1.
            signals: Figures after these passes.
            latencies_ms: Latencies of the network on the targets.
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
