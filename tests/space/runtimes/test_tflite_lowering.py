"""`.tflite` files give what torch gives: random networks, references, every padding."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_graphs import assert_close, run_tflite, run_torch, weights_with_statistics
from strategies import architectures

from nas_sv2.errors import ConfigError
from nas_sv2.resolution import height_and_width
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import Described, lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.tflite_lowering import build_tflite, without_kernel
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import REFERENCES, reference


def agree(network: Described, seed: int, gain: float = 1.0) -> None:
    """Outputs are equal in both forms. A deep network with SE is chaotic unless its norms damp it.

    Then onnxruntime is as far from torch as LiteRT is: by half of the largest output.
    """
    graph = lower(network)
    weights = weights_with_statistics(graph, seed)
    for name in weights:
        if name.endswith(".norm.weight"):
            weights[name] *= np.float32(gain)
    shape = (1, network.channels, *height_and_width(network.resolution))
    images = np.random.default_rng(seed).standard_normal(shape, np.float32)
    expected = run_torch(graph, weights, images)
    assert_close(expected, run_tflite(build_tflite(graph, weights), images))
    assert_close(expected, run_tflite(build_tflite(*without_shuffles(graph, weights)), images))


@given(architectures(), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_networks_agree(architecture: Architecture, seed: int) -> None:
    agree(architecture, seed)


@pytest.mark.slow
@given(architectures(), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_many_random_networks_agree(architecture: Architecture, seed: int) -> None:
    agree(architecture, seed)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v2_x0_15"])
def test_a_reference_agrees(name: str) -> None:
    agree(published_network(name), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_agrees(name: str) -> None:
    agree(REFERENCES[name], 1, gain=0.5)


def windows(side: int, kernel: int, stride: int, kind: str) -> tuple[Graph, np.ndarray]:
    """A convolution, the operator in question and the numbers that come in."""
    builder, image = GraphBuilder(), Value("input", 3, side, side)
    value = builder.conv("stem.0", image, 4, activation="relu" if kind == "max, relu" else None)
    if kind == "conv":
        value = builder.conv("stem.1", value, 4, kernel, stride=stride)
    elif kind == "average":
        value = builder.average_pool("stem.1", value, kernel, stride=stride)
    else:
        value = builder.max_pool("stem.1", value, kernel, stride=stride)
    images = np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)
    return Graph(image, value, tuple(builder.ops)), images


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (3, 1), (3, 2), (5, 2), (5, 3)])
@pytest.mark.parametrize("kind", ["conv", "average", "max", "max, relu"])
def test_windows_begin_and_end_where_ours_do(
    side: int, kernel: int, stride: int, kind: str
) -> None:
    graph, images = windows(side, kernel, stride, kind)
    weights = weights_with_statistics(graph, 0)
    assert_close(
        run_torch(graph, weights, images), run_tflite(build_tflite(graph, weights), images)
    )


@pytest.mark.parametrize(("kernel", "side"), [(3, 0), (5, 0), (7, 7)])
def test_a_depthwise_kernel_that_xnnpack_lacks_is_found(kernel: int, side: int) -> None:
    plain = reference("shufflenet_v2_x0_5")
    stages = (plain.stages[0], replace(plain.stages[1], kernel=kernel), plain.stages[2])
    assert without_kernel(lower(replace(plain, stages=stages))) == side


def test_a_whole_convolution_of_7x7_is_none_of_them() -> None:
    assert without_kernel(lower(published_network("resnet50"))) == 0


def test_constants_are_aligned() -> None:
    """Kernels for ARM may read 16 bytes at once; the schema asks for it."""
    from ai_edge_litert import schema_py_generated as schema

    graph = lower(REFERENCES["shufflenet_v2_x0_5"])
    content = build_tflite(graph, weights_with_statistics(graph, 0))
    model = schema.Model.GetRootAs(content)
    starts = [
        model.Buffers(place).DataAsNumpy().__array_interface__["data"][0]
        for place in range(1, model.BuffersLength())
    ]
    base = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    assert {(start - base) % 16 for start in starts} == {0}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    graph = lower(REFERENCES["shufflenet_v2_x0_5"])
    with pytest.raises(ConfigError, match=r"^runtime needs .* pip install 'nas-sv2\[litert\]'"):
        build_tflite(graph, {})
