"""The files for ncnn: the same outputs as torch, and a form that ncnn's own tools would write."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_graphs import assert_close, run_ncnn, run_torch, weights_with_statistics
from strategies import architectures

from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.runtimes.ncnn_lowering import NcnnFiles, build_ncnn
from nas_sv2.space.runtimes.quantization import largest_inputs
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import Array, random_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import REFERENCES, reference


def assert_agrees(network: Network, seed: int) -> None:
    """As written and without shuffles, ncnn gives torch's outputs."""
    graph = lower(network)
    weights = weights_with_statistics(graph, seed)
    images = images_for(network)
    expected = run_torch(graph, weights, images)
    for form in ((graph, weights), without_shuffles(graph, weights)):
        assert_close(expected, run_ncnn(build_ncnn(*form), images))


def images_for(network: Network, count: int = 1) -> Array:
    return images_of(lower(network).input, count)


def images_of(image: Value, count: int = 1) -> Array:
    shape = (count, image.channels, image.height, image.width)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


class Layer(NamedTuple):
    """A line of a `.param`."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[str, str]


def layers_of(files: NcnnFiles) -> list[Layer]:
    """The layers of a `.param`, whose header states their number and that of their outputs."""
    magic, header, *lines = files.param.decode().splitlines()
    layers = []
    for kind, name, read, written, *rest in map(str.split, lines):
        ends = int(read), int(read) + int(written)
        settings = dict(word.split("=", 1) for word in rest[ends[1] :])
        layers.append(Layer(kind, name, rest[: ends[0]], rest[ends[0] : ends[1]], settings))
    outputs = sum(len(layer.outputs) for layer in layers)
    assert (magic, header) == ("7767517", f"{len(layers)} {outputs}")
    return layers


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures(), SEEDS)
def test_some_random_networks_agree_with_torch(architecture: Architecture, seed: int) -> None:
    assert_agrees(architecture, seed)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures(), SEEDS)
def test_random_networks_agree_with_torch(architecture: Architecture, seed: int) -> None:
    assert_agrees(architecture, seed)


def test_a_reference_agrees_with_torch_at_full_size() -> None:
    assert_agrees(reference("shufflenet_v2_se_residual_x0_5"), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_references_agree_with_torch(name: str) -> None:
    assert_agrees(reference(name), 0)


def test_every_value_is_written_and_read_once() -> None:
    """ncnn frees a value after its reader, so that a value with two needs a layer that copies."""
    graph = lower(reference("shufflenet_v2_se_residual_x0_5"))
    layers = layers_of(build_ncnn(graph, random_weights(graph, 0)))
    written = [name for layer in layers for name in layer.outputs]
    read = [name for layer in layers for name in layer.inputs]
    assert len(set(written)) == len(written) and len(set(read)) == len(read)
    assert set(written) - set(read) == {"logits"}
    assert len({layer.name for layer in layers}) == len(layers)


def test_an_activation_is_part_of_the_layer_before_it() -> None:
    graph = lower(published_network("mobilenet_v2_x0_4"))
    layers = layers_of(build_ncnn(graph, random_weights(graph, 0)))
    assert {layer.kind for layer in layers} == {
        *("Input", "Convolution", "ConvolutionDepthWise", "Split", "BinaryOp"),
        *("Pooling", "InnerProduct"),
    }
    ends = [layer.settings.get("9") for layer in layers if layer.kind == "ConvolutionDepthWise"]
    assert set(ends) == {"3"}  # clipped to 0 and 6


def test_the_text_and_the_numbers_of_a_small_network() -> None:
    builder = GraphBuilder()
    image = Value("input", 1, 2, 2)
    value = builder.conv("one", image, 2, 1, batch_norm=False, activation="relu")
    value = builder.linear("two", builder.global_average_pool("mean", value), 1)
    graph = Graph(image, value, tuple(builder.ops))
    weights = {
        "one.conv.weight": np.array([1, -2], np.float32).reshape(2, 1, 1, 1),
        "two.weight": np.array([[0.5, 1e-38]], np.float32),
        "two.bias": np.array([3], np.float32),
    }
    files = build_ncnn(graph, weights)
    assert files.param.decode().splitlines() == [
        "7767517",
        "4 4",
        "Input input 0 1 input 0=2 1=2 2=1",
        "Convolution one 1 1 input one.relu 0=2 1=1 3=1 4=0 5=1 6=2 9=1",
        "Pooling mean 1 1 one.relu mean 0=1 4=1",
        "InnerProduct two 1 1 mean logits 0=1 1=1 2=2",
    ]
    held = [[0, 1, -2], [0, 0], [0, 0.5, 0], [3]]  # a tag is a 0; a weight next to 0 is 0
    assert files.weights == b"".join(np.array(each, "<f4").tobytes() for each in held)
    int8 = build_ncnn(graph, weights, {"input": 2.0, "mean": 0.0})
    assert "InnerProduct two 1 1 mean logits 0=1 1=1 2=2 8=2" in int8.param.decode()
    tag = (0x000D4B38).to_bytes(4, "little")
    first = (
        tag + bytes([127, 256 - 127, 0, 0]) + np.array([0, 0, 127, 63.5, 63.5], "<f4").tobytes()
    )
    assert int8.weights.startswith(first + tag + bytes([127, 0, 0, 0]))


def test_int8_is_as_near_as_onnxruntimes() -> None:
    """Within a unit a convolution hands on int8; where channels are joined, values are float."""
    network = reference("shufflenet_v2_x0_5")
    graph = lower(network)
    weights = weights_with_statistics(graph, 0)
    images = images_for(network, 2)
    expected = run_torch(graph, weights, images)
    files = build_ncnn(graph, weights, largest_inputs(graph, weights, images))
    found = run_ncnn(files, images)
    assert 0 < np.sqrt(np.mean((found - expected) ** 2)) / expected.std() < 0.05
    terms = Counter(layer.settings["8"] for layer in layers_of(files) if "8" in layer.settings)
    units, stages = 16, 3
    # 1x1 and depthwise of each main branch, depthwise of each shortcut; stem, last 1x1s, head.
    assert terms == {"102": units, "101": units + stages, "2": units + stages + 3}


def test_a_winograd_kernel_has_smaller_numbers() -> None:
    """ncnn adds weights of 3x3 with stride 1 up in int8, so that they have six bits."""
    builder = GraphBuilder()
    image = Value("input", 16, 8, 8)
    value = builder.conv("one", image, 16, 3, batch_norm=False)
    graph = Graph(image, value, tuple(builder.ops))
    weights, images = random_weights(graph, 0), images_of(graph.input)
    files = build_ncnn(graph, weights, largest_inputs(graph, weights, images))
    kernel = np.frombuffer(files.weights[4 : 4 + 16 * 16 * 9], np.int8).reshape(16, -1)
    assert (abs(kernel).max(axis=1) == 31).all()
    expected = run_torch(graph, weights, images)
    found = run_ncnn(files, images)
    assert np.sqrt(np.mean((found - expected) ** 2)) / expected.std() < 0.05
