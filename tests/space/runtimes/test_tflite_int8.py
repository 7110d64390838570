"""`.tflite` files in int8: as near to torch as onnxruntime's int8, and int8 throughout."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from run_graphs import run_onnx, run_tflite, run_torch

from nas_sv2.errors import ConfigError
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.quantization import quantize
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.tflite_int8 import find_scales, quantize_tflite, scales_in
from nas_sv2.space.runtimes.tflite_lowering import build_tflite
from nas_sv2.space.runtimes.weights import Array, random_weights

SMALL = "shufflenet_v2_x0_5"


def images_of(count: int) -> Array:
    return np.random.default_rng(0).standard_normal((count, 3, 224, 224), np.float32)


def quantised(model: bytes, images: Array) -> bytes:
    return quantize_tflite(model, find_scales(model, images))


def error_of(found: Array, expected: Array) -> float:
    spread = expected - expected.mean(1, keepdims=True)
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(spread**2)))


@pytest.mark.parametrize(
    "name",
    [
        SMALL,
        *(
            pytest.param(f"{name}_x1_0", marks=pytest.mark.slow)
            for name in (
                "shufflenet_v2",
                "shufflenet_v2_se_residual",
                "mobilenet_v2",
            )
        ),
    ],
)
def test_the_error_is_that_of_onnxruntime(name: str) -> None:
    graph = lower(published_network(name))
    weights, images = random_weights(graph, 0), images_of(4)
    expected = run_torch(graph, weights, images)
    free = without_shuffles(graph, weights)
    found = run_tflite(quantised(build_tflite(*free, batch=4), images), images)
    theirs = run_onnx(quantize(build_onnx(*free, batch=None), images), images)
    assert 0 < error_of(found, expected) < 1.5 * error_of(theirs, expected)


def test_few_images_fill_a_batch() -> None:
    graph = lower(published_network(SMALL))
    model = build_tflite(graph, random_weights(graph, 0), batch=3)
    images = images_of(1)
    found = run_tflite(quantised(model, images), np.repeat(images, 3, axis=0))
    assert found.shape == (3, 1000) and np.array_equal(found[0], found[2])


def test_everything_between_the_ends_is_int8() -> None:
    graph = lower(published_network(SMALL))
    model = build_tflite(graph, random_weights(graph, 0))
    part = schema.ModelT.InitFromPackedBuf(quantised(model, images_of(1)), 0).subgraphs[0]
    float32 = [t.name for t in part.tensors if t.type == schema.TensorType.FLOAT32]
    assert float32 == [b"input", b"logits"]
    assert [part.tensors[place].name for place in (*part.inputs, *part.outputs)] == float32


def test_a_file_follows_from_the_scales_that_it_holds() -> None:
    graph = lower(published_network(SMALL))
    model = build_tflite(graph, random_weights(graph, 0), facts={"side": "224"})
    scales = find_scales(model, images_of(1))
    int8 = quantize_tflite(model, scales)
    assert scales_in(int8) == scales and quantize_tflite(model, scales_in(int8)) == int8
    for odd in (scales[1:], [(0.0, 0), *scales[1:]], [(float("nan"), 0), *scales[1:]]):
        with pytest.raises(ConfigError, match="scales"):
            quantize_tflite(model, odd)
    with pytest.raises(ConfigError, match="zero point"):
        quantize_tflite(model, [*scales[1:], (1.0, 128)])


def biased(first: Array, bias: Array) -> tuple[bytes, Array, Array]:
    """Two 1×1 convolutions, the first with these numbers: their file, images, torch's outputs."""
    build, image = GraphBuilder(), Value("input", 2, 4, 4)
    value = build.activation("relu", build.gate("first", image, len(bias)), "relu")
    graph = Graph(image, build.gate("second", value, 2), tuple(build.ops))
    weights = {**random_weights(graph, 0), "first.conv.weight": first, "first.conv.bias": bias}
    images = np.random.default_rng(0).standard_normal((4, 2, 4, 4), np.float32)
    return build_tflite(graph, weights, batch=4), images, run_torch(graph, weights, images)


@pytest.mark.parametrize("weight", [0.0, 1e-9, 1e-6])
def test_a_channel_of_tiny_weights_keeps_its_bias(weight: float) -> None:
    """In steps of its weights the bias would not fit into an int32."""
    kernel = np.full((2, 2, 1, 1), weight, np.float32)
    model, images, expected = biased(kernel, np.array([0.5, 3], np.float32))
    assert run_tflite(quantised(model, images), images) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("side", [7, 8])
def test_a_max_pool_keeps_the_range_of_its_map(side: int) -> None:
    """Its map has numbers below 0, so that it is padded with the least float32."""
    build, image = GraphBuilder(), Value("input", 3, side, side)
    value = build.max_pool("pool", build.conv("stem.0", image, 4), 3, stride=2)
    graph = Graph(image, value, tuple(build.ops))
    weights, images = random_weights(graph, 0), images_of(4)[:, :, :side, :side]
    expected = run_torch(graph, weights, images)
    found = run_tflite(quantised(build_tflite(graph, weights, batch=4), images), images)
    assert float(abs(found - expected).max()) < 0.02 * float(np.ptp(expected))


def test_a_map_that_is_zero_can_be_opened() -> None:
    """Its scale follows from nothing, and XNNPACK opens no file whose scales are far apart."""
    kernel = np.ones((2, 2, 1, 1), np.float32)
    model, images, expected = biased(kernel, np.array([-100, -100], np.float32))
    assert run_tflite(quantised(model, images), images) == pytest.approx(expected, abs=0.01)
