"""Scores of two networks by the same seeds: their difference, its tests and its intervals.

A score of images that are counted has steps, so three equal differences may hide noise. A
deviation counts as at least that of rounding both networks to steps (uniform, step / √12). A step
depends on the score:

- Top-1 is a multiple of one image of all N, 1 / N.
- Balanced accuracy, macro F1 and mean AP are means over C classes or labels. One image of a class
  with n images counts up to 1 / (C · n), which is much for a rare class. Each class is rounded by
  itself, so that variances add: the step is the root of the sum of their squares.
- An error of numbers, or a metric of the user's, has no steps that are known. Equal differences
  are then no rounding, but answers that do not depend on the seed. One image of N counts for an
  N-th of the mean figure.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.latency.measurements.measurement import Interval
from nas_sv2.latency.measurements.spread import student_chance, student_quantile

Verdict = Literal["better", "worse", "tie"]


@dataclass(frozen=True, slots=True)
class Paired:
    """A finalist's scores minus the baseline's, by seed; higher is better.

    Attributes:
        differences: By seed.
        step: How much one test image counts; see `step_of`.
    """

    differences: tuple[float, ...]
    step: float

    @classmethod
    def of(cls, one: Sequence[float], baseline: Sequence[float], step: float) -> "Paired":
        """Two networks by the same seeds, with the step of their scores."""
        pairs = zip(one, baseline, strict=True)
        return cls(tuple(ours - theirs for ours, theirs in pairs), step)

    @property
    def mean(self) -> float:
        """The difference."""
        return statistics.fmean(self.differences)

    @property
    def chance(self) -> float:
        """The chance of so large a mean if there is no difference, two-sided."""
        error = self._error
        if not error:  # all scores are 0, which shows nothing
            return 1.0
        return student_chance(self.mean / error, self._freedom)

    def interval(self, level: float) -> Interval:
        """Return the interval of the mean, wrong with a chance of `level`."""
        reach = student_quantile(level, self._freedom) * self._error
        return self.mean - reach, self.mean + reach

    def chance_if_worse(self, margin: float) -> float:
        """The chance of so high a mean if the first is worse by `margin`, one-sided.

        It is the test of non-inferiority (Blackwelder 1982).
        """
        from scipy.special import stdtr

        error = self._error
        return float(stdtr(self._freedom, -(self.mean + margin) / error)) if error else 1.0

    def least(self, level: float) -> float:
        """The lower end of the one-sided interval of the mean, wrong with a chance of `level`."""
        return self.mean - student_quantile(2 * level, self._freedom) * self._error

    @property
    def _freedom(self) -> int:
        return len(self.differences) - 1

    @property
    def _error(self) -> float:
        deviation = max(statistics.stdev(self.differences), self.step * math.sqrt(2 / 12))
        return deviation / math.sqrt(len(self.differences))


def step_of(by: str, images: int, counts: Sequence[int], scores: Sequence[float]) -> float:
    """Return how much one test image counts in a score.

    Args:
        by: The score.
        images: Number of test images.
        counts: Their number by class or label; empty if labels are numbers.
        scores: Scores of all networks and seeds.
    """
    if by == "accuracy":
        return 1 / images
    there = [count for count in counts if count]
    if facts_of(by).unit == "share" and there:
        return math.hypot(*(1 / (len(there) * count) for count in there))
    return statistics.fmean(map(abs, scores)) / images
