"""The cost of a model, against our own count and published figures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper
from onnx_files import LIGHT
from strategies import architectures

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.graph.operators import Conv, Graph
from nas_sv2.space.graph.peak_memory import peak_memory_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.onnx_models.model import OnnxModel, load_model
from nas_sv2.space.onnx_models.model_cost import model_cost, model_memory
from nas_sv2.space.onnx_models.nodes import Tensor
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

Save = Callable[..., Path]


def folded(graph: Graph) -> int:
    """Numbers that vanish where a batch norm is folded: one of two a channel."""
    ops = [op for op in graph.ops if isinstance(op.kind, Conv) and op.kind.batch_norm]
    return sum(op.output.channels for op in ops)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures())
def test_our_own_networks_cost_what_we_count(architecture: Architecture) -> None:
    plain = lower(architecture)
    weights = random_weights(plain, 0)
    for graph, held in ((plain, weights), without_shuffles(plain, weights)):
        image = Tensor("input", (1, graph.input.channels, graph.input.height, graph.input.width))
        model = OnnxModel("m", build_onnx(graph, held), (image,))
        counted = cost_of(graph)
        assert model_cost(model) == replace(counted, params=counted.params - folded(graph))
        ours, read = peak_memory_of(graph), model_memory(model)
        assert (read.weight_bytes, read.activation_bytes) == (
            ours.weight_bytes,
            ours.activation_bytes,
        )


@pytest.mark.parametrize(
    ("name", "gflops", "params"),
    [  # as torchvision publishes both with its weights; its SqueezeNet is 1.1, as the light one
        ("resnet50", 4.089, 25_557_032),
        ("vgg19", 19.632, 143_667_240),
        ("squeezenet", 0.349, 1_235_496),
    ],
)
def test_light_models_cost_what_is_published(name: str, gflops: float, params: int) -> None:
    cost = model_cost(load_model(LIGHT / f"light_{name}.onnx"))
    assert cost.flops / 1e9 == pytest.approx(gflops, abs=0.0005)
    assert cost.params == params


def test_a_batch_is_one_run(save: Save) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], group=2)]
    path = save(nodes, {"x": ["N", 2, 5, 5]}, {"w": np.ones((4, 1, 3, 3), "f")})
    one, two = (model_cost(load_model(path, {"x": (n, 2, 5, 5)})) for n in (1, 2))
    assert (one.flops, two.flops) == (4 * 9 * 9, 2 * 4 * 9 * 9)
    assert one.params == two.params == 36
    assert one.elementwise_bytes == one.memory_access_bytes == 4 * (50 + 36 + 36)


def test_products_of_two_activations_count(save: Save) -> None:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"])]
    path = save(nodes, {"a": [2, 3, 4], "b": [2, 4, 5]})
    assert model_cost(load_model(path)).flops == 2 * 3 * 4 * 5


def test_a_transposed_convolution_counts_the_pixels_that_it_reads(save: Save) -> None:
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])]
    path = save(nodes, {"x": [1, 2, 5, 5]}, {"w": np.ones((2, 3, 2, 2), "f")})
    assert model_cost(load_model(path)).flops == 24 * 25


def test_a_quantised_weight_has_its_own_size(save: Save) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    held = {"q": np.ones((4, 5), np.int8), "scale": np.float32(0.1)}
    model = load_model(save(nodes, {"x": [1, 4]}, held))
    assert (model_cost(model).params, model_memory(model).weight_bytes) == (20, 20)
    assert model_cost(model).flops == 20


def test_shapes_that_nodes_compute_are_found(save: Save) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["side"]),
        helper.make_node("Div", ["side", "half"], ["less"]),  # onnx's inference stops here
        helper.make_node("Concat", ["rest", "less"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["map"]),
        helper.make_node("Relu", ["map"], ["y"]),
    ]
    held = {"two": np.array([2]), "half": np.array([2]), "rest": np.array([-1])}
    model = load_model(save(nodes, {"x": ["N", 3, "H"]}, held), {"x": (1, 3, 8)})
    assert model.graph.outputs == (Tensor("y", (6, 4)),)
    assert model_cost(model) == Cost(
        memory_access_bytes=2 * 96, elementwise_bytes=2 * 96, kernel_count=0
    )


def test_what_cannot_be_counted_is_refused_by_the_node(save: Save) -> None:
    einsum = helper.make_node("Einsum", ["x", "x"], ["y"], "ein", equation="ij,ij->i")
    with pytest.raises(ConfigError, match=r"node ein must .* cost is counted; got 'Einsum'"):
        model_cost(load_model(save([einsum], {"x": [2, 3]})))
    kept = helper.make_node("NonZero", ["x"], ["a"], "found")
    cast = helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)
    with pytest.raises(ConfigError, match=r"node found must have shapes .* got 'NonZero'"):
        model_cost(load_model(save([kept, cast], {"x": [2, 3]})))
    fused = helper.make_node("FusedGelu", ["x"], ["y"], "gelu", domain="com.microsoft")
    with pytest.raises(ConfigError, match=r"node gelu must .*got 'com.microsoft.FusedGelu'"):
        model_cost(load_model(save([fused], {"x": [2, 3]})))


def test_graphs_within_nodes_are_refused(save: Save) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "g",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
    )
    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=inner, else_branch=inner)
    known = load_model(save([node], {"x": [2]}, {"c": np.array(True)}))
    assert [each.operator for each in known.graph.nodes] in (["Identity"], [])
    asked = helper.make_node("Greater", ["x", "least"], ["all"])
    one = helper.make_node("Gather", ["all", "first"], ["c"])
    held = {"least": np.float32(0), "first": np.array([0])}
    path = save([asked, one, node], {"x": [2]}, held)
    with pytest.raises(ConfigError, match=r"node if must be an operator without a graph"):
        model_cost(load_model(path))


def test_the_reference_is_read_as_it_is_counted(save: Save) -> None:
    graph = lower(reference("shufflenet_v2_x1_0"))
    image = Tensor("input", (1, 3, 224, 224))
    model = OnnxModel("m", build_onnx(graph, random_weights(graph, 0)), (image,))
    assert model_cost(model).flops == 145_814_296
