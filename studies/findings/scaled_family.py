"""A finalist beside the scaled family: the curve of ShuffleNet V2 at several widths.

The curve is the score over the logarithm of latency, a parabola by least squares for each seed. It
is read at the finalist's latency. All networks share their seeds, so the difference is taken seed
by seed. Its interval carries the noise of all trainings, the finalist's and the family's.

Speed at an equal score is the same test the other way round. A latency of the family is excluded
if its score there differs from the finalist's by more than chance. The latencies that are left
are the interval (inversion of a test: Fieller 1954). So the interval of the speed-up and that of
the score exclude "no difference" together.

Latencies count as exact. A speed-up within the error of a session or an emulator (`least`) is a
tie. Nothing is read beyond the ends of the curve.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas_sv2.evaluate.recipes.scores import ScoreFacts
from nas_sv2.statistics import Floats, Judgement
from nas_sv2.studies.findings.paired import Paired, Verdict

DEGREE = 2
"""Of the curve; the score grows with latency, ever more slowly."""
POINTS = 400
"""Latencies at which the inverted test is asked, evenly on the logarithmic axis."""


@dataclass(frozen=True, slots=True)
class FamilyGain:
    """A finalist relative to the scaled family on one target.

    Attributes:
        differences: Its score minus the curve's at its latency, by seed.
        low: Lower end of the interval of their mean, at `level`.
        high: Upper end of the same.
        chance: Two-sided, of so large a mean if the finalist is on the curve.
        verdict: Whether it is off the curve by more than chance.
        level: The chance at which it was judged.
        speed_up: Latency of the family at the finalist's score relative to the finalist's. None
            if the curve does not reach this score.
        speed_up_low: Lower end of its interval; None if it is below the curve's fastest.
        speed_up_high: Upper end of its interval; None if it is beyond the curve's slowest.
        misfit: Root mean square of the family's mean scores minus the curve.
    """

    differences: tuple[float, ...]
    low: float
    high: float
    chance: float
    verdict: Verdict
    level: float
    speed_up: float | None
    speed_up_low: float | None
    speed_up_high: float | None
    misfit: float

    @property
    def mean(self) -> float:
        """The difference in score at equal latency."""
        return math.fsum(self.differences) / len(self.differences)

    def describe(self, facts: ScoreFacts) -> str:
        """State both figures and the verdict in one line, about this score."""
        sure = f"{100 * (1 - self.level):.4g} %"
        verdict = {"better": "better", "worse": "worse", "tie": "a tie"}[self.verdict]
        return (
            f"{self._speed(facts)} ({sure} {self._speeds}); {facts.change(self.mean)} at "
            f"equal latency ({sure} {facts.interval(self.low, self.high)}): {verdict}"
        )

    def _speed(self, facts: ScoreFacts) -> str:
        if self.speed_up is not None:
            return f"{self.speed_up:.2f} times as fast at equal {facts.noun}"
        side = "above" if facts.is_error == (self.mean > 0) else "below"
        return f"the curve of the widths stays {side} its {facts.noun}"

    @property
    def _speeds(self) -> str:
        low, high = self.speed_up_low, self.speed_up_high
        if low is None:
            return "unbounded by these widths" if high is None else f"at most {high:.2f} times"
        return f"at least {low:.2f} times" if high is None else f"{low:.2f} to {high:.2f} times"


@dataclass(frozen=True)
class FamilyCurve:
    """The family on one target, with a finalist beside it.

    Attributes:
        latencies_ms: The latencies of the family's networks.
        scores: The scores of each of these, by seed.
        ours_ms: Latency of the finalist.
        ours: Scores of the finalist, by seed.
        step: How much one test image counts.
        least: The share by which latencies may differ without a cause.
    """

    latencies_ms: Sequence[float]
    scores: Sequence[Sequence[float]]
    ours_ms: float
    ours: Sequence[float]
    step: float
    least: float

    @property
    def covers(self) -> bool:
        """Whether the finalist's latency is within the family's."""
        return min(self.latencies_ms) <= self.ours_ms <= max(self.latencies_ms)

    @property
    def here(self) -> Paired:
        """The finalist beside the curve at equal latency."""
        return self._beside(self.ours_ms)

    def judged(self, judgement: Judgement) -> FamilyGain:
        """The finding, at the level at which it was judged."""
        paired, speed = self.here, self._speed_up
        low, high = paired.interval(judgement.level)
        counts = speed is None or max(speed, 1 / speed) > 1 + self.least
        verdict: Verdict = "tie"
        if judgement.more_than_chance and counts:
            verdict = "better" if paired.mean > 0 else "worse"
        return FamilyGain(
            paired.differences,
            low,
            high,
            paired.chance,
            verdict,
            judgement.level,
            speed,
            *self._speeds(judgement.level),
            self._misfit,
        )

    @property
    def _speed_up(self) -> float | None:
        """The speed-up at which the mean curve first reaches the score; None if nowhere."""
        above = [self._beside(ms).mean for ms in self._grid]
        reached = next((place for place, each in enumerate(above) if each <= 0), None)
        if reached is None or (reached == 0 and above[0] < 0):
            return None
        if reached == 0:
            return self._grid[0] / self.ours_ms
        before, after = above[reached - 1], above[reached]
        share = before / (before - after)
        faster, slower = self._grid[reached - 1], self._grid[reached]
        return faster * math.exp(share * math.log(slower / faster)) / self.ours_ms

    def _speeds(self, level: float) -> tuple[float | None, float | None]:
        """The interval of the speed-up; None for an end that the curve does not reach."""
        intervals = [self._beside(ms).interval(level) for ms in self._grid]
        reached = [place for place, (low, _) in enumerate(intervals) if low <= 0]
        not_beyond = [place for place, (_, high) in enumerate(intervals) if high >= 0]
        last = len(intervals) - 1
        first = min(reached, default=last)  # better than all widths: faster than the slowest
        final = max(not_beyond, default=0)
        return (
            None if first == 0 else self._grid[first] / self.ours_ms,
            None if final == last else self._grid[final] / self.ours_ms,
        )

    @cached_property
    def _grid(self) -> list[float]:
        return [float(ms) for ms in np.geomspace(*self._ends, POINTS)]

    @property
    def _ends(self) -> tuple[float, float]:
        return min(self.latencies_ms), max(self.latencies_ms)

    def _beside(self, ms: float) -> Paired:
        curve = self._weights(ms) @ self._table
        return Paired.of(self.ours, curve.tolist(), self.step)

    @property
    def _misfit(self) -> float:
        means = self._table.mean(axis=1)
        curve = np.array([self._weights(ms) @ means for ms in self.latencies_ms])
        return float(np.sqrt(np.mean((means - curve) ** 2)))

    @cached_property
    def _table(self) -> Floats:
        return np.array(self.scores, dtype=np.float64)

    @cached_property
    def _inverse(self) -> Floats:
        """The matrix that makes coefficients of the parabola from scores, by least squares."""
        powers = self._powers(np.array(self.latencies_ms))
        return np.linalg.pinv(powers).astype(np.float64)

    def _weights(self, ms: float) -> Floats:
        """How much the curve at a latency takes of each network's score."""
        weights: Floats = self._powers(np.array([ms]))[0] @ self._inverse
        return weights

    def _powers(self, ms: Floats) -> Floats:
        low, high = self._ends
        return np.vander(np.log(ms / low) / math.log(high / low), DEGREE + 1).astype(np.float64)
