"""Fake quantisation: it rounds where and as the file does, and the file gets what it learned."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from run_graphs import weights_with_statistics
from strategies import architectures

from nas_sv2.resolution import height_and_width
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.fake_quantisation import RANGES, FakeQuantised, rounded_weight
from nas_sv2.space.runtimes.onnx_form import shuffle_free_onnx
from nas_sv2.space.runtimes.onnx_lowering import INPUT
from nas_sv2.space.runtimes.quantization import quantize, ranges_in
from nas_sv2.space.runtimes.shuffle_free import with_shuffles, without_shuffles
from nas_sv2.space.runtimes.weights import Array, random_weights
from nas_sv2.space.units.architecture import Architecture, Stage

SMALL = Architecture(
    stem=(8,), stages=(Stage(2, 16), Stage(1, 32)), head=48, classes=20, resolution=32
)


def with_units(**changes: bool) -> Architecture:
    stages = tuple(dataclasses.replace(stage, **changes) for stage in SMALL.stages)  # type: ignore[arg-type]
    return dataclasses.replace(SMALL, stages=stages)


KINDS = {
    "plain": SMALL,
    "with SE": with_units(se=True),
    "residual": with_units(residual=True),
}


def images_of(network: Architecture, count: int = 12) -> Array:
    shape = (count, network.channels, *height_and_width(network.resolution))
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def unoptimised(model: bytes, images: Array) -> Array:
    """The int8 model in floats, as written: integer kernels differ between processors."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {INPUT: images})
    return np.asarray(logits)


def logits_of(rounded: FakeQuantised, images: Array) -> Array:
    with torch.no_grad():
        logits: Array = rounded.module.eval()(torch.from_numpy(images)).numpy()
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_it_rounds_as_the_exported_file(kind: str) -> None:
    """With biases of 0, which the file rounds too, the logits are the same, step for step."""
    graph, images = lower(KINDS[kind]), images_of(KINDS[kind])
    weights = random_weights(graph, seed=0)
    file = quantize(shuffle_free_onnx(graph, weights), images)
    found = logits_of(FakeQuantised.of(graph, weights, images), images)
    low, high = ranges_in(file)["logits"]
    off = np.abs(found - unoptimised(file, images)) / ((high - low) / 255)
    assert np.mean(off > 0.5) < 0.02


def test_it_is_nearer_to_the_file_than_float32_is() -> None:
    graph, images = lower(SMALL), images_of(SMALL)
    weights = weights_with_statistics(graph, 0)
    file = quantize(shuffle_free_onnx(graph, weights), images)
    int8 = unoptimised(file, images)
    found = logits_of(FakeQuantised.of(graph, weights, images), images)
    plain = unoptimised(shuffle_free_onnx(graph, weights), images)
    assert np.std(found - int8) < 0.8 * np.std(plain - int8)


@given(network=architectures())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_weights_comes_back(network: Architecture) -> None:
    graph = lower(network)
    weights = random_weights(graph, seed=3)
    _, moved = without_shuffles(graph, weights)
    back = with_shuffles(graph, moved)
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[name], weights[name]) for name in weights)


def trained(graph: Graph, images: Array) -> FakeQuantised:
    rounded = FakeQuantised.of(graph, weights_with_statistics(graph, 0), images)
    optimiser = torch.optim.SGD(rounded.module.parameters(), lr=0.01)
    rounded.module.train()
    for _ in range(3):
        loss = rounded.module(torch.from_numpy(3 * images)).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return rounded


def test_all_but_the_statistics_learns_and_the_file_has_the_learned_ranges() -> None:
    graph, images = lower(SMALL), images_of(SMALL)
    before = weights_with_statistics(graph, 0)
    rounded = trained(graph, images)
    after = rounded.weights
    for name, array in before.items():
        fixed = name.endswith(("running_mean", "running_var"))
        assert np.array_equal(array, after[name]) == fixed, name
    assert RANGES not in after
    first = FakeQuantised.of(graph, before, images).ranges
    assert rounded.ranges["input"][1] > first["input"][1]  # images were three times as large
    file = quantize(shuffle_free_onnx(graph, after), images, rounded.ranges)
    held = ranges_in(file)
    for name, (low, high) in rounded.ranges.items():
        step = (max(high, 0) - min(low, 0)) / 255
        assert held[name] == pytest.approx((min(low, 0), max(high, 0)), abs=step), name


def test_a_weight_has_a_scale_for_each_output_channel() -> None:
    weight = torch.tensor([[[[127.0]], [[3.4]]], [[[1.27]], [[-0.034]]]], requires_grad=True)
    found = rounded_weight(weight)
    torch.testing.assert_close(
        found.detach(), torch.tensor([[[[127.0]], [[3.0]]], [[[1.27]], [[-0.03]]]])
    )
    torch.autograd.backward(found.sum())
    assert weight.grad is not None and bool((weight.grad == 1).all())  # straight through
