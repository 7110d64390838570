"""A straight line through finished trainings, and how far above it another may come out.

The prediction limit is that of a normal linear model (Weisberg, "Applied Linear Regression", 2005,
section 3.6). It lies s t (1 + z' (Z'Z)^-1 z)^1/2 above the line, where

- n and k are the numbers of points and of coefficients,
- Z (n, k) and z are the figures of the points and of the new point,
- s is the standard deviation of the residuals,
- t is the quantile of Student's t with n - k degrees of freedom.

The limit rises by itself if there are few points, or if the new point is unlike them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """Least squares through figures and final scores.

    Attributes:
        centre: Mean of the figures, (K,).
        design: A constant and the figures from their mean, (N, K + 1).
        inverse: Pseudoinverse of the design, (K + 1, N).
        coefficients: Constant and slopes, (K + 1,).
        residuals: Final scores less the line, (N,).
        freedom: Remaining degrees of freedom.
    """

    centre: NDArray[np.float64]
    design: NDArray[np.float64]
    inverse: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    residuals: NDArray[np.float64]
    freedom: int

    @classmethod
    def fitted(cls, shown: NDArray[np.float64], finals: NDArray[np.float64]) -> "Line":
        """Fit the line to figures (N, K) and final scores (N,)."""
        centre = shown.mean(axis=0)
        design = np.column_stack([np.ones(len(finals)), shown - centre])
        inverse = np.linalg.pinv(design)
        coefficients = inverse @ finals
        freedom = len(finals) - int(np.linalg.matrix_rank(design))
        return cls(centre, design, inverse, coefficients, finals - design @ coefficients, freedom)

    def read_at(self, signals: Sequence[float]) -> float:
        """The final score on the line at `signals`."""
        return float(self._at(signals) @ self.coefficients)

    def upper_at(self, signals: Sequence[float], miss: float) -> float:
        """The score that a share `miss` of trainings with figures `signals` exceed."""
        from scipy.special import stdtrit  # takes 0.25 s, which `--help` saves

        at = self._at(signals)
        reach = at @ self.inverse  # (N,); its square sum is z' (Z'Z)^-1 z
        # False if the known figures do not vary in this direction, as with one size for all.
        seen = np.allclose(reach @ self.design, at, rtol=1e-6, atol=1e-9)
        if self.freedom < 1 or not seen:
            return math.inf
        variance = float(self.residuals @ self.residuals) / self.freedom
        spread = math.sqrt(variance * (1 + float(reach @ reach)))
        return float(at @ self.coefficients + stdtrit(self.freedom, 1 - miss) * spread)

    def unexplained(self) -> float:
        """Leave-one-out squared error of the line, as a share of that of the mean; at least 0.

        One fit gives all errors (Cook and Weisberg, "Residuals and Influence in Regression", 1982,
        equation 2.2.4).
        """
        finals = self.residuals + self.design @ self.coefficients
        free = 1 - np.einsum("nk,kn->n", self.design, self.inverse)
        if (free < 1e-9).any():
            return math.inf
        beside_line = self.residuals / free
        beside_mean = (finals - finals.mean()) * len(finals) / (len(finals) - 1)
        all_of_it = float(beside_mean @ beside_mean)
        return float(beside_line @ beside_line) / all_of_it if all_of_it else math.inf

    def _at(self, signals: Sequence[float]) -> NDArray[np.float64]:
        return np.concatenate([[1.0], np.asarray(signals, dtype=np.float64) - self.centre])
