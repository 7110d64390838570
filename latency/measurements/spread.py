"""How far the figures of one device differ from session to session, and from command to command.

A session is one process of the agent, with its own place in memory, at its own time. All runs of
a session share these, so that more runs do not reveal them. The sessions are therefore taken as a
sample of those that might have been held. This is a random effect (Kalibera and Jones, "Rigorous
benchmarking in reasonable time", ISMM 2013).

Sessions of one command are seconds apart. Slow periods of a shared host last for minutes, so a
later command differs by more. The grade of the device and earlier commands have seen by how much.

All computations are on logarithms, because what slows a device slows it by a share.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

Interval = tuple[float, float]
WRONG = 0.05
"""The chance that a 95 % interval is wrong."""
SLOWER = 0.05
"""Change of the reference network's time, against its usual one, that is reported.

A device at rest repeats to 1-2 %. It is not reported within twice the device's own spread."""
LARGEST_LOGARITHM = 600.0
"""Its exponential is a float. Two sessions that differ leave almost everything open."""
SURE = 1_000
"""Degrees of freedom of a spread that is assumed and not estimated."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The coefficient of variation of a figure between commands.

    Attributes:
        cv: Standard deviation relative to the mean.
        degrees: Degrees of freedom of this estimate: the number of sessions behind it, less one.
    """

    cv: float
    degrees: int

    def half_width(self, level: float) -> float:
        """Return how far the logarithm of a figure may be off, with a chance of `level`."""
        return student_quantile(level, self.degrees) * self.cv

    def chance(self, logarithm: float) -> float:
        """Return the chance that a figure is off by as much as this logarithm."""
        if self.cv == 0:
            return float(logarithm == 0)
        return student_chance(logarithm / self.cv, self.degrees)


@dataclass(frozen=True, slots=True)
class Repeatability:
    """How well a device repeats by one plan, as far as anybody has seen.

    Attributes:
        ms: The spread of milliseconds between commands.
        ratio: The spread of ratios to the reference network between commands.
        seen: Who has seen it, in words.
        reference_ms: The usual time of the reference network, in ms; None if it is not known.
        saw_ratios: Whether `ratio` was seen. An assumed one widens no comparison of networks.
    """

    ms: Spread
    ratio: Spread
    seen: str
    reference_ms: float | None = None
    saw_ratios: bool = False

    def beside_others(self) -> "Repeatability":
        """Return it with spreads that are at least those beside other programs."""
        ms, ratio = wider(self.ms, BESIDE_OTHERS_MS), wider(self.ratio, BESIDE_OTHERS_RATIO)
        if (ms, ratio) == (self.ms, self.ratio):
            return self
        seen = f"{self.seen}; at least so much beside other programs"
        return replace(self, ms=ms, ratio=ratio, seen=seen)

    def change(self, slower: float) -> str:
        """Say that the processor itself is slower or faster than usual; empty if it is not.

        Args:
            slower: The reference network's time relative to `reference_ms`.
        """
        if self.reference_ms is None or abs(slower - 1) <= max(SLOWER, 2 * self.ms.cv):
            return ""
        took = f"took {slower:.2f} times its usual {self.reference_ms:.3f} ms ({self.seen})"
        if slower < 1:
            return f"{took}: the processor is faster now; trust the ratio"
        return (
            f"{took}: the processor itself is slower now, as beside a neighbour that shares its "
            "cores, caches or clock; trust the ratio"
        )

    def describe(self) -> str:
        """Describe both spreads, and who has seen them, in a line."""
        return f"ms vary by {self.ms.cv:.1%}, ratios by {self.ratio.cv:.1%} ({self.seen})"


NOT_SEEN = Repeatability(
    Spread(0.04, SURE), Spread(0.02, SURE), "assumed until nas-sv2 device grade"
)
"""The spreads that are assumed of a device without a grade and without earlier commands.

On a virtual machine of two shared x86 cores at rest, ms of ten separate commands varied by 2.9 to
5.2 % and ratios by 0.6 to 2.5 %."""
BESIDE_OTHERS_MS, BESIDE_OTHERS_RATIO = Spread(0.06, SURE), Spread(0.03, SURE)
"""The least spreads of commands beside other programs.

Beside four to nine busy processes on the two cores, ms of ten separate commands varied by 4.4 to
5.4 % (V2 0.5×: 11 %) and ratios by 1.7 to 3.7 % (0.5×: 5.7 %)."""


def pooled(spreads: Sequence[Spread]) -> Spread:
    """Return one spread from several estimates, by the pooled variance."""
    degrees = sum(one.degrees for one in spreads)
    variance = sum(one.degrees * one.cv**2 for one in spreads) / degrees
    return Spread(math.sqrt(variance), degrees)


def wider(one: Spread, other: Spread) -> Spread:
    """Return the spread that leaves a figure further open."""
    return max(one, other, key=lambda spread: spread.half_width(WRONG))


@dataclass(frozen=True, slots=True)
class Repeated:
    """A figure, and how far it may be off by its sessions and by the spread of the device.

    Attributes:
        figure: A time or a ratio of times.
        sessions: The same figure of each session.
        spread: The spread between commands; None if nobody has seen it.
    """

    figure: float
    sessions: tuple[float, ...]
    spread: Spread | None

    def widened(
        self, interval: Interval, level: float = WRONG, *, later: bool = False
    ) -> Interval:
        """Widen an interval of the runs to what the sessions leave open.

        Args:
            interval: The interval that follows from the runs alone.
            level: The chance that the interval is wrong.
            later: Whether it shall hold the figure of a later command of as many sessions, which
                is off by as much (Hahn and Meeker, "Statistical Intervals", 1991: the prediction
                interval of a mean). Otherwise it shall hold the true value.
        """
        if not self._spreads:
            return interval
        wide = max(one.half_width(level) for one in self._spreads)
        factor = math.exp(min(wide * (math.sqrt(2) if later else 1), LARGEST_LOGARITHM))
        return min(interval[0], self.figure / factor), max(interval[1], self.figure * factor)

    @property
    def chance_of_1(self) -> float:
        """The chance of a figure so far from 1 if 1 is the true value.

        `widened` excludes 1 at a level exactly if this chance is below the level.
        """
        return max((one.chance(math.log(self.figure)) for one in self._spreads), default=0.0)

    @property
    def _spreads(self) -> list[Spread]:
        own = [mean_spread(self.sessions)] if len(self.sessions) > 1 else []
        return own if self.spread is None else [*own, self.spread]


def apart(one: tuple[float, Interval], other: tuple[float, Interval]) -> bool:
    """Return whether two figures differ: neither lies in the other's interval.

    The intervals are of later commands, so each allows for the error of both figures.
    """
    (ours, (low, high)), (theirs, (least, most)) = one, other
    return not (low <= theirs <= high or least <= ours <= most)


def spread_of(figures: Sequence[float]) -> Spread:
    """Return the spread of figures of separate sessions; at least two.

    It is the standard deviation of the logarithms, which is the coefficient of variation if small.
    """
    return Spread(statistics.stdev(map(math.log, figures)), len(figures) - 1)


def mean_spread(sessions: Sequence[float]) -> Spread:
    """Return the spread of the mean of these sessions' figures; at least two."""
    one = spread_of(sessions)
    return Spread(one.cv / math.sqrt(len(sessions)), one.degrees)


def student_quantile(level: float, degrees: int) -> float:
    """Return the value that |t| exceeds with a chance of `level`, for Student's t."""
    from scipy.special import stdtrit

    return float(-stdtrit(degrees, level / 2))


def student_chance(t: float, degrees: int) -> float:
    """Return the chance that |t| is at least as large, for Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))
