"""A fake device, and the contract tests of devices.

`FakeDevice` is a device without hardware. Its times are given, or follow from the network's
multiply-adds, and it can fail. `DeviceTests` holds the tests that every device must pass. Your
own class inherits them and gives a fixture `device`:

    from nas_sv2.testing import DeviceTests

    class TestMyDevice(DeviceTests):
        @pytest.fixture
        def device(self):
            device = MyDevice(...)
            yield device
            device.close()

Needs pytest.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.devices.device import Device
from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.devices.reply import measurements_of
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

CONTRACT_PLAN = MeasurePlan(
    loads=1, warmup_runs=3, min_runs=10, max_runs=20, time_limit_s=0.1, noisy_time_limit_s=0.1
)
"""A plan that takes seconds on a slow board; the contract holds for every plan."""
FLOPS_PER_MS = 1e8


def ms_of_flops(payload: Payload) -> float:
    """Return 1 ms for every 100 million multiply-adds of the network.

    Raises:
        MeasurementError: The payload is not a network.
    """
    try:
        if payload.body[:1] == b"{":
            from nas_sv2.space.networks.lowering import network_from_document

            network = network_from_document(json.loads(payload.body))
            return cost_of(lower(network)).flops / FLOPS_PER_MS
        return _onnx_flops(payload.body) / FLOPS_PER_MS
    except Exception as error:  # onnx raises many kinds
        raise MeasurementError(f"no network: {error}") from error


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


def _onnx_flops(body: bytes) -> int:
    """Count the multiply-adds of the convolutions and matrix products of a model."""
    import math

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
