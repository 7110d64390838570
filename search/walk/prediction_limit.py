"""A straight line through finished trainings, and how far above it another may come out.

The prediction limit of a normal linear model (Weisberg, "Applied Linear Regression", 2005, section
3.6): of n points and k coefficients, with Student's t of n - k degrees of freedom and the
residuals' standard deviation s, it is s t (1 + z' (Z'Z)^-1 z)^1/2 above the line, for figures Z
(n, k) of the points and z of the new one. Few points, or a new one unlike them, raise it by
themselves.
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
        inverse: Its pseudoinverse, (K + 1, N).
        coefficients: (K + 1,).
        residuals: (N,).
        freedom: Degrees of freedom that are left.
    """

    centre: NDArray[np.float64]
    design: NDArray[np.float64]
    inverse: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    residuals: NDArray[np.float64]
    freedom: int

    @classmethod
    def fitted(cls, shown: NDArray[np.float64], finals: NDArray[np.float64]) -> "Line":
        """From figures (N, K) and final scores (N,)."""
        centre = shown.mean(axis=0)
        design = np.column_stack([np.ones(len(finals)), shown - centre])
        inverse = np.linalg.pinv(design)
        coefficients = inverse @ finals
        freedom = len(finals) - int(np.linalg.matrix_rank(design))
        return cls(centre, design, inverse, coefficients, finals - design @ coefficients, freedom)

    def read_at(self, signals: Sequence[float]) -> float:
        """Its final score for `signals`."""
        return float(self._at(signals) @ self.coefficients)

    def upper_at(self, signals: Sequence[float], miss: float) -> float:
        """The score that a share `miss` of trainings with these figures come out above."""
        from scipy.special import stdtrit  # a quarter second, which `--help` can do without

        at = self._at(signals)
        reach = at @ self.inverse  # (N,); its square sum is z' (Z'Z)^-1 z
        # Figures in a direction in which those known do not differ, as one size for all.
        seen = np.allclose(reach @ self.design, at, rtol=1e-6, atol=1e-9)
        if self.freedom < 1 or not seen:
            return math.inf
        variance = float(self.residuals @ self.residuals) / self.freedom
        spread = math.sqrt(variance * (1 + float(reach @ reach)))
        return float(at @ self.coefficients + stdtrit(self.freedom, 1 - miss) * spread)

    def unexplained(self) -> float:
        """Squared error of lines through all but one, of that of the mean of the others, from 0.

        One fit gives all (Cook and Weisberg, "Residuals and Influence in Regression", 1982,
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
