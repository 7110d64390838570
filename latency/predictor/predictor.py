"""Latency of a network from a few measurements of others: additive costs, and a fitted residual.

The costs of the kernels (`node_costs`) are summed. What the sum does not know, overheads and
caches, is a regression on how the sum is made up. It predicts the ratio to the plan's reference
network, which a slow minute of the device does not move; milliseconds are the ratio times what the
reference network takes.

Every prediction has an interval, from errors on networks that were held out, and what was never
seen is refused: a predictor screens, it does not crown.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.kernels.coverage import BEYOND, Coverage
from nas_sv2.latency.kernels.node_costs import NodeCosts, Piece, pieces_of, share_of
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.space.networks.lowering import Network

SCHEMA = 1
CONFIDENCE = 0.95
"""Of intervals: so many of the held-out networks lie within."""


@dataclass(frozen=True, slots=True)
class Report:
    """How far predictions were off, on networks that were held out from the fit each time.

    Attributes:
        networks: How many.
        within_5: The share that was predicted within ±5 %.
        within_10: Within ±10 %.
        spearman: Rank correlation of predicted and measured.
        spearman_ci: Its 95 % interval.
        seconds: How long measuring and fitting took.
    """

    networks: int
    within_5: float
    within_10: float
    spearman: float
    spearman_ci: tuple[float, float]
    seconds: float

    def describe(self) -> str:
        """In one line."""
        low, high = self.spearman_ci
        return (
            f"of {self.networks} networks held out {self.within_5:.0%} within ±5 %, "
            f"{self.within_10:.0%} within ±10 %, Spearman {self.spearman:.3f} "
            f"({low:.3f}–{high:.3f})"
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long a network takes relative to the reference network, and the 95 % interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Residual:
    """The logarithm of ratio / sum of costs, as a linear function of what the sum is made of.

    Attributes:
        names: Of the shares, see `share_of`.
        weights: Of `features`.
        constant: What is added.
    """

    names: Sequence[str]
    weights: Sequence[float]
    constant: float


@dataclass(frozen=True)
class Predictor:
    """Fitted to one device, plan and space.

    Attributes:
        lowering: Of the plan.
        costs: Of kernels.
        residual: What the sum does not know.
        coverage: What was seen.
        sums_us: Least and greatest sum of costs among the measured networks.
        error: Held-out networks were off by less than this, in logarithms, in 95 of 100 cases.
        reference_ms: What the reference network usually takes: the median of the sessions.
        slowness_power: See `at_usual_pace`.
        report: How good it is.
    """

    lowering: Lowering
    costs: NodeCosts
    residual: Residual
    coverage: Coverage
    sums_us: tuple[float, float]
    error: float
    reference_ms: float
    slowness_power: float
    report: Report

    def predict(self, network: Network) -> Prediction:
        """The ratio of `network` to the reference network.

        Raises:
            MeasurementError: It has an operator, or a size as a whole, unlike all that was seen.
        """
        pieces = pieces_of(network, self.lowering)
        for piece in pieces:
            self.coverage.check(piece.kernel)
        found = features(pieces, self.costs, self.residual.names)
        low, high = self.sums_us
        if not low / BEYOND <= found.sum_us <= high * BEYOND:
            raise MeasurementError(
                f"no prediction for {network.digest}: its operators sum to "
                f"{found.sum_us / 1e3:.1f} ms, and networks of {low / 1e3:.1f} to "
                f"{high / 1e3:.1f} ms were measured"
            )
        weighted = zip(self.residual.weights, found.values, strict=True)
        correction = self.residual.constant + sum(w * value for w, value in weighted)
        ratio = found.sum_us * math.exp(correction)
        return Prediction(ratio, ratio * math.exp(-self.error), ratio * math.exp(self.error))

    def to_json(self) -> dict[str, Any]:
        """Plain data; no code."""
        return {
            "schema": SCHEMA,
            "lowering": self.lowering,
            "costs": {name: list(row) for name, row in self.costs.coefficients.items()},
            "residual": dataclasses.asdict(self.residual),
            "coverage": self.coverage.to_json(),
            "sums_us": list(self.sums_us),
            "error": self.error,
            "reference_ms": self.reference_ms,
            "slowness_power": self.slowness_power,
            "report": dataclasses.asdict(self.report),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Predictor":
        """The inverse of `to_json`, for a document of this `SCHEMA`."""
        report = document["report"]
        low, high = document["sums_us"]
        return cls(
            document["lowering"],
            NodeCosts(document["costs"]),
            Residual(**document["residual"]),
            Coverage.from_json(document["coverage"]),
            (low, high),
            document["error"],
            document["reference_ms"],
            document["slowness_power"],
            Report(**{**report, "spearman_ci": tuple(report["spearman_ci"])}),
        )


def at_usual_pace(ratio: float, reference_ms: float, usual_ms: float, power: float) -> float:
    """The ratio as if the reference network had taken `usual_ms`, not `reference_ms`.

    When that takes d ms longer, a network of ratio r takes d · r^power longer: power is 1 where a
    slow spell slows all alike, as a lower clock does, and 0 where it costs each network the same.
    """
    slowness_ms = reference_ms - usual_ms
    return (ratio * reference_ms - slowness_ms * math.pow(ratio, power)) / usual_ms


@dataclass(frozen=True, slots=True)
class Features:
    """What the residual is a function of.

    Attributes:
        sum_us: The sum of all costs.
        values: The share of each kind in it, and kernels and networks (one) a millisecond of it.
    """

    sum_us: float
    values: Sequence[float]


def features(pieces: Sequence[Piece], costs: NodeCosts, names: Sequence[str]) -> Features:
    """How the sum of the costs is made up; `names` are those of the shares."""
    sums: Counter[str] = Counter()
    for piece in pieces:
        sums[share_of(piece.kernel)] += costs.price(piece)  # type: ignore[assignment]
    total = sum(sums.values())
    ms = total / 1e3
    return Features(total, [*(sums[name] / total for name in names), len(pieces) / ms, 1 / ms])
