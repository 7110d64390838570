"""Predict the latency of a network from measurements of others: a sum of costs and a residual.

The costs of the kernels (`node_costs`) are summed. A regression on the shares of the sum adds
its residual: overheads and caches. The prediction is the ratio to the plan's reference network,
which a slow minute of the device does not change. Milliseconds are this ratio times the time of
the reference network.

Every prediction has an interval, from errors on held-out networks. Networks unlike all measured
ones are refused. A predictor only screens networks; measurements decide.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.kernels.coverage import BEYOND, Coverage
from nas_sv2.latency.kernels.node_costs import NodeCosts, Piece, pieces_of, share_of
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.space.networks.lowering import Network

SCHEMA = 1
PER_MS = 2
"""The features that are counts per ms of the sum."""
LARGEST = 100.0
"""The limit of what is taken to the power of e."""
CONFIDENCE = 0.95
"""The share of held-out networks that lie within their intervals."""


@dataclass(frozen=True, slots=True)
class Report:
    """The errors of predictions, on networks that were held out from the fit.

    Attributes:
        networks: Number of networks.
        within_5: The share of networks predicted within ±5 %.
        within_10: The share of networks predicted within ±10 %.
        spearman: Rank correlation of predicted and measured latencies.
        spearman_ci: The 95 % interval of `spearman`.
        seconds: The duration of measuring and fitting, in seconds.
    """

    networks: int
    within_5: float
    within_10: float
    spearman: float
    spearman_ci: tuple[float, float]
    seconds: float

    def describe(self) -> str:
        """Describe the report in one line."""
        low, high = self.spearman_ci
        return (
            f"of {self.networks} networks held out {self.within_5:.0%} within ±5 %, "
            f"{self.within_10:.0%} within ±10 %, Spearman {self.spearman:.3f} "
            f"({low:.3f}–{high:.3f})"
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """The time of a network relative to the reference network, and the 95 % interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Residual:
    """The logarithm of ratio / sum of costs, as a linear function of the features.

    Attributes:
        names: The names of the shares, see `share_of`.
        weights: The weights of `features`.
        constant: The constant term.
    """

    names: Sequence[str]
    weights: Sequence[float]
    constant: float


@dataclass(frozen=True)
class Predictor:
    """A latency model fitted to one device, plan and space.

    Attributes:
        lowering: The form of the networks, from the plan.
        costs: The costs of kernels.
        residual: The correction of the sum of costs.
        coverage: The kernels that were measured.
        sums_us: Least and greatest sum of costs among the measured networks, in µs.
        error: The bound of 95 % of the held-out errors, in natural logarithms.
        reference_ms: The usual time of the reference network in ms: the median of the sessions.
        slowness_power: The power of `at_usual_pace`.
        report: The errors on held-out networks.
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
        """Predict the ratio of `network` to the reference network.

        Raises:
            MeasurementError: An operator, or the sum of costs, is unlike all that were measured.
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
        """Return the predictor as plain data, without code."""
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
        """Read the predictor that `to_json` wrote, for a document of this `SCHEMA`.

        Raises:
            ValueError: The document has another form.
        """
        fields = {**document, "costs": {"coefficients": document["costs"]}}
        found = msgspec.convert(fields, cls)
        low, high = found.sums_us
        exponents = (found.residual.constant, found.error, found.slowness_power)
        if len(found.residual.weights) != len(found.residual.names) + PER_MS:
            raise ValueError("residual.weights must have one for each feature")
        if found.coverage.classes - found.costs.coefficients.keys():
            raise ValueError("coverage.classes must have costs")
        if not 0 < low <= high or found.reference_ms <= 0:
            raise ValueError("sums_us and reference_ms must be times")
        if max(map(abs, (*exponents, *found.residual.weights))) > LARGEST:
            raise ValueError(f"it has a number beyond {LARGEST:g}")
        return found


def at_usual_pace(ratio: float, reference_ms: float, usual_ms: float, power: float) -> float:
    """Correct a ratio as if the reference network had taken `usual_ms`, not `reference_ms`.

    If the reference network takes d ms longer, a network of ratio r takes d · r^power longer.
    The power is 1 if a slow spell slows all networks in proportion, as a lower clock does. It is
    0 if the spell adds the same time to each network.
    """
    slowness_ms = reference_ms - usual_ms
    return (ratio * reference_ms - slowness_ms * math.pow(ratio, power)) / usual_ms


@dataclass(frozen=True, slots=True)
class Features:
    """The inputs of the residual.

    Attributes:
        sum_us: The sum of all costs, in µs.
        values: The share of each kind in the sum, then kernels per ms and networks (one) per ms.
    """

    sum_us: float
    values: Sequence[float]


def features(pieces: Sequence[Piece], costs: NodeCosts, names: Sequence[str]) -> Features:
    """Compute the features of a network; `names` are those of the shares."""
    sums: Counter[str] = Counter()
    for piece in pieces:
        sums[share_of(piece.kernel)] += costs.price(piece)  # type: ignore[assignment]
    total = sum(sums.values())
    ms = total / 1e3
    return Features(total, [*(sums[name] / total for name in names), len(pieces) / ms, 1 / ms])
