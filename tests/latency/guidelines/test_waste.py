"""What a network wastes against the guidelines, from costs that can be checked by hand."""

import pytest

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.guidelines.waste import GUIDELINES, Waste, waste_by_block, waste_of
from nas_sv2.latency.kernels.node_costs import (
    ALIGNED,
    UNALIGNED,
    NodeCosts,
    Terms,
    pieces_of_graph,
)
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

NONE = Terms(0, 0, 0, 0, 0, 0, 0, 0)
DENSE = NONE._replace(launch=1, read=0.001, written=0.001, flops=0.0001)
"""µs for each term."""
COSTS = NodeCosts(
    {
        f"pointwise {ALIGNED}": DENSE,
        f"pointwise {UNALIGNED}": DENSE._replace(flops=0.0003),
        "pointwise on one pixel": NONE._replace(launch=1, weights=0.001),
        "grouped": DENSE._replace(read=0.002, written=0.002),
        f"depthwise 3x3 s1 {ALIGNED}": NONE._replace(launch=1, written=0.01),
        "average pool": NONE._replace(launch=1, read=0.001),
        "multiply": NONE._replace(launch=1, written=0.002),
        "relu": NONE._replace(launch=1, written=0.001),
        "split": NONE._replace(parts=0.5, read=0.001),
        "concat": NONE._replace(parts=0.5, written=0.001),
        "shuffle g2": NONE._replace(launch=1, written=0.004),
    }
)
SIDE = 28
AREA = SIDE * SIDE


def waste(*build: tuple[str, int, int, int]) -> Waste:
    """Convolutions in a row: block, channels, kernel, groups (0 for depthwise)."""
    builder = GraphBuilder()
    source = value = Value("input", build[0][1], SIDE, SIDE)
    for block, channels, kernel, groups in build[1:]:
        value = builder.conv(
            f"{block}.conv", value, channels, kernel, groups=groups or 1, depthwise=not groups
        )
    return waste_of(_pieces(source, value, builder), COSTS)


def _pieces(source: Value, value: Value, builder: GraphBuilder) -> list:  # type: ignore[type-arg]
    return pieces_of_graph(Graph(source, value, tuple(builder.ops)), "plain")


def test_the_ideal_wastes_only_its_launch() -> None:
    found = waste(("", 64, 0, 0), ("stage2.0", 64, 1, 1))
    assert found.us == pytest.approx(1 + 0.002 * 64 * AREA + 0.0001 * 64 * 64 * AREA)
    assert found.wasted_us == pytest.approx(dict.fromkeys(GUIDELINES, 0.0) | {"G3": 1.0})


def test_unequal_widths_waste_what_they_read_and_write_beyond_equal_ones() -> None:
    found = waste(("", 32, 0, 0), ("stage2.0", 128, 1, 1))  # as 64 to 64
    assert found.wasted_us["G1"] == pytest.approx(0.001 * AREA * (32 + 128 - 2 * 64))
    assert found.shares["G1"] == found.wasted_us["G1"] / found.us


def test_groups_waste_what_the_dense_one_of_the_same_flops_does_not() -> None:
    found = waste(("", 128, 0, 0), ("stage2.0", 128, 1, 4))  # as 64 to 64
    assert found.wasted_us["G2"] == pytest.approx(AREA * (0.002 * 256 - 0.001 * 128))
    assert found.wasted_us["G1"] == 0


def test_depthwise_convolutions_are_element_wise() -> None:
    found = waste(("", 64, 0, 0), ("stage2.0", 64, 3, 0))
    dense = 0.0001 * 9 * 64 * AREA + 0.002 * (9 * 64) ** 0.5 * AREA
    assert found.wasted_us["G4"] == pytest.approx(0.01 * 64 * AREA - dense)


def test_channels_that_fill_no_block_are_told_apart() -> None:
    odd, even = (
        waste(("", 62, 0, 0), ("stage2.0", 62, 1, 1)),
        waste(("", 64, 0, 0), ("stage2.0", 64, 1, 1)),
    )
    assert odd.wasted_us["multiples"] == pytest.approx(0.0002 * 62 * 62 * AREA)
    assert even.wasted_us["multiples"] == 0


def test_scaling_moving_and_activations_are_wasted_whole() -> None:
    build = GraphBuilder()
    source = Value("input", 64, SIDE, SIDE)
    keep, value = build.split("stage2.0.split", source, (32, 32))
    value = build.conv("stage2.0.conv", value, 32)
    gates = build.gate("stage2.0.gate", build.global_average_pool("stage2.0.pool", value), 32)
    value = build.activation(
        "stage2.0.relu", build.multiply("stage2.0.scale", value, gates), "relu"
    )
    value = build.shuffle("stage2.0.shuffle", build.concat("stage2.0.concat", keep, value))
    found = waste_of(_pieces(source, value, build), COSTS)
    numbers = 32 * AREA
    moved = 0.001 * 2 * numbers + 0.001 * 2 * numbers + 0.004 * 2 * numbers
    scaled = 0.001 * numbers + 0.001 * 32 * 32 + 0.002 * numbers + 0.001 * numbers
    assert found.wasted_us["G4"] == pytest.approx(moved + scaled)
    assert found.wasted_us["G3"] == pytest.approx(6 + 2 * 2 * 0.5)  # launches, and two parts each


def test_stem_and_classifier_are_nobodys_waste() -> None:
    build = GraphBuilder()
    source = Value("input", 32, SIDE, SIDE)
    value = build.conv("stem.0", source, 128)
    build.global_average_pool("head.pool", value)
    found = waste_of(_pieces(source, build.ops[-1].output, build), COSTS)
    assert found.us > 0
    assert found.total == 0


def test_blocks_add_up_to_the_network() -> None:
    build = GraphBuilder()
    source = value = Value("input", 32, SIDE, SIDE)
    for index, width in enumerate((128, 64, 62)):
        value = build.conv(f"stage2.{index}.conv", value, width)
    pieces = _pieces(source, value, build)
    whole, blocks = waste_of(pieces, COSTS), waste_by_block(pieces, COSTS)
    assert list(blocks) == ["stage2.0", "stage2.1", "stage2.2"]
    assert sum(block.us for block in blocks.values()) == pytest.approx(whole.us)
    assert sum(block.total * block.us for block in blocks.values()) == pytest.approx(
        whole.total * whole.us
    )


def test_an_operator_that_was_not_timed_is_named() -> None:
    graph = lower(reference("shufflenet_v2_x0_5"))
    with pytest.raises(MeasurementError, match=r"stem.0: no conv 3x3 s2 was timed"):
        waste_of(pieces_of_graph(graph, "plain"), COSTS)
    only_depthwise = NodeCosts(
        {name: terms for name, terms in COSTS.coefficients.items() if "pointwise" not in name}
    )
    build, source = GraphBuilder(), Value("input", 32, SIDE, SIDE)
    value = build.conv("stage2.0.conv", source, 32, 3, depthwise=True)
    with pytest.raises(MeasurementError, match="ideal"):
        waste_of(_pieces(source, value, build), only_depthwise)
