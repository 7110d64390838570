"""When a training cannot lead to the front any more, from how finished trainings went.

How long a network takes is known before it is trained. A candidate therefore competes only with
the recorded networks that are at least as fast on every target: if not even its optimistic final
score comes up to the best of them, it is dominated whatever the remaining passes bring, and they
need not be trained. Optuna's pruners cannot tell so, since they know one objective.

The optimistic final score comes from the finished trainings of the same study: least squares from
what they showed after the same pass to their final scores, and the jackknife+ bound above it
(Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of
Statistics 2021): each finished training is left out once, the line through the others is read at
the candidate, and by how much the one left out was better than its own line is added. The r-th
smallest of these n figures is exceeded with probability 1 - r/(n + 1), whatever the distribution,
if trainings are exchangeable and lines hardly change by one of them (at most twice that in any
case). Trainings of a search are not quite exchangeable, which is why some that the rule would
stop go on and are counted (`nas_sv2.search.audit.Audit`).

A pass that does not foretell the final score stops nothing. Its bound would be little more than
the best score so far, and a training that comes out above that is just what a search looks for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError

FEWEST = 10
"""Finished trainings before anything is stopped: the bound then fails about once in eleven."""
MISS = 0.02
"""How often the bound may fail at a pass, once there are trainings enough to tell (49)."""
LEFT = 0.7
"""Squared error that the lines may leave, of what the mean of the others leaves. In replays of 22
trainings 10 % of the front's members were lost without this limit, 1.3 % with it, 0.5 % at 0.5
(`docs/stop-rule.md`). Part of it is noise of the final score, which nothing foretells."""


@dataclass(frozen=True, slots=True)
class Course:
    """A training that ran to its end.

    Attributes:
        signals: What it showed after each pass, as many figures each time: its training loss say.
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
            allowed = "two passes or more, with as many finite figures after each"
            raise ConfigError("signals", self.signals, allowed)
        if not math.isfinite(self.final):
            raise ConfigError("final", self.final, "a finite score")


@dataclass(frozen=True, eq=False)
class FinalBound:
    """The best final score that a training may come to, by those that are finished.

    Attributes:
        courses: Of trainings by the same recipe that ran to their end.
        miss: How often the bound may fail at a pass.
        fewest: Courses without which it says nothing.
        left: The most that a pass may leave unexplained for a bound to be given after it.

    Raises:
        ConfigError: Courses that do not go together, or a share or number that cannot be meant.
    """

    courses: tuple[Course, ...]
    miss: float = MISS
    fewest: int = FEWEST
    left: float = LEFT
    _lines: "dict[int, _Lines]" = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be calibrated with."""
        if not 0 < self.miss < 1:
            raise ConfigError("miss", self.miss, "a share between 0 and 1, as 0.02")
        if self.fewest < 3:
            raise ConfigError("fewest", self.fewest, "a whole number from 3")
        shapes = sorted({(len(each.signals), len(each.signals[0])) for each in self.courses})
        if len(shapes) > 1:
            allowed = "courses of one recipe, with as many passes and figures"
            raise ConfigError("courses", shapes, allowed)

    @property
    def passes(self) -> int:
        """In a whole training; 0 while none is known."""
        return len(self.courses[0].signals) if self.courses else 0

    @property
    def why_not(self) -> str | None:
        """Why it says nothing yet; None where it does."""
        known = len(self.courses)
        if known >= self.fewest:
            return None
        return f"{known} finished trainings; {self.fewest} are needed"

    @property
    def fails(self) -> float:
        """About how often the next training is better than the bound after a given pass."""
        return 1 - self._rank / (len(self.courses) + 1)

    def best_final(self, pass_number: int, signals: Sequence[float]) -> float:
        """The best final score of a training that shows `signals` after pass `pass_number`.

        Infinite where the pass leaves more unexplained than `left`.

        Raises:
            ConfigError: Too few courses, no such pass before the last, or other figures.
        """
        lines = self._lines_after(pass_number)
        known = len(self.courses[0].signals[0])
        if len(signals) != known:
            raise ConfigError("signals", tuple(signals), f"{known} figures")
        if lines.left > self.left:
            return math.inf
        return float(np.sort(lines.read_at(signals))[self._rank - 1])

    def unexplained(self, pass_number: int) -> float:
        """Squared error of the lines after a pass, of that of the mean of the others, from 0.

        Raises:
            ConfigError: Too few courses, or no such pass before the last.
        """
        return self._lines_after(pass_number).left

    def _lines_after(self, pass_number: int) -> "_Lines":
        if self.why_not is not None:
            raise ConfigError("courses", len(self.courses), f"at least {self.fewest}")
        if not 1 <= pass_number < self.passes:
            raise ConfigError("pass", pass_number, f"a number from 1 to {self.passes - 1}")
        if pass_number not in self._lines:
            shown = np.array([course.signals[pass_number - 1] for course in self.courses])
            finals = np.array([course.final for course in self.courses])
            self._lines[pass_number] = _Lines.fitted(shown, finals)
        return self._lines[pass_number]

    @property
    def _rank(self) -> int:
        """Which of the figures, in ascending order and from 1, is the bound."""
        known = len(self.courses)
        return min(known, math.ceil((known + 1) * (1 - self.miss)))


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
    ) -> str | None:
        """Why the rest of a training is not worth its time, for a person; None where it is.

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
        return (
            f"after pass {pass_number} of {self.bound.passes} it can come to {hoped:.4f} at most, "
            f"and a network that is as fast has {max(faster):.4f}"
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Lines:
    """Least squares without each training in turn.

    Attributes:
        coefficients: (N, K + 1), the constant first.
        residuals: By how much each training was better than the line without it, (N,).
        left: Sum of their squares, by that of how far it was from the mean of the others.
    """

    coefficients: NDArray[np.float64]
    residuals: NDArray[np.float64]
    left: float

    @classmethod
    def fitted(cls, shown: NDArray[np.float64], finals: NDArray[np.float64]) -> "_Lines":
        """From figures (N, K) and final scores (N,).

        One fit gives all (Cook and Weisberg, "Residuals and Influence in Regression", 1982,
        equation 2.2.4). Where the others do not determine a line, its residual is infinite.
        """
        design = np.column_stack([np.ones(len(finals)), shown - shown.mean(axis=0)])
        inverse = np.linalg.pinv(design)
        whole = inverse @ finals
        free = 1 - np.einsum("nk,kn->n", design, inverse)
        determined = free > 1e-9
        if np.linalg.matrix_rank(design) < design.shape[1]:
            determined[:] = False
        beside = (finals - design @ whole) / np.where(determined, free, 1.0)
        each = whole - (inverse * beside).T
        each[:, 0] -= each[:, 1:] @ shown.mean(axis=0)
        residuals = np.where(determined, beside, np.inf)
        from_mean = (finals - finals.mean()) * len(finals) / (len(finals) - 1)
        unexplained, all_of_it = float(np.sum(residuals**2)), float(np.sum(from_mean**2))
        return cls(each, residuals, unexplained / all_of_it if all_of_it else math.inf)

    def read_at(self, signals: Sequence[float]) -> NDArray[np.float64]:
        """Each line's figure for `signals`, with its residual on top, (N,)."""
        figures: NDArray[np.float64] = self.coefficients @ np.array([1.0, *signals])
        return figures + self.residuals
