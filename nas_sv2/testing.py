"""Contract tests for devices, targets and evaluators of your own, and a device without hardware.

A test class of yours that inherits one of these and gives its fixture runs all its tests:

    from nas_sv2.testing import TargetTests

    class TestMyBoard(TargetTests):
        @pytest.fixture
        def target(self):
            return MyBoard()

The fixture of `DeviceTests` is `device`, and that of `EvaluatorTests` is `evaluator`. `FakeDevice`
is a device without hardware: its times are given, or follow from a network's multiply-adds, and it
can fail. The tests need pytest.
"""

import dataclasses
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError, NasError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.devices.device import Device
from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.devices.reply import measurements_of
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement, Provenance
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.spread import apart
from nas_sv2.latency.targets.target import Target
from nas_sv2.latency.targets.user_target import LatencySource, UserTarget
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import Network, lower, network_from_document
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

if TYPE_CHECKING:  # it loads torch, which a process that measures does not need
    from nas_sv2.evaluate.fitting.evaluator import Evaluator

CONTRACT_PLAN = MeasurePlan(
    loads=1,
    warmup_runs=3,
    min_runs=10,
    max_runs=20,
    time_limit_s=0.1,
    noisy_time_limit_s=0.1,
    sessions=1,
)
"""A plan that takes seconds on a slow board; the contract holds for every plan."""
FLOPS_PER_MS = 1e8
LATENCY_TOLERANCE = 0.5
"""The largest relative difference between two latencies of one network.

It is wide, because a contract test does not measure noise."""


def ms_of_flops(payload: Payload) -> float:
    """Return 1 ms for every 100 million multiply-adds of the network.

    Raises:
        MeasurementError: The payload is not a network.
    """
    try:
        if payload.body[:1] == b"{":
            network = network_from_document(json.loads(payload.body))
            return cost_of(lower(network)).flops / FLOPS_PER_MS
        return _onnx_flops(payload.body) / FLOPS_PER_MS
    except Exception as error:  # onnx raises many kinds
        raise MeasurementError(f"no network: {error}") from error


def _onnx_flops(body: bytes) -> int:
    """Count the multiply-adds of the convolutions and matrix products of a model."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(body)).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    flops = 0
    for node in graph.node:
        if node.op_type == "Conv":
            flops += math.prod(weights[node.input[1]]) * math.prod(shapes[node.output[0]][2:])
        elif node.op_type in ("Gemm", "MatMul"):
            flops += math.prod(weights[node.input[1]])
    return flops


@dataclass(slots=True, eq=False)
class FakeDevice:
    """A device that answers at once.

    Attributes:
        name: The user's name for the device.
        ms_of: Gives the time of a network, in ms.
        fault: Called with the number of each measurement, from 1; an error that it returns is
            raised.
        facts: The facts of its fingerprint that the plan does not give.
        measured: Digests of the measured networks, in order.
    """

    name: str = "fake"
    ms_of: Callable[[Payload], float] = ms_of_flops
    fault: Callable[[int], DeviceError | MeasurementError | None] = lambda number: None
    facts: dict[str, Any] = field(
        default_factory=lambda: {"cpu": "none", "runtime_version": "fake"}
    )
    measured: list[str] = field(default_factory=list)
    _asked: int = 0

    def start(self) -> None:
        """Do nothing."""

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """Return the facts, with runtime, threads and precision of the plan."""
        of_plan = {name: getattr(plan, name) for name in ("runtime", "threads", "precision")}
        return Fingerprint({**self.facts, **of_plan})

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Return `min_runs` equal runs of each network.

        Raises:
            DeviceError: `fault` returns one.
            MeasurementError: `fault` returns one, or a payload is not a network.
        """
        self._asked += 1
        if fault := self.fault(self._asked):
            raise fault
        sent = [*payloads, *([] if reference is None else [reference])]
        answer = {
            "networks": [self._runs(payload, plan) for payload in sent],
            "fingerprint": dict(self.fingerprint(plan).facts),
            "conditions": [],
            "heating": [],
        }
        self.measured += [payload.architecture for payload in payloads]
        return measurements_of(answer, payloads, plan, reference)

    def close(self) -> None:
        """Do nothing."""

    def _runs(self, payload: Payload, plan: MeasurePlan) -> dict[str, Any]:
        times_ns = [max(1, round(1e6 * self.ms_of(payload)))] * plan.min_runs
        return {
            "digest": payload.digest,
            "wall_ns": times_ns,
            "cpu_ns": times_ns,
            "switches": [0] * plan.min_runs,
            "rounds": [run // plan.min_block_runs for run in range(plan.min_runs)],
            "series": {},
            "warmup_runs": 2 * plan.warmup_runs,
            "stationary": True,
        }


class DeviceTests:
    """Tests that every device must pass."""

    @pytest.fixture
    def device(self) -> Device:
        """Give the device; your class overrides this."""
        raise NotImplementedError("give a fixture `device`")

    @pytest.fixture
    def plan(self) -> MeasurePlan:
        """Give the plan; override it if your device needs another."""
        return CONTRACT_PLAN

    @pytest.fixture
    def small(self, plan: MeasurePlan) -> Payload:
        """Give a network that every device can run."""
        return payload_of(_small(), plan)

    @pytest.fixture
    def other(self, plan: MeasurePlan) -> Payload:
        """Give a slower network."""
        return payload_of(dataclasses.replace(_small(), resolution=96), plan)

    def test_it_has_a_name(self, device: Device) -> None:
        """A device has a name that the user knows."""
        assert device.name

    def test_its_fingerprint_is_stable(self, device: Device, plan: MeasurePlan) -> None:
        """The fingerprint can be asked at any time, and is the same after a new start."""
        before = device.fingerprint(plan)
        device.start()
        device.close()
        assert device.fingerprint(plan).key == before.key
        assert {"runtime", "runtime_version"} <= before.facts.keys()

    def test_a_measurement_is_of_what_was_asked(
        self, device: Device, plan: MeasurePlan, small: Payload
    ) -> None:
        """Network, plan and fingerprint are those of the request; times are above 0."""
        (measurement,) = device.measure([small], plan)
        assert measurement.architecture == small.architecture
        assert measurement.plan == plan
        assert measurement.fingerprint.key == device.fingerprint(plan).key
        assert measurement.runs >= plan.min_runs
        assert min(measurement.samples.wall) > 0
        assert measurement.median_ms > 0
        assert measurement.beside is None

    def test_networks_come_back_in_order_and_in_one_session(
        self, device: Device, plan: MeasurePlan, small: Payload, other: Payload
    ) -> None:
        """The order also holds with a reference network, which is beside every measurement."""
        found = device.measure([other, small], plan, reference=small)
        assert [one.architecture for one in found] == [other.architecture, small.architecture]
        assert len({one.session for one in found}) == 1
        for one in found:
            assert one.beside is not None
            assert one.beside.name == plan.reference
            assert set(one.samples.rounds) == set(one.beside.samples.rounds)
        assert found[0].median_ms > found[1].median_ms

    def test_sessions_are_told_apart(
        self, device: Device, plan: MeasurePlan, small: Payload
    ) -> None:
        """Two calls have two sessions."""
        first, second = device.measure([small], plan), device.measure([small], plan)
        assert first[0].session != second[0].session

    def test_it_works_again_after_it_was_closed(
        self, device: Device, plan: MeasurePlan, small: Payload
    ) -> None:
        """Closing twice has the effect of closing once."""
        device.close()
        device.close()
        assert device.measure([small], plan)

    def test_a_broken_network_is_refused_and_the_next_is_measured(
        self, device: Device, plan: MeasurePlan, small: Payload
    ) -> None:
        """The fault fails the network, not the device."""
        with pytest.raises(MeasurementError):
            device.measure([Payload(small.architecture, b"no network")], plan)
        assert device.measure([small], plan)

    def test_a_measurement_can_be_kept(
        self, device: Device, plan: MeasurePlan, small: Payload
    ) -> None:
        """A measurement survives writing and reading."""
        (measurement,) = device.measure([small], plan)
        assert Measurement.from_json(measurement.to_json()) == measurement


def _small() -> Architecture:
    return dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64, classes=10)


class TargetTests:
    """Tests that every target must pass."""

    @pytest.fixture
    def target(self) -> LatencySource:
        """Give the target; your class overrides this."""
        raise NotImplementedError("give a fixture `target`")

    @pytest.fixture
    def network(self) -> Network:
        """Give a network that the target covers; override it if yours covers another."""
        return reference("shufflenet_v2_x0_5")

    @pytest.fixture
    def larger(self) -> Network:
        """Give a network that takes longer than `network`."""
        return reference("shufflenet_v2_x2_0")

    @pytest.fixture
    def whole(self, target: LatencySource) -> Target:
        """Give the target as nas-sv2 uses it, with every member."""
        return UserTarget(target)

    def test_its_name_and_provenance_can_be_used(self, target: LatencySource) -> None:
        """The name suits budgets and file names; the provenance is a known one."""
        whole = UserTarget(target)  # checks both
        assert whole.name == target.name
        assert whole.provenance in get_args(Provenance)
        assert whole.batch >= 1

    def test_a_latency_is_a_number_of_ms_and_says_its_origin(
        self, whole: Target, network: Network
    ) -> None:
        """The latency is finite and above 0, and names its provenance and device."""
        latency = whole.estimate(network)
        assert math.isfinite(latency.ms)
        assert latency.ms > 0
        assert latency.provenance == whole.provenance
        assert latency.device
        if latency.ci_ms is not None:
            low, high = latency.ci_ms
            assert low <= latency.ms <= high

    def test_a_larger_network_takes_longer(
        self, whole: Target, network: Network, larger: Network
    ) -> None:
        """A target that gives all networks the same latency cannot guide a search."""
        assert whole.estimate(larger).ms > whole.estimate(network).ms

    def test_a_network_has_one_latency(self, whole: Target, network: Network) -> None:
        """Two answers come from one device. They are close, or one is in the other's interval."""
        first, second = whole.estimate(network), whole.estimate(network)
        assert first.device == second.device
        are_close = abs(first.ms - second.ms) <= LATENCY_TOLERANCE * first.ms
        if not are_close:
            assert first.ci_ms is not None and second.ci_ms is not None
            assert not apart((first.ms, first.ci_ms), (second.ms, second.ci_ms))

    def test_a_latency_can_be_stored(self, whole: Target, network: Network) -> None:
        """A latency survives writing and reading."""
        latency = whole.estimate(network)
        assert type(latency).from_json(latency.to_json()) == latency

    def test_the_graph_it_runs_is_of_the_network(self, whole: Target, network: Network) -> None:
        """Input and output stay; only operators between them may differ."""
        graph = whole.graph_of(network)
        assert graph.ops
        assert graph.input == lower(network).input

    def test_times_of_kernels_are_times_or_are_refused(
        self, whole: Target, network: Network
    ) -> None:
        """A target without kernel times gives None; a device that cannot time them raises."""
        try:
            times = whole.kernel_times(network)
        except NasError as error:
            assert whole.name in str(error)
            return
        assert times is None or all(node.us >= 0 for node in times)

    def test_shares_of_operators_add_up(self, whole: Target, network: Network) -> None:
        """A target without prices of operators gives None."""
        shares = whole.operator_shares(network)
        assert shares is None or math.isclose(sum(shares.values()), 1.0)

    def test_a_network_with_a_latency_is_covered(self, whole: Target, network: Network) -> None:
        """`uncovered` names kernels only of networks that `estimate` refuses."""
        whole.estimate(network)
        assert not whole.uncovered(network)

    def test_a_plan_that_it_lacks_cannot_be_changed(self, whole: Target) -> None:
        """A target without a plan refuses changes with an error that names the field."""
        if whole.device is not None:
            assert whole.with_plan(seed=1).name == whole.name
            return
        with pytest.raises(ConfigError, match="threads"):
            whole.with_plan(threads=4)

    def test_closing_twice_is_closing_once(self, whole: Target) -> None:
        """A command may close a target more than once."""
        whole.close()
        whole.close()


class EvaluatorTests:
    """The tests that every evaluator passes; a class that inherits them gives `evaluator`."""

    @pytest.fixture
    def architecture(self) -> Architecture:
        """Return a network that the evaluator knows; give another if it does not know this one."""
        return reference("shufflenet_v2_x0_5")

    def test_it_has_a_name(self, evaluator: "Evaluator") -> None:
        """Studies and records keep the name."""
        assert isinstance(evaluator.name, str)
        assert evaluator.name.strip()

    def test_it_gives_an_accuracy(
        self, evaluator: "Evaluator", architecture: Architecture
    ) -> None:
        """An accuracy is a share, and all figures are finite."""
        found = evaluator.evaluate(architecture)
        assert isinstance(found, Evaluation)
        assert 0 <= found.figure.value <= (math.inf if found.figure.facts.is_error else 1)
        assert found.loss is None or math.isfinite(found.loss)
        assert all(map(math.isfinite, found.scores))
        assert found.seconds >= 0

    def test_an_evaluation_can_be_stored(
        self, evaluator: "Evaluator", architecture: Architecture
    ) -> None:
        """A database keeps an evaluation as JSON."""
        found = evaluator.evaluate(architecture)
        assert Evaluation.from_json(found.to_json()) == found

    def test_the_same_network_gets_the_same_answer(
        self, evaluator: "Evaluator", architecture: Architecture
    ) -> None:
        """A killed search may evaluate a network again."""
        first, again = (_without_times(evaluator.evaluate(architecture)) for _ in range(2))
        assert first == again

    def test_global_seeds_are_left_alone(
        self, evaluator: "Evaluator", architecture: Architecture
    ) -> None:
        """A sampler of the search may draw from the global generators."""
        before = random.getstate(), str(np.random.get_state())
        evaluator.evaluate(architecture)
        assert (random.getstate(), str(np.random.get_state())) == before


def _without_times(evaluation: Evaluation) -> Evaluation:
    return dataclasses.replace(evaluation, seconds=0, images_per_second=0)
