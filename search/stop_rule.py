"""When a training cannot lead to the front any more, from what finished trainings gained.

How long a network takes is known before it is trained. A candidate therefore competes only with
the recorded networks that are at least as fast on every target: if not even its optimistic final
score comes up to the best of them, it is dominated whatever the remaining passes bring, and they
need not be trained. Optuna's pruners cannot tell so, since they know one objective.

The optimistic final score is the score after a pass plus an upper bound of what a training gains
from there to its end. The bound is an order statistic of what finished trainings of the same
study gained, which assumes no form of the curve: the largest gain of n exchangeable trainings
is exceeded by the next one with probability 1/(n + 1), and the r-th smallest with
1 - r/(n + 1) (split conformal prediction: Lei et al., "Distribution-free predictive inference
for regression", JASA 2018, section 2.2). Trainings of a search are not quite exchangeable, which
is why some that the rule would stop go on and are counted (`nas_sv2.search.audit.Audit`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas_sv2.errors import ConfigError

FEWEST = 10
"""Finished trainings before anything is stopped: the bound then fails at most once in eleven."""
MISS = 0.02
"""How often the bound may fail at a pass, once there are trainings enough to tell (49)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The scores of a training that ran to its end.

    Attributes:
        scores: After each pass, higher is better; the last is the final one.

    Raises:
        ConfigError: Fewer than two passes, or a score that is no number.
    """

    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what nothing can be learnt from."""
        if len(self.scores) < 2 or not all(map(math.isfinite, self.scores)):
            raise ConfigError("curve", self.scores, "finite scores after two passes or more")

    @property
    def final(self) -> float:
        """The score at the end."""
        return self.scores[-1]

    def gain(self, pass_number: int) -> float:
        """What came on top after pass `pass_number`, which counts from 1."""
        return self.final - self.scores[pass_number - 1]


@dataclass(frozen=True, slots=True)
class CurveBound:
    """What a training can still gain, by those that are finished.

    Attributes:
        curves: Of trainings by the same recipe that ran to their end.
        miss: How often the bound may fail at a pass.
        fewest: Curves without which it says nothing.

    Raises:
        ConfigError: Curves of different lengths, or a share or number that cannot be meant.
    """

    curves: tuple[Curve, ...]
    miss: float = MISS
    fewest: int = FEWEST

    def __post_init__(self) -> None:
        """Refuse what cannot be calibrated with."""
        if not 0 < self.miss < 1:
            raise ConfigError("miss", self.miss, "a share between 0 and 1, as 0.02")
        if self.fewest < 1:
            raise ConfigError("fewest", self.fewest, "a whole number from 1")
        lengths = sorted({len(curve.scores) for curve in self.curves})
        if len(lengths) > 1:
            raise ConfigError("curves", lengths, "curves of one recipe, with equally many passes")

    @property
    def passes(self) -> int:
        """In a whole training; 0 while none is known."""
        return len(self.curves[0].scores) if self.curves else 0

    @property
    def why_not(self) -> str | None:
        """Why it says nothing yet; None where it does."""
        known = len(self.curves)
        if known >= self.fewest:
            return None
        return f"{known} finished trainings with a score after each pass; {self.fewest} are needed"

    @property
    def fails(self) -> float:
        """The probability that the next training gains more than the bound at a given pass."""
        return 1 - self._rank / (len(self.curves) + 1)

    def gain(self, pass_number: int) -> float:
        """The most that a training is taken to gain after pass `pass_number`, from 1.

        Raises:
            ConfigError: Too few curves, or no such pass before the last.
        """
        if self.why_not is not None:
            raise ConfigError("curves", len(self.curves), f"at least {self.fewest}")
        if not 1 <= pass_number < self.passes:
            raise ConfigError("pass", pass_number, f"a number from 1 to {self.passes - 1}")
        return sorted(curve.gain(pass_number) for curve in self.curves)[self._rank - 1]

    @property
    def _rank(self) -> int:
        """Which of the gains, in ascending order and from 1, is the bound."""
        known = len(self.curves)
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
        bound: What it can still gain.
        rivals: What it has to stand beside.
    """

    bound: CurveBound
    rivals: tuple[Rival, ...]

    def verdict(self, pass_number: int, score: float, latencies_ms: Sequence[float]) -> str | None:
        """Why the rest of a training is not worth its time, for a person; None where it is.

        Args:
            pass_number: Passes done, from 1.
            score: After them.
            latencies_ms: Of the network, on each target.
        """
        if self.bound.why_not is not None or pass_number >= self.bound.passes:
            return None
        faster = [r.score for r in self.rivals if r.at_least_as_fast(latencies_ms)]
        hoped = score + self.bound.gain(pass_number)
        if not faster or hoped >= max(faster):
            return None
        return (
            f"{score:.4f} after pass {pass_number} of {self.bound.passes} leads to at most "
            f"{hoped:.4f}, and a network that is as fast has {max(faster):.4f}"
        )
