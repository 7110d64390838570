"""A model of accuracy over networks: a Gaussian process that is fitted to trainings.

The score grows with the first feature, the logarithm of FLOPs, in a line. Its distance from the
line is alike for alike networks. The kernel is Matérn 5/2 over all features, with one length. The
source is Rasmussen and Williams, "Gaussian Processes for Machine Learning", sections 2.2 to 5.4.

Another study may inform the model. The score that it foretells is then part of the mean, with a
weight that the trainings correct. Trainings that contradict it let the weight go to nothing.

The process is our own over SciPy, because scikit-learn's has no prior of its parameters. With one
length a feature and no prior, its 90 % intervals held 38 % of other trainings after 16 trainings
(here 85 %), with τ 0.16 (0.39), by `benchmarks/curves/random.jsonl`.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas_sv2.studies.estimates.one_thread import on_one_thread

Array = NDArray[np.float64]

SIGNAL, LENGTH, SLOPE, NOISE = 0.7, 1.0, 0.6, 0.5
"""The parameters' prior medians: deviations as shares of the scores', the length as one of the
distance of two networks. Chosen on the 152 trainings of `benchmarks/curves/random.jsonl`."""
SPREAD = 0.7  # the deviation of each parameter's logarithm
BELIEF, DOUBT = 0.8, 0.5
"""Mean and deviation of the weight of another study, before any training. With it, 8 trainings of
the seen half of `benchmarks/table`, informed by `benchmarks/curves/random.jsonl`, rank the others
with τ 0.49. Alone they have 0.40, and with shuffled scores of the other study 0.40 too."""
MOST = 128  # trainings by which the parameters are chosen; their time grows with the third power
LEAST_NOISE = 1e-4  # of one training, as a share of the scores' deviation: keeps it solvable


@dataclass(frozen=True, slots=True)
class _Kernel:
    """The covariance of the scores of networks, and the noise of one training.

    The last column of a point is the score that another study foretells.

    Attributes:
        varied: The number of features that vary.
        signal: The deviation from the line.
        length: The root mean square of the differences at which networks are hardly alike.
        slope: The growth for a deviation of the first feature.
        noise: The deviation of one training.
    """

    varied: int
    signal: float = SIGNAL
    length: float = LENGTH
    slope: float = SLOPE
    noise: float = NOISE

    def between(self, ours: Array, theirs: Array) -> Array:
        """Return the covariance of each of ours with each of theirs."""
        mine, others = ours[:, :-1], theirs[:, :-1]
        sums = (mine**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None, :]
        squares = np.maximum(sums - 2 * mine @ others.T, 0.0) / self.varied
        far = np.sqrt(5 * squares) / self.length
        near = self.signal**2 * (1 + far + far**2 / 3) * np.exp(-far)
        near += self.slope**2 * np.outer(ours[:, 0], theirs[:, 0])
        return np.asarray(near + DOUBT**2 * np.outer(ours[:, -1], theirs[:, -1]))

    def variances(self, points: Array) -> Array:
        """Return the variance of each network before any training."""
        lines = (self.slope * points[:, 0]) ** 2 + (DOUBT * points[:, -1]) ** 2
        return np.asarray(self.signal**2 + lines)

    def root(self, points: Array) -> Array:
        """Return the Cholesky factor of the covariance of trainings."""
        variance = max(self.noise, LEAST_NOISE) ** 2
        covariance = self.between(points, points) + variance * np.eye(len(points))
        return np.asarray(np.linalg.cholesky(covariance), float)


@dataclass(frozen=True)
class _Points:
    """Turns features into points: standardised, and a score that another study foretells.

    Attributes:
        centre: The mean of each feature.
        scale: Its deviation.
        informing: The model of the other study, or None.
    """

    centre: Array
    scale: Array
    informing: "AccuracyModel | None"

    def of(self, features: Array) -> Array:
        """Return the points of networks, of shape (N, F + 1)."""
        foretold = np.zeros(len(features))
        if self.informing is not None:
            foretold = self.informing.standard_at(features)
        return np.column_stack([(features - self.centre) / self.scale, foretold])


@dataclass(frozen=True)
class AccuracyModel:
    """The scores that trainings foretell for all networks of a space; higher is better.

    Attributes:
        noise: The deviation of one training.
    """

    noise: float
    _kernel: _Kernel
    _points: _Points
    _middle: float
    _spread: float
    _trained: Array
    _root: Array
    _pull: Array

    @classmethod
    @on_one_thread
    def fitted(cls, features: Array, scores: Array, informing: Self | None = None) -> Self:
        """Fit the model to the trainings of networks.

        Args:
            features: The features of each network, of shape (N, F).
            scores: The scores of the trainings, of shape (N,).
            informing: The model of another study, whose scores may be on another scale.
        """
        centre, scale = features.mean(axis=0), features.std(axis=0)
        varied = scale > 1e-9
        points = _Points(centre, np.where(varied, scale, 1.0), informing)
        chosen = np.linspace(0, len(scores) - 1, min(len(scores), MOST)).astype(int)
        known = points.of(features[chosen])
        values, _, _ = _unforetold(known, scores[chosen])
        kernel = _likeliest(known, values, max(1, int(varied.sum())))
        return cls._on(features, scores, points, kernel)

    @property
    def trainings(self) -> int:
        """The number of trainings that it knows."""
        return len(self._trained)

    def with_trainings(self, features: Array, scores: Array) -> Self:
        """Return the model of other trainings with the same kernel, which takes little time."""
        return self._on(features, scores, self._points, self._kernel)

    def at(self, features: Array) -> tuple[Array, Array]:
        """Estimate the expected scores of networks, without the noise of one training.

        Args:
            features: Their features, of shape (M, F).

        Returns:
            The mean and the deviation of each, of shape (M,).
        """
        points = self._points.of(features)
        mean, solved = self._reached(points)
        own = self._kernel.variances(points)
        variance = np.maximum(own - (solved**2).sum(axis=0), LEAST_NOISE**2)
        return mean, self._spread * np.sqrt(variance)

    def standard_at(self, features: Array) -> Array:
        """Estimate them in deviations of the trainings' scores from their mean."""
        return np.asarray((self.at(features)[0] - self._middle) / self._spread)

    def together(self, features: Array) -> tuple[Array, Array]:
        """Estimate them as `at`, with the covariance of each two, of shape (M, M)."""
        points = self._points.of(features)
        mean, solved = self._reached(points)
        prior = self._kernel.between(points, points)
        return mean, self._spread**2 * (prior - solved.T @ solved)

    def _reached(self, points: Array) -> tuple[Array, Array]:
        from scipy.linalg import solve_triangular

        shared = self._kernel.between(self._trained, points)
        mean = self._middle + self._spread * (BELIEF * points[:, -1] + shared.T @ self._pull)
        return mean, solve_triangular(self._root, shared, lower=True)

    @classmethod
    def _on(cls, features: Array, scores: Array, points: _Points, kernel: _Kernel) -> Self:
        from scipy.linalg import cho_solve

        trained = points.of(features)
        values, middle, spread = _unforetold(trained, scores)
        root = kernel.root(trained)
        pull = cho_solve((root, True), values)
        return cls(kernel.noise * spread, kernel, points, middle, spread, trained, root, pull)


def _unforetold(points: Array, scores: Array) -> tuple[Array, float, float]:
    """Return what no other study foretells of standardised scores; the scores' zero and unit."""
    spread = float(scores.std()) or 1.0
    foretold = BELIEF * points[:, -1]
    middle = float(scores.mean() - spread * foretold.mean())
    return (scores - middle) / spread - foretold, middle, spread


def _likeliest(points: Array, values: Array, varied: int) -> _Kernel:
    """Find the parameters of the highest posterior density."""
    from scipy.linalg import cho_solve
    from scipy.optimize import minimize

    medians = np.log([SIGNAL, LENGTH, SLOPE, NOISE])

    def surprise(logs: Array) -> float:
        root = _Kernel(varied, *np.exp(logs)).root(points)
        misfit = values @ cho_solve((root, True), values) / 2 + np.log(np.diag(root)).sum()
        return float(misfit + (((logs - medians) / SPREAD) ** 2).sum() / 2)

    bounds = [(each - 4, each + 3) for each in medians]
    found = minimize(surprise, medians, method="L-BFGS-B", bounds=bounds)
    return _Kernel(varied, *map(float, np.exp(found.x)))
