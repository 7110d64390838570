"""A model of accuracy over networks: a Gaussian process that is fitted to trainings.

Its kernel has a length for each feature and the noise of one training (Rasmussen and Williams,
"Gaussian Processes for Machine Learning", chapters 2 and 5).
"""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel

Array = np.ndarray

LENGTHS = 5.0, (1.0, 100.0)  # of a feature, in its standard deviations: at first; least, most
SIGNAL = 1.0, (0.1, 10.0)  # variance of accuracy over networks, as a share of that of the scores
NOISE = 0.3, (0.01, 2.0)  # variance of a training, as a share of that of the scores


@dataclass(frozen=True)
class AccuracyModel:
    """What trainings tell of the scores of all networks of a space; a higher score is better.

    Attributes:
        noise: The deviation of one training.
    """

    noise: float
    _process: GaussianProcessRegressor
    _centre: Array
    _scale: Array

    @classmethod
    def fitted(cls, features: Array, scores: Array) -> Self:
        """Fit the model to the trainings of networks.

        Args:
            features: The features of each network, of shape (N, F).
            scores: The scores of the trainings, of shape (N,).
        """
        centre, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        lengths = RBF(np.full(features.shape[1], LENGTHS[0]), LENGTHS[1])
        kernel = ConstantKernel(*SIGNAL) * lengths + WhiteKernel(*NOISE)
        return cls._on(features, scores, centre, scale, kernel, learn=True)

    def with_trainings(self, features: Array, scores: Array) -> Self:
        """Return the model of other trainings with the same kernel, which takes little time."""
        kernel = self._process.kernel_
        return self._on(features, scores, self._centre, self._scale, kernel, learn=False)

    def at(self, features: Array) -> tuple[Array, Array]:
        """Estimate the expected scores of networks, without the noise of one training.

        Args:
            features: Their features, of shape (M, F).

        Returns:
            The mean and the deviation of each, of shape (M,).
        """
        mean, deviation = self._process.predict(
            (features - self._centre) / self._scale, return_std=True
        )
        variance = np.maximum(deviation**2 - self.noise**2, 1e-12 * self.noise**2)
        return mean, np.sqrt(variance)

    @classmethod
    def _on(
        cls,
        features: Array,
        scores: Array,
        centre: Array,
        scale: Array,
        kernel: Kernel,
        *,
        learn: bool,
    ) -> Self:
        optimizer = "fmin_l_bfgs_b" if learn else None
        process = GaussianProcessRegressor(kernel, optimizer=optimizer, normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is usual
            process.fit((features - centre) / scale, scores)
        spread = float(np.std(scores)) or 1.0
        noise = spread * float(np.sqrt(process.kernel_.k2.noise_level))
        return cls(noise, process, centre, scale)
