"""Every operator by every reading: a reading that does not know an operator fails here.

Each example stands between two convolutions, so that a reading that rewrites or fuses sees a
neighbour on both sides.  `READINGS` lists the readings.
Plain source reads architectures, not operators: `test_source_builds_its_operators` says
which operators its units are made of.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from run_graphs import (
    assert_close,
    run_ncnn,
    run_onnx,
    run_tflite,
    run_torch,
    weights_with_statistics,
)

from nas_sv2.latency.kernels.int8 import int8_kernels_of
from nas_sv2.latency.kernels.node_costs import class_of, pieces_of_graph, terms_of
from nas_sv2.latency.kernels.of_graph import float32_kernels_of
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, kernels_run
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.space.graph.cost import op_cost
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    GraphBuilder,
    Kind,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Select,
    Shift,
    Shuffle,
    Split,
    Value,
)
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.reuse.channel_reuse import follow_channels
from nas_sv2.space.runtimes.ncnn_lowering import build_ncnn
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.quantization import largest_inputs
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.source_lowering import build_plain
from nas_sv2.space.runtimes.tflite_int8 import find_scales, quantize_tflite
from nas_sv2.space.runtimes.tflite_lowering import build_tflite
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.runtimes.weights import Array, weight_shapes
from nas_sv2.space.units.reference import REFERENCES

NAME = "stage2.0.example"
IMAGE_SHAPE = (3, 7, 7)
Build = Callable[[GraphBuilder, Value], Value]
"""Appends the operator `NAME` that reads a map of 8 channels; returns what comes next."""


def two_parts(builder: GraphBuilder, source: Value) -> Value:
    first, second = builder.split(NAME, source, (3, 5))
    return builder.concat("stage2.0.joined", second, first)


def both(builder: GraphBuilder, source: Value) -> Value:
    other = builder.conv("stage2.0.other", source, 4, 1, activation="relu")
    return builder.concat(NAME, source, other)


def summed(builder: GraphBuilder, source: Value) -> Value:
    other = builder.conv("stage2.0.other", source, 8, 1)
    return builder.add(NAME, source, other)


def scaled(builder: GraphBuilder, source: Value) -> Value:
    mean = builder.global_average_pool("stage2.0.mean", source)
    gates = builder.activation(
        "stage2.0.sigmoid", builder.gate("stage2.0.gate", mean, 8), "sigmoid"
    )
    return builder.multiply(NAME, source, gates)


def classified(builder: GraphBuilder, source: Value) -> Value:
    return builder.linear(NAME, builder.global_average_pool("stage2.0.mean", source), 5)


EXAMPLES: dict[str, tuple[type[Any], Build]] = {
    "conv": (Conv, lambda b, v: b.conv(NAME, v, 6, 3, stride=2)),
    "conv, grouped": (Conv, lambda b, v: b.conv(NAME, v, 12, 1, groups=4)),
    "conv, depthwise": (Conv, lambda b, v: b.conv(NAME, v, 8, 3, depthwise=True)),
    "conv, unpadded": (Conv, lambda b, v: b.conv(NAME, v, 6, 3, padded=False)),
    "conv, bare": (Conv, lambda b, v: b.conv(NAME, v, 6, batch_norm=False)),
    "gate": (Conv, lambda b, v: b.gate(NAME, v, 6)),
    "relu": (Activation, lambda b, v: b.activation(NAME, v, "relu")),
    "relu6": (Activation, lambda b, v: b.activation(NAME, v, "relu6")),
    "sigmoid": (Activation, lambda b, v: b.activation(NAME, v, "sigmoid")),
    "max pool": (MaxPool, lambda b, v: b.max_pool(NAME, v)),
    "average pool": (AveragePool, lambda b, v: b.average_pool(NAME, v, 3, stride=2)),
    "global average pool": (GlobalAveragePool, lambda b, v: b.global_average_pool(NAME, v)),
    "norm": (Norm, lambda b, v: b.norm(NAME, v)),
    "shift": (Shift, lambda b, v: b.shift(NAME, v)),
    "select": (Select, lambda b, v: b.select(NAME, v, (6, 0, 3))),
    "split": (Split, two_parts),
    "concat": (Concat, both),
    "shuffle": (Shuffle, lambda b, v: b.shuffle(NAME, v)),
    "shuffle in 4": (Shuffle, lambda b, v: b.shuffle(NAME, v, 4)),
    "add": (Add, summed),
    "multiply": (Multiply, scaled),
    "linear": (Linear, classified),
}
OUTSIDE_UNITS = {AveragePool, Norm, Shift, Select}
"""What the paper's networks need and no unit of the space has."""


def graph_of(build: Build) -> Graph:
    builder = GraphBuilder()
    image = Value("input", *IMAGE_SHAPE)
    value = build(builder, builder.conv("stage2.0.first", image, 8))
    if not isinstance(builder.ops[-1].kind, Linear):
        value = builder.conv("stage2.1.last", value, 6)
    return Graph(image, value, tuple(builder.ops))


def op_of(graph: Graph) -> Op:
    return next(op for op in graph.ops if op.name == NAME)


def images() -> Array:
    return np.random.default_rng(0).standard_normal((2, *IMAGE_SHAPE), np.float32)


def costs(graph: Graph) -> None:
    """Parameters are those that torch learns; work is counted for what multiplies alone."""
    op = op_of(graph)
    cost = op_cost(op)
    learnt = {name: tensor.numel() for name, tensor in build_module(graph).named_parameters()}
    assert cost.params == sum(count for name, count in learnt.items() if name.startswith(NAME))
    assert (cost.flops > 0) == isinstance(op.kind, Conv | Linear)
    numbers = sum(value.elements for value in op.inputs + op.outputs)
    assert cost.memory_access_bytes >= 4 * numbers


def shapes_in_torch(graph: Graph) -> None:
    """Torch writes values of the shapes that the operators say."""
    seen: dict[str, list[tuple[int, ...]]] = {}

    def traced(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def step(*values: torch.Tensor) -> Any:
            found = run(*values)
            parts = found if isinstance(found, tuple) else (found,)
            seen[name] = [tuple(part.shape[1:]) for part in parts]
            return found

        return step

    module = build_module(graph).eval()
    module.wrap_steps(traced)
    module(torch.from_numpy(images()))
    op = op_of(graph)
    flat = isinstance(op.kind, Linear)
    said = [(v.channels,) if flat else (v.channels, v.height, v.width) for v in op.outputs]
    assert seen[NAME] == said


def onnx_as_torch(graph: Graph) -> None:
    weights = weights_with_statistics(graph, 1)
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(graph)
    model = build_onnx(graph, weights, batch=None)
    assert_close(run_onnx(model, images()), run_torch(graph, weights, images()))


def ncnn_as_torch(graph: Graph) -> None:
    weights = weights_with_statistics(graph, 1)
    expected = run_torch(graph, weights, images())
    found = run_ncnn(build_ncnn(graph, weights), images())
    assert_close(found.reshape(expected.shape), expected)


def ncnn_in_int8_near_torch(graph: Graph) -> None:
    weights = weights_with_statistics(graph, 1)
    expected = run_torch(graph, weights, images())
    largest = largest_inputs(graph, weights, images())
    found = run_ncnn(build_ncnn(graph, weights, largest), images()).reshape(expected.shape)
    error = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
    assert 0 < error < 0.05


def tflite_as_torch(graph: Graph) -> None:
    weights = weights_with_statistics(graph, 1)
    model = build_tflite(graph, weights, batch=2)
    assert_close(run_tflite(model, images()), run_torch(graph, weights, images()))


def tflite_in_int8_near_torch(graph: Graph) -> None:
    weights = weights_with_statistics(graph, 1)
    expected = run_torch(graph, weights, images())
    float32 = build_tflite(graph, weights, batch=2)
    model = quantize_tflite(float32, find_scales(float32, images()))
    error = np.sqrt(np.mean((run_tflite(model, images()) - expected) ** 2)) / expected.std()
    assert 0 < error < 0.05


def without_shuffles_as_torch(graph: Graph) -> None:
    weights = weights_with_statistics(graph, 2)
    rewritten, moved = without_shuffles(graph, weights)
    assert_close(run_torch(rewritten, moved, images()), run_torch(graph, weights, images()))


def followed_channels(graph: Graph) -> None:
    """A channel that is only moved answers to the one that it is said to be, and to no other."""
    op = op_of(graph)
    held = follow_channels(graph).held
    assert [len(held[value.name]) for value in op.outputs] == [v.channels for v in op.outputs]
    entering, leaving = held[op.source.name], held[op.output.name]
    moved = set(leaving) & set(entering) != set()
    assert moved != isinstance(op.kind, Conv | Linear | Add | Multiply)
    if moved and len(op.inputs) == 1:
        part = Graph(op.source, op.output, (op,))
        for place, channel in enumerate(entering):
            same = {index for index, other in enumerate(leaving) if other == channel}
            assert _changed(part, place) == same


def _changed(part: Graph, channel: int) -> set[int]:
    """Which channels of the first output another number in a channel of the input changes."""
    shape = (1, part.input.channels, part.input.height, part.input.width)
    plain = np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float32)
    other = plain.copy()
    other[0, channel] += 0.05
    module = build_module(part).eval()
    with torch.no_grad():
        before, after = (module(torch.from_numpy(each)).numpy() for each in (plain, other))
    return set(np.flatnonzero(abs(after - before).max((0, 2, 3)) > 1e-6).tolist())


def kernels_in_float32(graph: Graph) -> None:
    """Every operator runs in one kernel."""
    covered = [name for kernel in float32_kernels_of(graph) for name in kernel.ops]
    assert sorted(covered) == sorted(op.name for op in graph.ops)


def kernels_in_int8(graph: Graph) -> None:
    """Every operator runs in one kernel, but for a ReLU that vanishes into scales."""
    covered = [name for kernel in int8_kernels_of(graph) for name in kernel.ops]
    names = {op.name for op in graph.ops}
    gone = {op.name for op in graph.ops if op.kind == Activation("relu")}
    assert names - gone <= set(covered)
    assert len(covered) == len(set(covered))


def node_costs(graph: Graph) -> None:
    (piece,) = (piece for piece in pieces_of_graph(graph, "plain") if NAME in piece.kernel.ops)
    assert class_of(piece.kernel)
    assert all(math.isfinite(term) and term >= 0 for term in terms_of(piece))


def kernels_that_ran(graph: Graph) -> None:
    """If a runtime has one node for each operator, the kernels are the operators."""
    nodes = [NodeTime(op.output.name, "Any", 1.0) for op in graph.ops]
    ran = kernels_run(graph, nodes)
    assert [kernel.ops for kernel in ran] == [(op.name,) for op in graph.ops]
    assert {kernel.kind for kernel in ran} <= set(RUN_KINDS)


READINGS: tuple[Callable[[Graph], None], ...] = (
    costs,
    shapes_in_torch,
    onnx_as_torch,
    ncnn_as_torch,
    ncnn_in_int8_near_torch,
    tflite_as_torch,
    tflite_in_int8_near_torch,
    without_shuffles_as_torch,
    followed_channels,
    kernels_in_float32,
    kernels_in_int8,
    node_costs,
    kernels_that_ran,
)


def test_every_operator_has_an_example() -> None:
    assert {kind for kind, _ in EXAMPLES.values()} == set(get_args(Kind))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_knows_an_operator(reading: Callable[[Graph], None], name: str) -> None:
    kind, build = EXAMPLES[name]
    graph = graph_of(build)
    assert type(op_of(graph).kind) is kind
    reading(graph)


def test_source_builds_its_operators() -> None:
    """Plain torch has the layers of every operator that a network of the space is made of."""
    found: set[type[Any]] = set()
    for name in ("shufflenet_v2_se_residual_x0_5", "shufflenet_v2_star_x0_5"):
        small = replace(REFERENCES[name], resolution=64, classes=4)
        graph = lower(small)
        found |= {type(op.kind) for op in graph.ops}
        counted = {name: tuple(t.shape) for name, t in build_plain(small).named_parameters()}
        learnt = {n: tuple(t.shape) for n, t in build_module(graph).named_parameters()}
        assert sorted(counted.values()) == sorted(learnt.values())
    assert found == set(get_args(Kind)) - OUTSIDE_UNITS
