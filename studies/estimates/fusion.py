"""The fusion of trainings, the model of accuracy and latency into one estimate of each network.

The estimate is of a *longer* training. A short one likes small networks too much, and size knows
nothing else. Their errors differ, so that their sum is better than both. The model's score, which
knows the network's own training, and the logarithm of latency are standardised. A regression on
the longer trainings weighs them. Its prior weighs them equally, and stands alone until
`FEWEST_LONGER` are known.

Size is latency on purpose. In networks that are drawn at random, FLOPs and parameters say as much.
A search would exploit them: it finds networks that have many FLOPs for their latency, whose longer
trainings disappoint. It cannot exploit latency, which is its other objective. `docs/lab` has the
evidence of 2026-11-29, and `benchmarks/fused_estimates.py` what the estimates give.
"""

from dataclasses import dataclass

import numpy as np

from nas_sv2.studies.estimates.accuracy_model import AccuracyModel, Array
from nas_sv2.studies.estimates.one_thread import on_one_thread

FEWEST_LONGER = 8
"""Longer trainings from which they decide the weights."""
ERROR = 0.5  # deviation of a longer training from the prior's estimate, in deviations of theirs
WEIGHT = 0.25  # deviation of either weight from the prior's
WORTH = 4  # of the prior's error, in longer trainings
LEAST_RANGE = 0.2  # deviation of log ms: networks of equal latency are not ordered by it


@dataclass(frozen=True)
class Fused:
    """The estimates of networks, of Student's t distribution.

    Attributes:
        mean: The score that is expected of a longer training, of shape (N,).
        covariance: The squared scale of the scores, of shape (N, N).
        free: The degrees of freedom. Few trainings say little about their own deviation.
        longer: The number of longer trainings that decided the weights. If it is 0, the scale is
            that of the recipe's own scores.
    """

    mean: Array
    covariance: Array
    free: int
    longer: int

    @property
    def deviation(self) -> Array:
        """The deviation of each score."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def reach(self) -> float:
        """The deviations on each side of the mean that hold 90 %."""
        from scipy.special import stdtrit

        return float(stdtrit(self.free, 0.95))

    def chance_better(self, ours: int, theirs: int) -> float:
        """Return the chance that the longer training of one place is better than the other's."""
        from scipy.special import stdtr

        to = np.zeros(len(self.mean))
        to[ours], to[theirs] = 1.0, -1.0
        return float(stdtr(self.free, to @ self.mean / np.sqrt(to @ self.covariance @ to)))

    def drawn(self, count: int, draws: int) -> Array:
        """Draw the scores of the first `count` networks together, of shape (count, draws)."""
        generator = np.random.default_rng(0)
        root = np.linalg.cholesky(self.covariance[:count, :count])
        normal = root @ generator.normal(size=(count, draws))
        wider = np.sqrt(self.free / generator.chisquare(self.free, draws))
        return np.asarray(self.mean[:count, None] + normal * wider)


@on_one_thread
def fuse(
    features: Array,
    log_ms: Array,
    scores: Array,
    longer: Array,
    informing: AccuracyModel | None = None,
) -> Fused:
    """Estimate what a longer training of each network would score.

    Args:
        features: The features of the networks, of shape (N, F).
        log_ms: The logarithms of their latencies in ms, of shape (N,); means over the targets.
        scores: The scores of their trainings; not a number where there is none.
        longer: The scores of their longer trainings, in the same way.
        informing: The model of another study, or None.
    """
    trained, known = ~np.isnan(scores), ~np.isnan(longer)
    model = AccuracyModel.fitted(features[trained], scores[trained], informing)
    expected, covariance = model.together(features)
    both = np.column_stack([expected, log_ms])
    if known.sum() < FEWEST_LONGER:
        return _by_prior(both, covariance, scores[trained], trained)
    return _by_regression(both, covariance, longer, known)


def latency_credit(expected: Array, log_ms: Array) -> float:
    """Return the growth of a longer training's score by a unit of the logarithm of latency.

    With it, scores by the recipe and latencies weigh equally, as they do in `fuse` until longer
    trainings are known.

    Args:
        expected: The scores of networks, of shape (N,).
        log_ms: The logarithms of their latencies in ms, of shape (N,); means over the targets.
    """
    _, scale = _standard(np.column_stack([expected, log_ms]), np.ones(len(expected), bool))
    return float(scale[0] / scale[1])


def _by_prior(both: Array, covariance: Array, scores: Array, trained: Array) -> Fused:
    """Weigh equally; the mean and the deviation of the scores are the recipe's."""
    table, scale = _standard(both, trained)
    signal = np.sqrt(1 - ERROR**2) / (table[trained].sum(axis=1).std() or 1.0)
    spread = float(scores.std())
    mean = scores.mean() + spread * signal * table.sum(axis=1)
    inherited = (spread * signal / scale[0]) ** 2 * covariance
    full = _with_rest(inherited, (ERROR * spread) ** 2, trained)
    return Fused(mean, full, max(int(trained.sum()) - 1, 1), 0)


def _by_regression(both: Array, covariance: Array, longer: Array, known: Array) -> Fused:
    """Weigh by a Bayesian regression (Bishop 2006, section 3.3) on the longer trainings."""
    table, scale = _standard(both, known)
    seen, count = table[known], int(known.sum())
    middle, spread = longer[known].mean(), float(longer[known].std()) or 1.0
    truth = (longer[known] - middle) / spread
    prior = np.full(2, np.sqrt(1 - ERROR**2) / (seen.sum(axis=1).std() or 1.0))
    inverse = np.linalg.inv(seen.T @ seen / ERROR**2 + np.eye(2) / WEIGHT**2)
    weights = inverse @ (seen.T @ truth / ERROR**2 + prior / WEIGHT**2)
    free = WORTH + count - 3
    error = (WORTH * ERROR**2 + ((truth - seen @ weights) ** 2).sum()) / free
    unsure = error * (1 / count + np.einsum("ni,ij,nj->n", table, inverse / ERROR**2, table))
    inherited = (spread * weights[0] / scale[0]) ** 2 * covariance
    full = _with_rest(inherited, spread**2 * error, known) + np.diag(spread**2 * unsure)
    return Fused(middle + spread * table @ weights, full, free, count)


def _standard(both: Array, among: Array) -> tuple[Array, Array]:
    scale = both[among].std(axis=0)
    scale = np.maximum(np.where(scale > 1e-12, scale, 1.0), [0.0, LEAST_RANGE])
    return (both - both[among].mean(axis=0)) / scale, scale


def _with_rest(inherited: Array, variance: float, among: Array) -> Array:
    """Add what makes the networks' own variances `variance` on average, at least a quarter."""
    rest = variance - float(np.diag(inherited)[among].mean())
    return np.asarray(inherited + max(rest, variance / 4) * np.eye(len(inherited)))
