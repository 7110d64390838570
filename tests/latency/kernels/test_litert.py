"""The kernels of a network in LiteRT, as its file has them."""

import pytest

from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.litert import litert_kernels_of
from nas_sv2.space.graph.operators import Function, Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import REFERENCES, reference


def kernels(build: GraphBuilder, source: Value) -> tuple[Kernel, ...]:
    return litert_kernels_of(Graph(source, build.ops[-1].output, tuple(build.ops)))


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_every_operator_is_in_one_kernel(name: str) -> None:
    graph = lower(reference(name))
    covered = [op for kernel in litert_kernels_of(graph) for op in kernel.ops]
    assert sorted(covered) == sorted(op.name for op in graph.ops)


@pytest.mark.parametrize("function", ["relu", "relu6"])
def test_a_relu_is_part_of_the_convolution_before_it(function: Function) -> None:
    build, source = GraphBuilder(), Value("input", 8, 14, 14)
    build.conv("conv", source, 16, activation=function)
    (kernel,) = kernels(build, source)
    assert (kernel.kind, kernel.fused, len(kernel.ops)) == ("pointwise", (), 2)


def test_a_relu_behind_a_sum_is_named() -> None:
    build, source = GraphBuilder(), Value("input", 8, 14, 14)
    build.activation("relu", build.add("add", source, source), "relu")
    (kernel,) = kernels(build, source)
    assert (kernel.kind, kernel.fused) == ("add", ("relu",))


def test_a_sigmoid_and_a_sum_are_kernels_of_their_own() -> None:
    build, source = GraphBuilder(), Value("input", 8, 14, 14)
    convolved = build.conv("conv", source, 8)
    build.activation("sigmoid", build.add("add", source, convolved), "sigmoid")
    assert [kernel.kind for kernel in kernels(build, source)] == ["pointwise", "add", "sigmoid"]


@pytest.mark.parametrize(("out", "ragged"), [(16, False), (58, True), (8, False), (4, True)])
def test_channels_that_fill_no_tile_are_a_kind_of_their_own(out: int, ragged: bool) -> None:
    build, source = GraphBuilder(), Value("input", 24, 14, 14)
    build.conv("conv", source, out)
    assert kernels(build, source)[0].kind == "pointwise" + " ragged" * ragged


@pytest.mark.parametrize(
    ("side", "activation", "ending"),
    [(28, "relu", " padded"), (27, "relu", ""), (28, None, " padded below zero")],
)
def test_a_max_pool_is_padded_by_an_operator_where_the_file_has_one(
    side: int, activation: Function | None, ending: str
) -> None:
    build, source = GraphBuilder(), Value("input", 3, side, side)
    build.max_pool("pool", build.conv("conv", source, 8, activation=activation))
    kernel = kernels(build, source)[-1]
    assert kernel.kind == f"max pool 3x3 s2{ending}"
    assert kernel.written == (14, 14)
