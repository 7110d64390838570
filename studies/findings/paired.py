"""Accuracies of two networks by the same seeds: their difference, its tests and its intervals."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas_sv2.latency.measurements.measurement import Interval

Verdict = Literal["better", "worse", "tie"]


@dataclass(frozen=True, slots=True)
class Paired:
    """A finalist's accuracies minus the baseline's, by seed.

    Accuracies are multiples of `step`, so three equal differences may hide noise. A deviation
    counts as at least that of rounding both to steps (uniform, step / √12).

    Attributes:
        differences: By seed.
        step: The share that one test image counts.
    """

    differences: tuple[float, ...]
    step: float

    @classmethod
    def of(cls, one: Sequence[float], baseline: Sequence[float], images: int) -> "Paired":
        """Two networks by the same seeds, on so many images."""
        pairs = zip(one, baseline, strict=True)
        return cls(tuple(ours - theirs for ours, theirs in pairs), 1 / images)

    @property
    def mean(self) -> float:
        """The difference."""
        return statistics.fmean(self.differences)

    @property
    def chance(self) -> float:
        """The chance of so large a mean if there is no difference, two-sided."""
        from scipy.stats import t

        return float(2 * t.sf(abs(self.mean) / self._error, self._freedom))

    def interval(self, level: float) -> Interval:
        """Return the interval of the mean, wrong with a chance of `level`."""
        from scipy.stats import t

        reach = float(t.isf(level / 2, self._freedom)) * self._error
        return self.mean - reach, self.mean + reach

    def chance_if_worse(self, margin: float) -> float:
        """The chance of so high a mean if the first is worse by `margin`, one-sided.

        It is the test of non-inferiority (Blackwelder 1982).
        """
        from scipy.stats import t

        return float(t.sf((self.mean + margin) / self._error, self._freedom))

    def least(self, level: float) -> float:
        """The lower end of the one-sided interval of the mean, wrong with a chance of `level`."""
        from scipy.stats import t

        return self.mean - float(t.isf(level, self._freedom)) * self._error

    @property
    def _freedom(self) -> int:
        return len(self.differences) - 1

    @property
    def _error(self) -> float:
        deviation = max(statistics.stdev(self.differences), self.step * math.sqrt(2 / 12))
        return deviation / math.sqrt(len(self.differences))
