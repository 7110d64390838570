"""Statistics that several folders need: rank correlations, and tests judged together.

They stand on a floor of their own: neither a latency nor a study owns them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One of several tests: the level it was judged at, and whether it is more than chance."""

    level: float
    more_than_chance: bool


def judge_together(chances: Sequence[float], wrong: float) -> list[Judgement]:
    """Judge several tests as one family (Holm 1979).

    The rarest is held against all of them, each further one against those left. If one is not
    more than chance, none after it is, and all of these are held to its level. Nothing is asked
    of how the tests depend on each other.

    Args:
        chances: The p-value of each test.
        wrong: The chance that any of the judgements is wrong.

    Returns:
        One judgement for each test, in their order.
    """
    found: dict[int, Judgement] = {}
    left, ended = len(chances), False
    for index in sorted(range(len(chances)), key=chances.__getitem__):
        ended = ended or chances[index] > wrong / left
        found[index] = Judgement(wrong / left, not ended)
        left -= not ended
    return [found[index] for index in range(len(chances))]


def paired_difference(ours: Bools, theirs: Bools) -> tuple[float, float, float]:
    """Return the difference of two shares of the same cases, and the ends of its 95 % interval.

    Half a case is added to each of the four cells (Agresti and Min, Statistics in Medicine 24,
    2005). So few cases, or none that differ, leave an interval too.

    Args:
        ours: Whether each case holds for the first, (N,).
        theirs: The same for the second.
    """
    count = len(ours)
    gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    whole = count + 2
    middle = (gained - lost) / whole
    error = (gained + lost + 1 - (gained - lost) ** 2 / whole) ** 0.5 / whole
    reach = 1.96 * error
    return (gained - lost) / count, middle - reach, middle + reach


def kendall_tau(ours: Floats, theirs: Floats) -> Floats:
    """Return Kendall's τ-b; not a number if all values of one side are equal.

    It is SciPy's `kendalltau` without the p-value, for many samples at once: an interval takes
    thousands of them.

    Args:
        ours: Values of shape (..., N).
        theirs: Others of the same shape.

    Returns:
        The correlation of each sample, of shape (...).
    """
    first, second = _pairs(ours.shape[-1])
    x = np.sign(ours[..., first] - ours[..., second])
    y = np.sign(theirs[..., first] - theirs[..., second])
    return _share((x * y).sum(-1), np.sqrt(np.abs(x).sum(-1) * np.abs(y).sum(-1)))


def spearman_rho(ours: Floats, theirs: Floats) -> Floats:
    """Return Spearman's ρ, with mean ranks for ties; see `kendall_tau`."""
    from scipy.stats import rankdata  # takes half a second, which `--help` can do without

    x, y = rankdata(ours, axis=-1), rankdata(theirs, axis=-1)
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return _share((x * y).sum(-1), np.sqrt((x * x).sum(-1) * (y * y).sum(-1)))


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan))


@lru_cache(maxsize=8)
def _pairs(count: int) -> tuple[Index, Index]:
    """Return the places of each two of `count`; found once for the thousands of resamples."""
    first, second = np.triu_indices(count, 1)
    return first, second
