"""A device's own guidelines: costs of its operators, from the times of the controlled experiments.

The experiments (`space.experiments`) are networks of ten equal blocks, and whole networks of the
paper are added. Each network is timed as a whole, so the fit works for every target. The time of a
network is the sum of its operators' costs. Each class of operator has one formula (`node_costs`),
without negative coefficients.
"""

import dataclasses
import datetime
import hashlib
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Self

import msgspec
import numpy as np

from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.guidelines.experiment_run import (
    ExperimentTime,
    TimedTable,
    experiments_for,
    times_of,
)
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
"""Forms of ShuffleNet V2 that are timed in each size of `SCALES`, in addition to experiments."""
FURTHER = len(SCALES) * len(FORMS)
"""Networks that are timed in addition to experiments."""
SCHEMA = 1
FOLDS = 10
FEWEST = 40
"""Fewest networks for a fit; there are more than a hundred experiments."""
MOST_NAMED = 2
"""Operators that a refusal names."""
STEADY = 1e-3
"""Weight that pulls each scaled coefficient to zero, against 1 for a network's relative error. If
the experiments cannot distinguish two terms, the cost is shared between both."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The error of the formulas on networks left out of the fit, in ten folds.

    Attributes:
        networks: Number of networks.
        typical: Median of the relative errors.
        within_10: Share of networks within ±10 %.
    """

    networks: int
    typical: float
    within_10: float

    def describe(self) -> str:
        """Return the accuracy in one line."""
        return (
            f"from {self.networks} networks; on held-out ones the typical error is "
            f"{self.typical:.1%}, {self.within_10:.0%} within ±10 %"
        )


@dataclass(frozen=True)
class GuidelineProfile:
    """The costs behind the guidelines on one device.

    Attributes:
        device: Device in words, with runtime, threads and batch.
        provenance: Provenance of the fitted times.
        lowering: Form of the networks that ran.
        fitted_at: Time of the fit, ISO 8601, UTC.
        costs: µs for each term, by class of operator.
        accuracy: Error of the costs.
    """

    device: str
    provenance: Provenance
    lowering: Lowering
    fitted_at: str
    costs: NodeCosts
    accuracy: Accuracy

    def waste(self, graph: Graph) -> Waste:
        """Estimate the time of `graph` and the time it wastes, by guideline.

        Raises:
            MeasurementError: If the class of an operator was not timed; the message names it.
        """
        return waste_of(pieces_of_graph(graph, self.lowering), self.costs)

    def waste_by_block(self, graph: Graph) -> dict[str, Waste]:
        """Estimate the time and the waste of each building block.

        Raises:
            MeasurementError: If the class of an operator was not timed; the message names it.
        """
        return waste_by_block(pieces_of_graph(graph, self.lowering), self.costs)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the content."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the data that `to_json` returns.

        Raises:
            ValueError: They have another form.
        """
        return msgspec.convert(dict(document), cls)


def fit_costs(networks: Sequence[Sequence[Piece]], times_us: Sequence[float]) -> NodeCosts:
    """Fit the formulas to the times of whole networks, by least relative squares."""
    return _fitted([_sums(pieces) for pieces in networks], times_us)


Sums = Mapping[str, np.ndarray]
"""Sums of the terms of a network's kernels, by class."""


def _sums(pieces: Sequence[Piece]) -> Sums:
    sums: dict[str, np.ndarray] = {}
    for piece in pieces:
        name = class_of(piece.kernel)
        sums[name] = sums.get(name, 0.0) + np.array(terms_of(piece))
    return sums


def _fitted(networks: Sequence[Sums], times_us: Sequence[float]) -> NodeCosts:
    from sklearn.linear_model import LinearRegression  # takes a second to import

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
    """Fit the profile of the device on which these networks were timed.

    Args:
        timed: Networks with their times, all from one device and protocol.
        lowering: Form of the networks that ran.

    Raises:
        MeasurementError: If there are too few networks.
    """
    if len(timed) < FEWEST:
        raise MeasurementError(f"a profile needs {FEWEST} networks, but {len(timed)} were timed")
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
    """Compute the errors of ten fits, each on the tenth of the networks that it left out."""
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


def check_covered(name: str, tables: Sequence[TimedTable]) -> None:
    """Refuse a target that has latencies of too few networks for a profile.

    Args:
        name: Name of the target.
        tables: Controlled experiments, as they were timed on it.

    Raises:
        ConfigError: If it is one; names operators that it lacks.
    """
    of_experiments = len(times_of(tables))
    if of_experiments >= FEWEST - FURTHER:
        return
    lacks = sorted({name for table in tables for row in table.rows for name in row.not_covered})
    others = f" and {len(lacks) - MOST_NAMED} more" if len(lacks) > MOST_NAMED else ""
    allowed = (
        f"must have a price of {FEWEST} networks for a profile; it has one of {of_experiments} of "
        f"the {sum(len(table.rows) for table in tables)} experiments and of {FURTHER} others, but "
        f"none for {', '.join(lacks[:MOST_NAMED])}{others}; a search needs no profile, and prunes "
        "by the paper's guidelines"
    )
    raise ConfigError("target", name, allowed)


def is_covered(target: Target) -> bool:
    """Return whether a target has latencies of enough networks for a profile; times none."""
    if target.device is not None:
        return True
    tables = experiments_for(target)
    networks = (each.network for table in tables for each in table.experiments)
    priced = (network for network in networks if not target.uncovered(network))
    return len(list(islice(priced, FEWEST - FURTHER))) == FEWEST - FURTHER


def profile_device(
    target: Target,
    times: Sequence[ExperimentTime],
    progress: Callable[[str], None] = lambda what: None,
) -> GuidelineProfile:
    """Fit the profile of the target that gave these times.

    ShuffleNet V2 in four sizes and five forms is timed as well. Operators in a row of ten equal
    ones do not cost quite the same as in a network.

    Args:
        target: Target with the plan by which the times were taken.
        times: Times of the controlled experiments.
        progress: Function called with a line before each session.

    Raises:
        DeviceError: If the device is missing or unreachable or lacks its runtime.
        MeasurementError: If the device does not answer with a latency, or there are too few times.
        StoreError: If stored measurements cannot be read or written.
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
    """Scale the times as if the reference network had taken equally long in every session."""
    found = [latency.reference_ms for _, latency in timed if latency.reference_ms is not None]
    for network, latency in timed:
        beside = latency.reference_ms is not None
        yield network, latency.scaled_to(statistics.median(found)) if beside else latency
