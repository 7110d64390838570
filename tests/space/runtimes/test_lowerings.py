"""The property that ties the readings of the graph together."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from run_graphs import assert_close, run_onnx, run_torch, weights_with_statistics
from strategies import architectures

from nas_sv2.errors import ConfigError
from nas_sv2.resolution import height_and_width
from nas_sv2.space.graph.cost import cost_of, kernel_shape
from nas_sv2.space.graph.operators import Shuffle
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.torch_lowering import (
    GraphModule,
    build_module,
    load_weights,
    weights_of,
)
from nas_sv2.space.runtimes.torchvision_weights import from_torchvision
from nas_sv2.space.runtimes.weights import Array, check_weights, random_weights, weight_shapes
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference


def images_for(architecture: Architecture, batch: int = 1) -> Array:
    shape = (batch, architecture.channels, *height_and_width(architecture.resolution))
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def torch_flops_and_logits(module: GraphModule, images: Array) -> tuple[int, Array]:
    """Multiply-adds counted from what torch's own layers saw, and what came out."""
    counted: list[int] = []

    def count(layer: Any, inputs: Any, output: Any) -> None:
        area = output[0, 0].numel() if output.dim() == 4 else 1
        counted.append(layer.weight.numel() * area)

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        logits: Array = module.eval()(torch.from_numpy(images)).numpy()
    return sum(counted), logits


def onnx_flops_and_kernels(model: bytes) -> tuple[int, int]:
    """Multiply-adds and kernel sizes counted from the ONNX file's own shapes."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    held = {t.name: numpy_helper.to_array(t).size for t in inferred.initializer}
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*inferred.value_info, *inferred.output]
    }
    flops = kernels = 0
    for node in inferred.node:
        if node.op_type in ("Conv", "Gemm"):
            shape = shapes[node.output[0]]
            flops += held[node.input[1]] * int(np.prod(shape[2:]))
            kernels += held[node.input[1]]
    return flops, kernels


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures(), st.integers(0, 2**32 - 1))
def test_torch_onnx_and_graph_agree(architecture: Architecture, seed: int) -> None:
    graph = lower(architecture)
    cost = cost_of(graph)
    weights = weights_with_statistics(graph, seed)
    images = images_for(architecture)
    module = build_module(graph)
    load_weights(module, graph, weights)
    assert sum(p.numel() for p in module.parameters()) == cost.params
    flops, expected = torch_flops_and_logits(module, images)
    assert flops == cost.flops
    model = build_onnx(graph, weights)
    kernels = sum(int(np.prod(kernel_shape(op))) for op in graph.ops)
    assert onnx_flops_and_kernels(model) == (cost.flops, kernels)
    assert_close(expected, run_onnx(model, images))
    free, moved = without_shuffles(graph, weights)
    residual = {f"stage{n}" for n, stage in enumerate(architecture.stages, 2) if stage.residual}
    shuffles = {op.name.split(".")[0] for op in free.ops if isinstance(op.kind, Shuffle)}
    assert shuffles <= residual
    assert_close(expected, run_onnx(build_onnx(free, moved), images))
    assert cost_of(free).flops == cost.flops
    assert weight_shapes(free) == weight_shapes(graph)


REAL = ["shufflenet_v2_x0_5", "shufflenet_v2_se_x1_0", "shufflenet_v2_residual_x1_0"]


@pytest.mark.parametrize("name", [*REAL, "shufflenet_v2_star_x1_0", "shufflenet_v2_50"])
def test_references_agree_at_full_size(name: str) -> None:
    architecture = reference(name)
    graph = lower(architecture)
    weights = weights_with_statistics(graph, 0)
    images = images_for(architecture)
    model = build_onnx(graph, weights)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    expected = run_torch(graph, weights, images)
    assert_close(expected, run_onnx(model, images))
    assert_close(expected, run_onnx(build_onnx(*without_shuffles(graph, weights)), images))


@pytest.mark.parametrize("scale", ["x0_5", "x1_0", "x1_5", "x2_0"])
def test_torchvision_weights_give_torchvision_outputs(scale: str) -> None:
    theirs = getattr(torchvision.models, f"shufflenet_v2_{scale}")(weights=None).eval()
    generator = torch.Generator().manual_seed(0)
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor in layer.state_dict().values():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.0, generator=generator)
    architecture = reference(f"torchvision_shufflenet_v2_{scale}")
    graph = lower(architecture)
    weights = from_torchvision({k: v.numpy() for k, v in theirs.state_dict().items()})
    check_weights(graph, weights)
    images = images_for(architecture, batch=2)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    for outputs in (
        run_torch(graph, weights, images),
        run_onnx(build_onnx(graph, weights, batch=None), images),
        run_onnx(build_onnx(*without_shuffles(graph, weights), batch=2), images),
    ):
        np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_a_foreign_name_is_no_torchvision_weight() -> None:
    with pytest.raises(ConfigError, match="layer4"):
        from_torchvision({"layer4.0.weight": np.zeros(1, np.float32)})


@given(architectures())
@settings(max_examples=20, deadline=None)
def test_weights_go_through_torch_and_back(architecture: Architecture) -> None:
    graph = lower(architecture)
    weights = weights_with_statistics(graph, 1)
    module = build_module(graph)
    load_weights(module, graph, weights)
    # As it is trained; safetensors would write another network from arrays that are not in order.
    back = weights_of(module.to(memory_format=torch.channels_last))
    assert back.keys() == weights.keys()
    assert all(array.flags.c_contiguous for array in back.values())
    assert all(np.array_equal(back[name], weights[name]) for name in weights)


def test_foreign_weights_are_refused() -> None:
    graph = lower(reference("shufflenet_v2_x0_5"))
    weights = random_weights(graph, 0)
    with pytest.raises(ConfigError, match=r"head\.classifier\.bias"):
        check_weights(graph, {k: v for k, v in weights.items() if k != "head.classifier.bias"})
    with pytest.raises(ConfigError, match="shape"):
        check_weights(graph, {**weights, "head.classifier.bias": np.zeros(3, np.float32)})


def test_initialisation_follows_its_generator_and_leaves_the_global_one_alone() -> None:
    graph = lower(reference("shufflenet_v2_residual_x0_5"))
    before = torch.get_rng_state()
    first, second, other = (
        weights_of(build_module(graph, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["stem.0.conv.weight"], other["stem.0.conv.weight"])
    assert not first["stage2.1.main.project.norm.weight"].any()
    assert first["stage2.0.main.project.norm.weight"].all()
