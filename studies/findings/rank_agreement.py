"""How far two orders of the same networks agree, and how sure that is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas_sv2.statistics import Floats, Index, kendall_tau, spearman_rho

RESAMPLES = 2000
FEWEST = 8
"""Networks from which resampling says how sure a rank correlation is.

What it calls 95 % held the truth in 60, 79, 88 and 98 % of 400 draws of 4, 5, 6 and 8 networks
with τ = 0.71: of few, most resamples have the order of the sample."""
MOST_PAIRS = 2_000_000  # of networks that are compared at once: bounds the memory
CONFIDENCE = 0.95
TWO_SIDED = 1.96  # standard deviations that hold 95 % of a normal distribution

Scores = Sequence[float]
"""Of networks, in one order."""
Runs = Sequence[Scores]
"""Of the same networks by several seeds; what is the same in every run, a count say, is one."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, by resampling the networks.

    Attributes:
        value: The figure of all networks; None if one side ranks all of them alike.
        low: Lower end of the interval; None of fewer than `FEWEST` networks, or without a figure.
        high: Upper end, in the same way.
    """

    value: float | None
    low: float | None
    high: float | None

    @property
    def above_zero(self) -> bool | None:
        """Whether the whole interval is above 0; None without an interval."""
        return None if self.low is None else self.low > 0

    def __str__(self) -> str:
        """As `0.75 (0.52 to 0.88)`, or why there is no interval or no figure."""
        if self.value is None:
            return "none (all ranked alike)"
        if self.low is None or self.high is None:
            return f"{self.value:.2f} (no interval, under {FEWEST} networks)"
        if self.low == self.high:  # as of equal orders, however many: no sign of being sure
            return f"{self.value:.2f} (no interval, all resamples alike)"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Decisive:
    """The pairs that the reference tells apart, and those with the same order elsewhere.

    `right` is a mean over the seeds.
    """

    right: float
    pairs: int

    @property
    def share(self) -> float | None:
        """`right` of `pairs`; None where the reference tells no pair apart."""
        return self.right / self.pairs if self.pairs else None

    def __str__(self) -> str:
        """As `92 % of 80`."""
        return "none" if self.share is None else f"{self.share:.0%} of {self.pairs}"


def kendall(ours: Runs, theirs: Scores) -> Estimate:
    """Kendall's τ-b, as one run has it on average."""
    return _interval(lambda index: _mean(kendall_tau, ours, theirs, index), len(theirs))


def spearman(ours: Runs, theirs: Scores) -> Estimate:
    """Spearman's ρ, as one run has it on average."""
    return _interval(lambda index: _mean(spearman_rho, ours, theirs, index), len(theirs))


def chance_of(ours: Runs, theirs: Scores) -> float:
    """How often an order drawn at random has at least the τ of `ours` (permutation test).

    Always, if one side ranks all networks alike.
    """
    generator = np.random.default_rng(0)
    found = _mean(kendall_tau, ours, theirs, np.arange(len(theirs)))
    if np.isnan(found):
        return 1.0
    order = np.asarray(theirs, float)
    drawn = np.array([generator.permutation(order) for _ in range(RESAMPLES)])
    own = (np.broadcast_to(np.asarray(run, float), drawn.shape) for run in ours)
    as_good = np.mean([kendall_tau(run, drawn) for run in own], axis=0) >= found
    return float(1 + as_good.sum()) / (1 + RESAMPLES)


def lead(ours: Runs, others: Runs, reference: Scores) -> Estimate:
    """Return the τ of `ours` against the reference minus that of `others`.

    Both are taken over the same resampled networks, so that their common part cancels.
    """
    return _interval(
        lambda index: (
            _mean(kendall_tau, ours, reference, index)
            - _mean(kendall_tau, others, reference, index)
        ),
        len(reference),
    )


def decisive(ours: Runs, reference: Scores, gap: float) -> Decisive:
    """The agreement on pairs whose scores differ by more than `gap` in the reference."""
    first, second = np.triu_indices(len(reference), 1)
    theirs = np.subtract(_at(reference, first), _at(reference, second))
    counted = np.abs(theirs) > gap
    right = sum(
        int((np.sign(_at(run, first) - _at(run, second)) == np.sign(theirs))[counted].sum())
        for run in ours
    )
    return Decisive(right / len(ours), int(counted.sum()))


BESIDE = "beside what a seed does to all networks alike"
"""The part that `seed_noise` leaves out, in words: it changes any single score but no order."""


def seed_noise(scores: Sequence[Scores]) -> float | None:
    """Standard deviation of one training's score, as far as it does not move all networks alike.

    Args:
        scores: The scores of each network by seed. Seeds are shared by all networks. The effect
            of a seed on all of them changes no order, so it is taken off (residuals of network
            plus seed).

    Returns:
        None with fewer than two seeds or two networks.
    """
    table = np.asarray(scores, float)
    networks, seeds = table.shape
    if networks < 2 or seeds < 2:
        return None
    rest = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    return float(np.sqrt((rest**2).sum() / ((networks - 1) * (seeds - 1))))


def smallest_difference(noise: float, trainings: int) -> float:
    """The difference of two means over `trainings` that noise alone exceeds once in twenty."""
    return float(TWO_SIDED * noise * np.sqrt(2 / trainings))


def _mean(
    statistic: Callable[[Floats, Floats], Floats], ours: Runs, theirs: Scores, index: Index
) -> Floats:
    truth = _at(theirs, index)
    return np.asarray(np.mean([statistic(_at(run, index), truth) for run in ours], axis=0))


def _interval(statistic: Callable[[Index], Floats], count: int) -> Estimate:
    """Give the statistic of `count` networks; it takes the places of many resamples at once."""
    whole = float(statistic(np.arange(count)))
    if math.isnan(whole):
        return Estimate(None, None, None)
    if count < FEWEST:
        return Estimate(whole, None, None)
    places = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    parts = np.array_split(places, 1 + RESAMPLES * count**2 // MOST_PAIRS)
    draws = np.concatenate([statistic(part) for part in parts])
    low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(whole, float(low), float(high))


def _at(scores: Scores, index: Index) -> Floats:
    return np.asarray(scores, float)[index]
