from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import architectures

from nas_sv2.errors import Rejected
from nas_sv2.space.graph.guidelines import (
    SCORES,
    Guidelines,
    admit,
    g1_unequal_channels,
    g2_grouping,
    g4_elementwise,
    paper_guidelines,
)
from nas_sv2.space.graph.operators import Conv, Graph, GraphBuilder, Op, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

FORMS = ["", "star_", "se_", "residual_"]


def chain(*widths: int, groups: int = 1) -> Graph:
    """1×1 convolutions on a 56×56 map, as the paper's benchmarks have."""
    build = GraphBuilder()
    value = image = Value("input", widths[0], 56, 56)
    for index, width in enumerate(widths[1:]):
        value = build.conv(f"conv{index}", value, width)
    grouped = tuple(replace(op, kind=Conv(1, groups=groups)) for op in build.ops)
    return Graph(image, value, grouped)


@pytest.mark.parametrize("scale", ["x0_5", "x1_0", "x1_5", "x2_0"])
def test_the_papers_networks_pass_at_their_level(scale: str) -> None:
    family = [lower(reference(f"shufflenet_v2_{form}{scale}")) for form in FORMS]
    guidelines = paper_guidelines(family)
    for graph in family:
        assert max(guidelines.excesses(graph).values()) <= 0
        admit(guidelines.excesses(graph))


def test_g1_is_zero_at_equal_widths_and_grows_with_the_ratio_of_table_1() -> None:
    ratios = [(128, 128), (90, 180), (52, 312), (36, 432)]
    scores = [g1_unequal_channels(chain(c1, c2, c1)) for c1, c2 in ratios]
    assert scores[0] == pytest.approx(0, abs=1e-12)
    assert scores == sorted(scores)


def test_g2_grows_with_the_groups_of_table_2() -> None:
    scores = [g2_grouping(chain(c, c, groups=g)) for g, c in [(1, 128), (2, 180), (4, 256)]]
    assert scores[0] == 0
    assert scores == sorted(set(scores))


def test_g4_sees_every_option_that_touches_elements() -> None:
    plain = g4_elementwise(lower(reference("shufflenet_v2_x1_0")))
    for form in FORMS[1:]:
        assert g4_elementwise(lower(reference(f"shufflenet_v2_{form}x1_0"))) > plain


@given(architectures())
def test_scores_are_never_below_the_ideal(architecture: Architecture) -> None:
    graph = lower(architecture)
    assert all(score(graph) >= -1e-9 for score in SCORES.values())
    assert SCORES["G4"](graph) < 1


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda ops: ops[:1], None),
        (lambda ops: chain(8, 800).ops, "G1"),
        (lambda ops: chain(64, 64, groups=16).ops, "G2"),
    ],
)
def test_what_is_outside_is_rejected_with_its_excess(
    change: Callable[[tuple[Op, ...]], tuple[Op, ...]], broken: str | None
) -> None:
    ideal = chain(64, 64)
    guidelines = paper_guidelines([lower(reference("shufflenet_v2_x1_0"))])
    graph = replace(ideal, ops=change(ideal.ops))
    if broken is None:
        admit(guidelines.excesses(graph))
        return
    with pytest.raises(Rejected) as caught:
        admit(guidelines.excesses(graph))
    assert caught.value.constraint == broken
    assert caught.value.excess == guidelines.excesses(graph)[broken] > 0


@given(st.floats(0.01, 10), st.floats(0.01, 10))
def test_the_excess_is_a_share_of_the_limit(low: float, high: float) -> None:
    graph = lower(reference("shufflenet_v2_x0_5"))
    score = SCORES["G3"](graph)
    for limit in (low, high):
        assert Guidelines({"G3": limit}).excesses(graph)["G3"] == pytest.approx(score / limit - 1)


def test_no_limits_admit_everything() -> None:
    admit(Guidelines({}).excesses(chain(8, 800)))
