"""What is sent to a device, in each precision."""

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from nas_sv2.latency.devices.local import CPU_PLAN, local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import payload_of, reference_payload
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.resolution import height_and_width
from nas_sv2.space.networks.lowering import Described
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

QUICK = dataclasses.replace(
    CPU_PLAN, min_runs=10, max_runs=20, warmup_runs=3, loads=1, reference=None
)
INT8 = dataclasses.replace(QUICK, precision="int8")


@pytest.fixture
def small() -> Architecture:
    """Every kind of unit once; quantising takes its time by the operator."""
    whole = reference("shufflenet_v2_se_x0_5")
    stages = tuple(dataclasses.replace(stage, depth=2) for stage in whole.stages)
    return dataclasses.replace(whole, stages=stages, resolution=64, classes=10)


def images_of(count: int, scale: float = 1.0) -> Callable[[Described], np.ndarray]:
    def images(network: Described) -> np.ndarray:
        shape = (count, network.channels, *height_and_width(network.resolution))
        array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        return scale * array

    return images


def test_the_same_network_has_the_same_body(small: Architecture) -> None:
    one, two = payload_of(small, QUICK), payload_of(small, QUICK)
    assert one == two
    assert one.architecture == small.digest
    assert one.digest == two.digest != payload_of(small, INT8).digest


def test_int8_is_smaller_and_runs_on_integers(small: Architecture) -> None:
    plain, int8 = payload_of(small, QUICK), payload_of(small, INT8)
    assert len(int8.body) < 0.5 * len(plain.body)
    graph = onnx.load_model_from_string(int8.body).graph
    kinds = {node.op_type for node in graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    large = [name for name in weights if name.endswith("_quantized")]
    assert large
    assert {weights[name] for name in large} <= {onnx.TensorProto.INT8, onnx.TensorProto.INT32}


@pytest.mark.parametrize("batch", [1, 3])
def test_int8_gives_nearly_what_the_network_gives(small: Architecture, batch: int) -> None:
    plans = [dataclasses.replace(plan, batch=batch) for plan in (QUICK, INT8)]
    images = images_of(4)(small)
    with local_device("cpu") as device:
        plain, int8 = (
            np.array(device.outputs(payload_of(small, plan, images), plan)) for plan in plans
        )
    assert plain.shape == (10 * batch,)
    assert np.corrcoef(plain, int8)[0, 1] > 0.9
    assert not np.array_equal(plain, int8)


def test_a_target_takes_the_scales_from_the_images_it_is_given(small: Architecture) -> None:
    usual, wide = (payload_of(small, INT8, images_of(2, s)(small)) for s in (1.0, 100.0))
    assert usual.digest != wide.digest
    with local_device("cpu") as device:
        target = MeasuredTarget(MeasuredDevice("cpu", device, INT8, images=images_of(2)))
        (measurement,) = target.device.measure_together([small])
    assert measurement.plan == INT8
    assert measurement.latency("cpu").device.endswith("· batch 1 · int8")


def test_the_reference_is_the_plans() -> None:
    assert reference_payload(QUICK) is None
    plan = MeasurePlan(reference="shufflenet_v2_x0_5")
    found = reference_payload(plan)
    assert found is not None
    assert found.architecture == reference("shufflenet_v2_x0_5").digest
