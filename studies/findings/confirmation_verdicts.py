"""Which differences between finalists and baseline are more than chance, all judged together.

A confirmation compares every finalist with the baseline in accuracy and, on every target that was
measured, in time. Each comparison is a chance to be lucky: at 5 % each, two of equals alone come
out as different in one confirmation of ten. All are therefore one family (Holm 1979, which asks
nothing of how they depend on each other): the chance that any verdict of a confirmation is wrong
is 5 %.

A claim needs no correction beyond that. One that needs several verdicts ("faster and more
accurate", "faster on every target") is wrong only if one of them is: an intersection-union test
(Berger 1982).

Accuracy. Student's t of the differences by seed, n − 1 degrees of freedom. It speaks of another
training, not of other test images. Time. The sign test over the rounds of a session
(`latency.pair`); what was priced and not run is no test, and takes no part.

The interval that goes with a verdict is that of its test, at the level at which it was judged, so
that it leaves "no difference" out exactly where the difference is more than chance.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_sv2.latency.measurements.head_to_head import ComparedPair, PricedPair, TimedPair
from nas_sv2.latency.measurements.measurement import Interval
from nas_sv2.statistics import Judgement, judge_together
from nas_sv2.studies.findings.confirmation import AccuracyGain, Finding, LatencyGain, Verdict

WRONG = 0.05
"""The chance that a confirmation calls any difference more than chance that is none."""


@dataclass(frozen=True, slots=True)
class Paired:
    """A finalist's accuracies minus the baseline's, by seed.

    Accuracies are multiples of `step`, so that three equal differences do not show that there is
    no noise: a deviation counts as at least that of rounding both to steps (uniform, step / √12).

    Attributes:
        differences: By seed.
        step: What one test image counts.
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
        """Two-sided, of so large a mean where there is no difference."""
        from scipy.stats import t

        return float(2 * t.sf(abs(self.mean) / self._error, len(self.differences) - 1))

    def interval(self, level: float) -> Interval:
        """Of the mean, wrong with a chance of `level`."""
        from scipy.stats import t

        reach = float(t.isf(level / 2, len(self.differences) - 1)) * self._error
        return self.mean - reach, self.mean + reach

    @property
    def _error(self) -> float:
        deviation = max(statistics.stdev(self.differences), self.step * math.sqrt(2 / 12))
        return deviation / math.sqrt(len(self.differences))


@dataclass(frozen=True)
class Finalist:
    """What was found of a finalist beside the baseline, not judged yet.

    Attributes:
        trial: Of the study.
        digest: Of the network.
        accuracy: Its accuracies beside the baseline's.
        times: Its times beside the baseline's, by target.
    """

    trial: int
    digest: str
    accuracy: Paired
    times: Mapping[str, ComparedPair]

    @property
    def chances(self) -> list[float]:
        """Of its tests: accuracy, then the targets that were measured."""
        return [self.accuracy.chance, *(pair.chance for pair in self._duels)]

    @property
    def _duels(self) -> list[TimedPair]:
        return [times for times in self.times.values() if isinstance(times, TimedPair)]


def judge_finalists(finalists: Sequence[Finalist]) -> tuple[Finding, ...]:
    """What may be said of each, all judged together."""
    chances = [chance for one in finalists for chance in one.chances]
    judged = iter(judge_together(chances, WRONG))
    return tuple(
        Finding(
            one.trial,
            one.digest,
            _accuracy(one.accuracy, next(judged)),
            {
                name: _priced(times)
                if isinstance(times, PricedPair)
                else _timed(times, next(judged))
                for name, times in one.times.items()
            },
        )
        for one in finalists
    )


def _accuracy(paired: Paired, judged: Judgement) -> AccuracyGain:
    verdict: Verdict = "tie"
    if judged.more_than_chance:
        verdict = "better" if paired.mean > 0 else "worse"
    low, high = paired.interval(judged.level)
    return AccuracyGain(paired.differences, low, high, paired.chance, verdict, judged.level)


def _timed(pair: TimedPair, judged: Judgement) -> LatencyGain:
    return LatencyGain(
        pair.ratio,
        pair.interval(judged.level),
        pair.provenance,
        pair.contended,
        _faster(pair.ratio) if judged.more_than_chance and pair.counts else "tie",
        pair.rule,
        pair.chance,
        judged.level,
    )


def _priced(times: PricedPair) -> LatencyGain:
    verdict = _faster(times.ratio) if times.counts else "tie"
    return LatencyGain(times.ratio, None, times.provenance, False, verdict, times.rule)


def _faster(ratio: float) -> Verdict:
    return "better" if ratio < 1 else "worse"
