"""Latencies of networks from those of a few: a sum of costs, corrected by the network's features.

The sum has a price that is not negative for each count of operations and bytes. The rest is
a linear function of the features (ridge regression). `benchmarks/samplers.py
latency` prints its errors.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from nas_sv2.space.graph.cost import Cost, is_depthwise, op_cost
from nas_sv2.space.graph.operators import Graph

Array = np.ndarray

STRENGTHS = np.logspace(-3, 4, 15)


def counts(graph: Graph, cost: Cost) -> Array:
    """Return the counts that latencies are sums of, of shape (C,)."""
    depthwise = sum(op_cost(op).flops for op in graph.ops if is_depthwise(op))
    operations = [(cost.flops - depthwise) / 1e9, depthwise / 1e9]
    moved = [cost.elementwise_bytes / 1e9, cost.memory_access_bytes / 1e9]
    return np.array([*operations, *moved, cost.kernel_count / 1e3, 1.0])


@dataclass(frozen=True)
class LatencyModel:
    """A model of latencies, fitted to those of some networks.

    Attributes:
        deviation: The deviation of an estimate's logarithm, from networks that were left out.
    """

    deviation: float
    _prices: Array
    _centre: Array
    _scale: Array
    _correction: Any  # of scikit-learn, which takes long to load

    @classmethod
    def fitted(cls, counted: Array, features: Array, ms: Array) -> Self:
        """Fit the model to latencies.

        Args:
            counted: The counts of each network, of shape (N, C).
            features: Its features, of shape (N, F).
            ms: Its latency, of shape (N,).
        """
        from scipy.optimize import lsq_linear
        from sklearn.linear_model import RidgeCV

        shares = counted / ms[:, None]
        unit = np.linalg.norm(shares, axis=0)
        # SciPy's nnls finds no end for some latencies that are sums of prices without any noise.
        found = lsq_linear(shares / unit, np.ones(len(ms)), bounds=(0, np.inf), method="bvls")
        prices = found.x / unit
        inputs = np.hstack([features, np.log(counted)])
        centre, scale = inputs.mean(axis=0), inputs.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        missed = np.log(ms) - np.log(counted @ prices)
        ridge = RidgeCV(STRENGTHS).fit((inputs - centre) / scale, missed)
        return cls(float(np.sqrt(-ridge.best_score_)), prices, centre, scale, ridge)

    def log_ms_at(self, counted: Array, features: Array) -> Array:
        """Estimate the logarithm of latencies in ms, of shape (M,)."""
        inputs = np.hstack([features, np.log(counted)])
        correction = self._correction.predict((inputs - self._centre) / self._scale)
        estimated: Array = np.log(counted @ self._prices) + correction
        return estimated
