"""The kernels of a network in ncnn, as its layers are."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.latency.kernels.ncnn import ncnn_kernels_of
from nas_sv2.latency.kernels.of_graph import in_form
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.operators import Function, Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.ncnn_lowering import build_ncnn
from nas_sv2.space.runtimes.weights import weight_shapes

NOT_KERNELS = ("Input", "Split")
"""Layers that compute nothing: ncnn's Split names a map once more."""


def kernels(
    build: GraphBuilder, source: Value, precision: ArmPrecision = "fp32"
) -> tuple[Kernel, ...]:
    return ncnn_kernels_of(Graph(source, build.ops[-1].output, tuple(build.ops)), precision)


@settings(max_examples=20)
@given(
    st.integers(0, 10_000),
    st.sampled_from(sorted(LEVELS)),
    st.sampled_from(["plain", "shuffle_free"]),
)
def test_a_kernel_is_a_layer_of_the_file(seed: int, space: str, lowering: Lowering) -> None:
    network = LEVELS[space].sample(RandomSuggester(random.Random(seed)))
    graph = in_form(lower(network), lowering)
    weights = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(graph).items()}
    lines = build_ncnn(graph, weights).param.decode().splitlines()[2:]
    layers = [line.split()[1] for line in lines if line.split()[0] not in NOT_KERNELS]
    assert [kernel.ops[0] for kernel in ncnn_kernels_of(graph)] == layers


@pytest.mark.parametrize(
    ("into", "out", "layout"),
    [(8, 16, "pack4"), (58, 61, "pack1"), (3, 24, "pack1to4"), (24, 58, "pack4to1")],
)
def test_the_layout_is_part_of_the_kind(into: int, out: int, layout: str) -> None:
    build, source = GraphBuilder(), Value("input", into, 14, 14)
    build.conv("conv", source, out)
    assert kernels(build, source)[0].kind == f"pointwise {layout}"


@pytest.mark.parametrize(
    ("into", "out", "layout"),
    [
        (8, 16, "pack8"),
        (12, 20, "pack4"),
        (24, 116, "pack8to4"),
        (116, 232, "pack4to8"),
        (58, 64, "pack1to8"),
        (58, 60, "pack1to4"),
        (8, 58, "pack8to1"),
        (58, 61, "pack1"),
    ],
)
def test_fp16_keeps_eight_channels_together(into: int, out: int, layout: str) -> None:
    build, source = GraphBuilder(), Value("input", into, 14, 14)
    build.conv("conv", source, out)
    assert kernels(build, source, "fp16")[0].kind == f"pointwise {layout}"


@pytest.mark.parametrize(
    ("into", "out", "precision", "kind"),
    [
        (3, 14, "fp16", "conv 3x3 s2 pack1 direct"),
        (3, 18, "fp16", "conv 3x3 s2 pack1"),
        (18, 14, "fp16", "conv 3x3 s2 pack1"),
        (3, 12, "fp16", "conv 3x3 s2 pack1to4"),
        (3, 14, "fp32", "conv 3x3 s2 pack1"),
    ],
)
def test_few_single_channels_are_convolved_directly_in_fp16(
    into: int, out: int, precision: ArmPrecision, kind: str
) -> None:
    build, source = GraphBuilder(), Value("input", into, 14, 14)
    build.conv("conv", source, out, 3, stride=2)
    assert kernels(build, source, precision)[0].kind == kind


@pytest.mark.parametrize(
    ("sizes", "split", "concat"),
    [
        ((24, 24), "pack4", "pack4"),
        ((58, 58), "pack4to1", "pack1to4"),
        ((29, 29), "pack1", "pack1"),
        ((60, 58, 62), "pack4to1", "pack1to4"),
    ],
)
def test_one_odd_part_gives_a_split_and_a_concat_another_layout(
    sizes: tuple[int, ...], split: str, concat: str
) -> None:
    build, source = GraphBuilder(), Value("input", sum(sizes), 14, 14)
    build.concat("concat", *build.split("split", source, sizes))
    assert [one.kind for one in kernels(build, source)] == [f"split {split}", f"concat {concat}"]


@pytest.mark.parametrize("channels, layout", [(116, "pack4to1"), (120, "pack4"), (58, "pack1")])
def test_a_shuffle_has_the_layout_of_its_groups(channels: int, layout: str) -> None:
    build, source = GraphBuilder(), Value("input", channels, 14, 14)
    build.shuffle("shuffle", source)
    assert kernels(build, source)[0].kind == f"shuffle g2 {layout}"


@pytest.mark.parametrize(
    ("channels", "groups", "layout"), [(24, 2, "pack8to4"), (48, 2, "pack8"), (60, 3, "pack4")]
)
def test_a_shuffle_in_fp16_has_the_layout_of_its_groups(
    channels: int, groups: int, layout: str
) -> None:
    build, source = GraphBuilder(), Value("input", channels, 14, 14)
    build.shuffle("shuffle", source, groups)
    assert kernels(build, source, "fp16")[0].kind.endswith(f" {layout}")


@pytest.mark.parametrize("function", ["relu", "relu6", "sigmoid"])
def test_an_activation_is_part_of_the_layer_with_weights_before_it(function: Function) -> None:
    build, source = GraphBuilder(), Value("input", 8, 14, 14)
    build.conv("conv", source, 16, activation=function)
    (kernel,) = kernels(build, source)
    assert (kernel.fused, len(kernel.ops)) == ((function,), 2)


def test_an_activation_of_a_map_that_others_read_is_a_layer_of_its_own() -> None:
    build, source = GraphBuilder(), Value("input", 8, 14, 14)
    value = build.conv("conv", source, 8)
    build.add("add", build.activation("relu", value, "relu"), value)
    assert [one.kind for one in kernels(build, source)] == [
        "pointwise pack4",
        "relu pack4",
        "add pack4",
    ]


def test_a_convolution_of_a_vector_is_fully_connected() -> None:
    build, source = GraphBuilder(), Value("input", 8, 14, 14)
    build.gate("gate", build.global_average_pool("pool", source), 6)
    assert [one.kind for one in kernels(build, source)] == [
        "average pool pack4",
        "linear pack4to1",
    ]
