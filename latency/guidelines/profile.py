"""A device's own guidelines: costs of its operators, from the times of the controlled experiments.

The experiments (`space.experiments`) are networks of ten like blocks, and with them whole networks
of the paper. Each was timed as a whole, so that every target can be fitted, whatever it runs: the
time of a network is the sum of its operators' costs, with one formula for each class of operator
(`node_costs`) and no coefficient below zero.
"""

import dataclasses
import datetime
import hashlib
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.guidelines.experiment_run import ExperimentTime
from nas_sv2.latency.guidelines.waste import Waste, waste_by_block, waste_of
from nas_sv2.latency.kernels.node_costs import (
    NodeCosts,
    Piece,
    Terms,
    class_of,
    pieces_of_graph,
    terms_of,
)
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.latency.targets.target import Target, known_identity
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.units.reference import REFERENCES

SCALES = ("x0_5", "x1_0", "x1_5", "x2_0")
FORMS = ("", "se_", "residual_", "se_residual_", "star_")
"""Sizes and forms of ShuffleNet V2 that are timed beside the experiments."""
SCHEMA = 1
FOLDS = 10
FEWEST = 40
"""Networks from which a fit is tried; the experiments are more than a hundred."""
STEADY = 1e-3
"""Each coefficient is held near zero by so much of one network's relative error: of two that the
experiments do not tell apart, both are used."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far the formulas were off on networks that a fit had not seen, of ten folds.

    Attributes:
        networks: How many there were.
        typical: The median of the relative errors.
        within_10: The share of networks within ±10 %.
    """

    networks: int
    typical: float
    within_10: float

    def describe(self) -> str:
        """In one line."""
        return (
            f"from {self.networks} networks; on held-out ones the typical error is "
            f"{self.typical:.1%}, {self.within_10:.0%} within ±10 %"
        )


@dataclass(frozen=True)
class GuidelineProfile:
    """What the guidelines cost on one device.

    Attributes:
        device: In words, with runtime, threads and batch.
        provenance: Of the times it was fitted to.
        lowering: Which form of a network ran.
        fitted_at: ISO 8601, UTC.
        costs: µs for each term, by class of operator.
        accuracy: How far off they are.
    """

    device: str
    provenance: Provenance
    lowering: Lowering
    fitted_at: str
    costs: NodeCosts
    accuracy: Accuracy

    def waste(self, graph: Graph) -> Waste:
        """The time of `graph` and how much of it is wasted, by guideline.

        Raises:
            MeasurementError: It has an operator of a class that was not timed; names it.
        """
        return waste_of(pieces_of_graph(graph, self.lowering), self.costs)

    def waste_by_block(self, graph: Graph) -> dict[str, Waste]:
        """The same for each building block.

        Raises:
            MeasurementError: As `waste`.
        """
        return waste_by_block(pieces_of_graph(graph, self.lowering), self.costs)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        fields = {name: value for name, value in document.items() if name != "schema"}
        return cls(
            **{
                **fields,
                "costs": NodeCosts(document["costs"]["coefficients"]),
                "accuracy": Accuracy(**document["accuracy"]),
            }
        )


def fit_costs(networks: Sequence[Sequence[Piece]], times_us: Sequence[float]) -> NodeCosts:
    """The formulas whose sums are nearest to the times of whole networks, by relative squares."""
    return _fitted([_sums(pieces) for pieces in networks], times_us)


Sums = Mapping[str, np.ndarray]
"""The terms of a network's kernels, added up by class."""


def _sums(pieces: Sequence[Piece]) -> Sums:
    sums: dict[str, np.ndarray] = {}
    for piece in pieces:
        name = class_of(piece.kernel)
        sums[name] = sums.get(name, 0.0) + np.array(terms_of(piece))
    return sums


def _fitted(networks: Sequence[Sums], times_us: Sequence[float]) -> NodeCosts:
    from sklearn.linear_model import LinearRegression  # a second, which `--help` can do without

    classes = sorted({name for sums in networks for name in sums})
    none = np.zeros(len(Terms._fields))
    rows = [np.concatenate([sums.get(name, none) for name in classes]) for sums in networks]
    matrix = np.array(rows) / np.array(times_us)[:, None]
    size = np.maximum(matrix.max(axis=0), 1e-30)
    scaled = np.vstack([matrix / size, STEADY * np.eye(matrix.shape[1])])
    wanted = np.concatenate([np.ones(len(networks)), np.zeros(matrix.shape[1])])
    fit = LinearRegression(fit_intercept=False, positive=True).fit(scaled, wanted)
    found = (fit.coef_ / size).reshape(len(classes), -1)
    return NodeCosts({name: list(map(float, found[i])) for i, name in enumerate(classes)})


def fit_profile(timed: Sequence[tuple[Network, Latency]], lowering: Lowering) -> GuidelineProfile:
    """The profile of the device on which these networks were timed.

    Args:
        timed: Networks with their times, all from one device and protocol.
        lowering: Which form of them ran.

    Raises:
        MeasurementError: They are too few.
    """
    if len(timed) < FEWEST:
        raise MeasurementError(f"a profile needs {FEWEST} networks, and {len(timed)} were timed")
    pieces = [pieces_of_graph(lower(network), lowering) for network, _ in timed]
    times_us = [latency.ms * 1e3 for _, latency in timed]
    latency = timed[0][1]
    return GuidelineProfile(
        latency.device,
        latency.provenance,
        lowering,
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        fit_costs(pieces, times_us),
        _held_out(pieces, times_us),
    )


def _held_out(pieces: Sequence[Sequence[Piece]], times_us: Sequence[float]) -> Accuracy:
    """Errors of fits on those networks, every tenth each, that they were not fitted to."""
    errors, sums = [], [_sums(network) for network in pieces]
    for fold in range(FOLDS):
        seen = [index for index in range(len(pieces)) if index % FOLDS != fold]
        costs = _fitted([sums[i] for i in seen], [times_us[i] for i in seen])
        for index in range(fold, len(pieces), FOLDS):
            known = all(class_of(piece.kernel) in costs.coefficients for piece in pieces[index])
            if known:
                estimate = sum(costs.price(piece) for piece in pieces[index])
                errors.append(abs(estimate / times_us[index] - 1))
    within = sum(error <= 0.1 for error in errors) / len(errors)
    return Accuracy(len(pieces), statistics.median(errors), within)


def profile_device(
    target: Target,
    times: Sequence[ExperimentTime],
    progress: Callable[[str], None] = lambda what: None,
) -> GuidelineProfile:
    """The profile of the target that gave these times.

    The paper's own networks, ShuffleNet V2 in four sizes and five forms, are timed too: what
    operators cost in a row of ten like ones is not quite what they cost in a network.

    Args:
        target: As its plan stood when the times were taken.
        times: Of the controlled experiments.
        progress: Told what is timed.

    Raises:
        DeviceError: The device is missing, unreachable or lacks its runtime.
        MeasurementError: It answered, but not with a latency, or there are too few times.
        StoreError: Stored measurements cannot be read or written.
    """
    timed: list[tuple[Network, Latency]] = [(time.network, time.latency) for time in times]
    for scale in SCALES:
        progress(f"ShuffleNet V2 {scale} in {len(FORMS)} forms")
        networks = [REFERENCES[f"shufflenet_v2_{form}{scale}"] for form in FORMS]
        timed += zip(networks, _latencies(target, networks), strict=True)
    return fit_profile(list(_scaled_alike(timed)), known_identity(target).lowering)


def _latencies(target: Target, networks: Sequence[Network]) -> list[Latency]:
    if target.device is not None:
        return [one.latency(target.name) for one in target.device.session(networks)]
    return [target.estimate(network) for network in networks]


def _scaled_alike(timed: Sequence[tuple[Network, Latency]]) -> Iterator[tuple[Network, Latency]]:
    """Scale the times as if the reference network had taken the same in every session."""
    found = [latency.reference_ms for _, latency in timed if latency.reference_ms is not None]
    for network, latency in timed:
        beside = latency.reference_ms is not None
        yield network, latency.scaled_to(statistics.median(found)) if beside else latency
