"""Fits a predictor: measures networks, fits the regression, and finds its held-out errors.

The nodes of a network repeat. So nodes are timed in a bag: networks of a space side by side in
one model. 16 networks of few units have 700 different nodes, which cover most
of a space in one model that runs for a few seconds. The nodes run in the same order as in
networks, so that the runtime's inserted nodes, such as changes of layout, are timed too.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import compose

from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.kernels.coverage import Coverage
from nas_sv2.latency.kernels.node_costs import Piece, fit_node_costs, pieces_of, share_of
from nas_sv2.latency.kernels.run_kernels import placed
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.predictor.predictor import (
    CONFIDENCE,
    Predictor,
    Report,
    Residual,
    at_usual_pace,
    features,
)
from nas_sv2.space.choices.probe_networks import latin_hypercube
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.statistics import spearman_rho

BAG_NETWORKS = 16
"""The networks of a bag.

On one x86 host with 60 measured networks, bags of 8, 16, 24 and 32 left errors of 4.4, 2.3, 2.6
and 2.4 % (standard deviation). From 16 on, the bag does not limit the fit."""
BAG_DEPTH = 3
"""Units of a stage in the bag; further units repeat the nodes of the first three."""
MODEL_BYTES = 400e6
"""The most bytes of one model; a bag of large networks is split into several models."""


@dataclass(frozen=True)
class Bag:
    """Networks whose nodes are timed.

    Attributes:
        networks: The networks, in the order of the model.
        plan: The plan that they are built for.
    """

    networks: Sequence[Architecture]
    plan: MeasurePlan

    @classmethod
    def of_space(cls, space: SearchSpace, plan: MeasurePlan, seed: int) -> "Bag":
        """Make a bag of networks spread over `space`, with few units in each stage."""
        networks = latin_hypercube(space, BAG_NETWORKS, seed)
        return cls([_shallow(network) for network in networks], plan)

    @cached_property
    def pieces(self) -> list[Piece]:
        """All kernels, network by network."""
        return [piece for pieces in self._pieces_by_network for piece in pieces]

    @cached_property
    def _pieces_by_network(self) -> list[list[Piece]]:
        return [pieces_of(network, self.plan.lowering) for network in self.networks]

    def payloads(self) -> Iterator[Payload]:
        """Build the models: one, or several if one would be too large."""
        merged: onnx.ModelProto | None = None
        size = 0
        for number, network in enumerate(self.networks):
            body = payload_of(network, self.plan).body
            if merged is not None and size + len(body) > MODEL_BYTES:
                yield Payload("bag", merged.SerializeToString())
                merged, size = None, 0
            model = onnx.load_from_string(body)
            compose.add_prefix(model, _prefix(number), rename_inputs=False, inplace=True)
            size += len(body)
            if merged is None:
                merged = model
            else:
                merged.graph.node.extend(model.graph.node)
                merged.graph.initializer.extend(model.graph.initializer)
                merged.graph.output.extend(model.graph.output)
        if merged is not None:
            yield Payload("bag", merged.SerializeToString())

    def kernel_times(self, nodes: Iterable[NodeTime]) -> list[float]:
        """Sum the µs of each of `pieces`, from the nodes in the order in which they ran.

        A node that the runtime inserted belongs to the kernel that it serves (`placed`).
        """
        times_us = [0.0] * len(self.pieces)
        for found in placed(nodes, self.places):
            times_us[found.place] += found.node.us
        return times_us

    @cached_property
    def places(self) -> dict[str, int]:
        """The index in `pieces` by the names that a node of the kernel may have."""
        index: dict[str, int] = {}
        place = 0
        for number, pieces in enumerate(self._pieces_by_network):
            for piece in pieces:
                for name in (*piece.kernel.ops, piece.op.output.name):
                    index[_prefix(number) + name] = place
                place += 1
        return index


def _prefix(number: int) -> str:
    return f"{number}/"


def _shallow(network: Architecture) -> Architecture:
    stages = (
        dataclasses.replace(stage, depth=min(stage.depth, BAG_DEPTH)) for stage in network.stages
    )
    return dataclasses.replace(network, stages=tuple(stages))


Array = np.ndarray

NETWORKS = 60
TOGETHER = 4
"""Networks timed in one session: the reference network then takes a fifth of it, not a half."""
TIME_LIMIT_S = 240.0
"""Time after which no further networks are measured, as a noisy device may be slow."""
FEWEST = 30
"""The fewest networks for a fit."""
FOLDS = 10
STRENGTHS = tuple(10 ** (power / 2) for power in range(-4, 7))
"""Strengths of the ridge regression, 0.01 to 1000; leave-one-out errors choose one."""
SLOWNESS_POWERS = (0.0, 0.5, 1.0)
"""Powers that are tried, see `at_usual_pace`; held-out errors choose one.

On a shared x86 host 0 was best. 60 networks were measured twice, while the reference network took
4.2 to 4.8 ms. Their ratios differed by 2.7 % (standard deviation), and by 1.5 % after this
correction."""
SEED = 0

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Timed:
    """A network that was measured.

    Attributes:
        pieces: Its kernels.
        ratio: The time relative to the reference network.
        reference_ms: The time of the reference network meanwhile, in ms.
    """

    pieces: Sequence[Piece]
    ratio: float
    reference_ms: float


def can_predict(plan: MeasurePlan) -> bool:
    """Return whether networks measured by `plan` can be predicted.

    They can be if onnxruntime runs them in float32 on a CPU beside a reference network.
    """
    kind = (plan.runtime, plan.processor, plan.provider, plan.precision)
    return kind == ("onnxruntime", "cpu", None, "fp32") and plan.reference is not None


def fit_on_device(
    device: MeasuredDevice,
    space: SearchSpace,
    progress: Progress = lambda done, total: None,
    networks: int = NETWORKS,
) -> Predictor:
    """Measure a bag and networks of `space` on a device, and fit a predictor.

    Args:
        device: The device and its plan; measurements go to its store, and are taken from it.
        space: The space of the networks.
        progress: Called with the number of measured networks and the number wanted.
        networks: The number of networks to measure.

    Raises:
        ConfigError: Latencies by the device's plan cannot be predicted.
        DeviceError: The device is missing or cannot profile.
        MeasurementError: The device gave no times, or too few before `TIME_LIMIT_S`.
        StoreError: Measurements cannot be read or written.
    """
    plan = device.plan
    if not can_predict(plan):
        raise ConfigError(
            "target", device.name, "must be a target that onnxruntime measures on a CPU in float32"
        )
    began = time.monotonic()
    bag = Bag.of_space(space, plan, SEED)
    nodes = [
        node
        for payload in bag.payloads()
        for node in device.profile(payload, plan.timeout_s * len(bag.networks))
    ]
    times_us = bag.kernel_times(nodes)
    timed: list[Timed] = []
    wanted = latin_hypercube(space, networks, SEED)
    for start in range(0, networks, TOGETHER):
        if time.monotonic() - began > TIME_LIMIT_S and len(timed) >= FEWEST:
            break
        progress(len(timed), networks)
        together = wanted[start : start + TOGETHER]
        for architecture, measurement in zip(together, device.measure_each(together), strict=True):
            if measurement.ratio is not None and measurement.reference_ms is not None:
                pieces = pieces_of(architecture, plan.lowering)
                timed.append(Timed(pieces, measurement.ratio[0], measurement.reference_ms))
    return fit(plan, bag.pieces, times_us, timed, began)


def fit(
    plan: MeasurePlan,
    bag: Sequence[Piece],
    times_us: Sequence[float],
    timed: Sequence[Timed],
    began: float,
) -> Predictor:
    """Fit a predictor to the times of a bag and of networks.

    Args:
        plan: The plan of all measurements.
        bag: The kernels of the bag.
        times_us: The time of each kernel of the bag, in µs.
        timed: The measured networks.
        began: The start of measuring, by the monotonic clock, in seconds.

    Raises:
        MeasurementError: There are too few networks.
    """
    costs = fit_node_costs(bag, times_us)
    coverage = Coverage.of(
        (piece.kernel for network in timed for piece in network.pieces),
        (piece.kernel for piece in bag),
    )
    priced = [n for n in timed if all(coverage.has_class(piece.kernel) for piece in n.pieces)]
    if len(priced) < FEWEST:
        raise MeasurementError(f"{len(priced)} networks were measured; a fit takes {FEWEST}")
    names = sorted({share_of(piece.kernel) for piece in bag})
    found = [features(network.pieces, costs, names) for network in priced]
    inputs = np.array([f.values for f in found])
    sums = np.log([f.sum_us for f in found])
    usual_ms = float(np.median([network.reference_ms for network in priced]))
    trials = []
    for power in SLOWNESS_POWERS:
        ratios = [at_usual_pace(n.ratio, n.reference_ms, usual_ms, power) for n in priced]
        if min(ratios) <= 0:  # a slow spell that added more than a network takes is in proportion
            continue
        logs = np.log(ratios)
        trials.append((power, logs, _held_out(inputs, logs - sums) - (logs - sums)))
    power, logs, errors = min(trials, key=lambda trial: float(np.std(trial[2])))
    return Predictor(
        plan.lowering,
        costs,
        _ridge(names, inputs, logs - sums),
        coverage,
        (math.exp(sums.min()), math.exp(sums.max())),
        _conformal(np.abs(errors)),
        usual_ms,
        power,
        report_on(np.exp(logs + errors), np.exp(logs), time.monotonic() - began),
    )


def _held_out(inputs: Array, outcomes: Array) -> Array:
    """Predict the outcome of each network by a fit to the other folds."""
    folds = np.random.default_rng(SEED).permutation(len(outcomes)) % FOLDS
    predicted = np.empty_like(outcomes)
    for fold in range(FOLDS):
        inside = folds != fold
        residual = _ridge([], inputs[inside], outcomes[inside])
        predicted[~inside] = inputs[~inside] @ residual.weights + residual.constant
    return predicted


def _ridge(names: Sequence[str], inputs: Array, outcomes: Array) -> Residual:
    """Fit a ridge regression on standardised features; return weights of the plain features."""
    # Imported here: it takes a second, and a prediction does not need it.
    from sklearn.linear_model import RidgeCV

    centre, spread_ = inputs.mean(axis=0), inputs.std(axis=0)
    spread_ = np.where(spread_ > 0, spread_, 1.0)
    fitted = RidgeCV(STRENGTHS).fit((inputs - centre) / spread_, outcomes)
    weights = fitted.coef_ / spread_
    constant = float(fitted.intercept_ - weights @ centre)
    return Residual(list(names), [float(weight) for weight in weights], constant)


def _conformal(errors: Array) -> float:
    """Return the bound of the next network's error at `CONFIDENCE` (split conformal)."""
    rank = min(len(errors), math.ceil(CONFIDENCE * (len(errors) + 1)))
    return float(np.sort(errors)[rank - 1])


def report_on(predicted: Array, measured: Array, seconds: float) -> Report:
    """Report the errors of `predicted`; the interval of Spearman's ρ is Bonett and Wright's."""
    off = np.abs(predicted / measured - 1)
    correlation = float(spearman_rho(predicted, measured))
    if math.isnan(correlation):  # all predictions are equal, so they order nothing
        correlation = 0.0
    spread_ = 1.96 * math.sqrt((1 + correlation**2 / 2) / (len(off) - 3))
    middle = math.atanh(max(-1 + 1e-9, min(correlation, 1 - 1e-9)))
    return Report(
        len(off),
        float((off <= 0.05).mean()),
        float((off <= 0.10).mean()),
        correlation,
        (math.tanh(middle - spread_), math.tanh(middle + spread_)),
        seconds,
    )
