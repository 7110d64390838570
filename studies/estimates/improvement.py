"""The growth of the front's hypervolume that is expected of a candidate, in closed form.

The space of latencies is cut into boxes at the latencies of the front. Within a box the front has
one score, its level. The growth is a sum over boxes of a product. One factor is the expected part
of the box that the candidate reaches. The other is the expected improvement of its score over the
level. Scores and latencies are independent normal variables, so both are closed forms (Emmerich,
Deutz and Klinkenberg, "Hypervolume-based expected improvement", CEC 2011).
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

MOST_BOXES = 4_000
"""The most boxes: 62 networks of a front with two latencies, 14 with three."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimated scores and latencies of networks.

    Attributes:
        score: The mean of the score, of shape (M,); higher is better.
        score_deviation: Its deviation.
        log_ms: The mean logarithm of each latency, of shape (M, T).
        log_ms_deviation: Its deviation; 0 if the latency is known.
    """

    score: Array
    score_deviation: Array
    log_ms: Array
    log_ms_deviation: Array

    def of(self, chosen: Array) -> "Estimates":
        """Return the estimates of some of the networks."""
        return Estimates(
            self.score[chosen],
            self.score_deviation[chosen],
            self.log_ms[chosen],
            self.log_ms_deviation[chosen],
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """The corner of the hypervolume: nothing beyond it counts.

    Attributes:
        score: The lowest score.
        log_ms: The logarithm of the longest latency on each target, of shape (T,).
    """

    score: float
    log_ms: Array


def expected_improvement(asked: Estimates, front: Estimates, reference: Reference) -> Array:
    """Return the expected growth of the hypervolume by each network that is asked about.

    Args:
        asked: The networks, M of them.
        front: The networks that the present front consists of; others may be among them.
        reference: The corner.

    Returns:
        The growth, of shape (M,).
    """
    inside = (front.score > reference.score) & np.all(front.log_ms < reference.log_ms, axis=1)
    scores, log_ms = front.score[inside], front.log_ms[inside]
    kept = non_dominated(scores, log_ms)
    scores, log_ms = _thinned(scores[kept], log_ms[kept])
    shares = np.ones((len(asked.score), 1))  # of each box, by network that is asked about
    reached = np.ones((1, len(scores)), dtype=bool)  # by box and network of the front
    for target in range(log_ms.shape[1]):
        edges = np.unique(log_ms[:, target])
        lows = np.concatenate([[-np.inf], edges])
        highs = np.concatenate([edges, reference.log_ms[target : target + 1]])
        widths = _mean_reach(asked, target, highs) - _mean_reach(asked, target, lows)
        shares = (shares[:, :, None] * widths[:, None, :]).reshape(len(shares), -1)
        fast = log_ms[:, target] <= lows[:, None]
        reached = reached[:, None, :] & fast[None, :, :]
        reached = reached.reshape(shares.shape[1], len(scores))
    levels = np.max(np.where(reached, scores, reference.score), axis=1, initial=reference.score)
    distinct, box = np.unique(levels, return_inverse=True)
    by_level = np.zeros((len(levels), len(distinct)))
    by_level[np.arange(len(levels)), box] = 1.0
    better = _above(asked.score[:, None] - distinct, asked.score_deviation[:, None])
    growth: Array = np.sum((shares @ by_level) * better, axis=1)
    return growth


def non_dominated(scores: Array, log_ms: Array) -> Array:
    """Say which networks no other one beats: of shape (N,); equal ones do not beat each other."""
    costs = np.column_stack([-scores, log_ms])
    no_worse = np.all(costs[:, None, :] <= costs[None, :, :], axis=2)
    better = np.any(costs[:, None, :] < costs[None, :, :], axis=2)
    kept: Array = ~np.any(no_worse & better, axis=0)
    return kept


def spread(points: Array, count: int, known: Array) -> list[int]:
    """Choose `count` points that are far from each other and from those that are known.

    Each is the farthest from all before it (maximin; Johnson, Moore and Ylvisaker, 1990).

    Args:
        points: The points, of shape (N, D).
        count: The number to choose, at most N.
        known: Points that are chosen already, of shape (K, D); the first choice is the point
            nearest to the middle if there are none.
    """
    chosen: list[int] = []
    if len(known) == 0:
        chosen.append(int(np.argmin(_squares(points, points.mean(axis=0)))))
        known = points[chosen]
    distance = np.min([_squares(points, one) for one in known], axis=0)
    distance[chosen] = -1.0
    while len(chosen) < count:
        farthest = int(np.argmax(distance))
        chosen.append(farthest)
        distance = np.minimum(distance, _squares(points, points[farthest]))
        distance[farthest] = -1.0
    return chosen[:count]


def _squares(points: Array, one: Array) -> Array:
    squares: Array = np.sum((points - one) ** 2, axis=1)
    return squares


def _thinned(scores: Array, log_ms: Array) -> tuple[Array, Array]:
    """Leave out networks of a front with too many boxes, those near to others first."""
    most = int(MOST_BOXES ** (1 / log_ms.shape[1])) - 1
    if len(scores) <= most or log_ms.shape[1] == 1:
        return scores, log_ms
    points = np.column_stack([scores, log_ms])
    ranges = np.ptp(points, axis=0)
    chosen = spread(points / np.where(ranges > 0, ranges, 1.0), most, points[:0])
    return scores[chosen], log_ms[chosen]


def _mean_reach(asked: Estimates, target: int, edges: Array) -> Array:
    """Return the expected latency that is saved up to each edge, of shape (M, edges)."""
    mean, deviation = asked.log_ms[:, target, None], asked.log_ms_deviation[:, target, None]
    finite = np.isfinite(edges)
    reach = _above(np.where(finite, edges, 0.0) - mean, deviation)
    return np.where(finite, reach, 0.0)


def _above(mean: Array, deviation: Array) -> Array:
    """The expectation of the positive part of normal variables; exact for a deviation of 0."""
    from scipy.special import ndtr

    scale = np.where(deviation > 0, deviation, 1.0)
    z = mean / scale
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    normal = mean * ndtr(z) + scale * density
    return np.asarray(np.where(deviation > 0, normal, np.maximum(mean, 0.0)))
