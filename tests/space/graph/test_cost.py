from dataclasses import replace

import pytest
from hypothesis import given
from strategies import architectures

from nas_sv2.space.graph.cost import BYTES_PER_NUMBER, Cost, cost_of, op_cost
from nas_sv2.space.graph.operators import Conv, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference


def test_a_pointwise_convolution_costs_what_equation_1_says() -> None:
    height, width, c1, c2 = 14, 14, 58, 116
    build = GraphBuilder()
    build.conv("pointwise", Value("x", c1, height, width), c2)
    cost = op_cost(build.ops[0])
    assert cost.flops == height * width * c1 * c2
    access = height * width * (c1 + c2) + c1 * c2
    assert cost.memory_access_bytes == BYTES_PER_NUMBER * access
    assert cost.elementwise_bytes == 0
    assert cost.params == c1 * c2 + 2 * c2


def test_a_depthwise_convolution_is_elementwise() -> None:
    build = GraphBuilder()
    build.conv("depthwise", Value("x", 8, 7, 7), 8, 3, depthwise=True)
    cost = op_cost(build.ops[0])
    assert cost.flops == 7 * 7 * 8 * 9
    assert cost.elementwise_bytes == cost.memory_access_bytes


def test_a_convolution_from_one_channel_is_not_depthwise() -> None:
    build = GraphBuilder()
    build.conv("stem", Value("x", 1, 28, 28), 24, 3)
    assert op_cost(build.ops[0]).elementwise_bytes == 0


def test_an_empty_sum_is_no_cost() -> None:
    assert sum([], Cost()) == Cost()


@given(architectures())
def test_costs_grow_with_what_grows(architecture: Architecture) -> None:
    cost = cost_of(lower(architecture))
    deeper = replace(
        architecture,
        stages=(
            *architecture.stages[:-1],
            replace(architecture.stages[-1], depth=architecture.stages[-1].depth + 1),
        ),
    )
    more = cost_of(lower(deeper))
    assert more.flops > cost.flops
    assert more.params > cost.params
    assert more.memory_access_bytes > cost.memory_access_bytes
    assert more.kernel_count > cost.kernel_count
    assert 0 < cost.elementwise_bytes < cost.memory_access_bytes


def test_flops_follow_the_area_and_params_do_not() -> None:
    v2 = reference("shufflenet_v2_x1_0")
    full, half = (lower(replace(v2, resolution=side)) for side in (448, 224))
    assert cost_of(full).params == cost_of(half).params
    convolutions = [
        sum(op_cost(op).flops for op in graph.ops if isinstance(op.kind, Conv))
        for graph in (full, half)
    ]
    assert convolutions[0] == pytest.approx(4 * convolutions[1])
