"""Each variant is the network but for the one thing that its name says."""

import dataclasses
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from strategies import architectures

from nas_sv2.space.choices.variants import Counterfactual, counterfactuals
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.graph.guidelines import SCORES, blocks_of, scores_by_block
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.reference import REFERENCES, reference

FIELDS: dict[str, tuple[str, Any]] = {
    "SE off": ("se", False),
    "residual off": ("residual", False),
    "wide field off": ("wide_field", False),
    "kernel 3": ("kernel", 3),
    "split 1/2": ("split", Fraction(1, 2)),
}


def check(original: Architecture, variant: Counterfactual) -> None:
    """Differs in one field of one stage, the one that its name says."""
    match = re.fullmatch(r"(.*?) in stage (\d)", variant.name)
    assert match is not None
    number = int(match[2]) - 2
    was, now = original.stages[number], variant.architecture.stages[number]
    value: Any
    if match[1] in FIELDS:
        field, value = FIELDS[match[1]]
    elif match[1] == "one unit less":
        field, value = "depth", was.depth - 1
    else:
        width = re.fullmatch(rf"width (\d+) for {was.width}, a multiple of 16,", match[1])
        assert width is not None, variant.name
        field, value = "width", int(width[1])
        assert value % 16 == 0
        assert abs(value - was.width) < 16
    assert getattr(was, field) != value
    assert now == dataclasses.replace(was, **{field: value})
    stages = tuple(now if i == number else stage for i, stage in enumerate(original.stages))
    assert variant.architecture == dataclasses.replace(original, stages=stages)


@settings(max_examples=60, deadline=None)
@given(architectures())
def test_a_variant_differs_in_what_it_says_and_in_nothing_else(original: Architecture) -> None:
    before, ops = dataclasses.replace(original), lower(original).ops
    variants = counterfactuals(original)
    for variant in variants:
        check(original, variant)
        assert lower(variant.architecture).ops != ops
        assert variant.cost == cost_of(lower(variant.architecture))
        assert variant.flops_change == variant.cost.flops - cost_of(lower(original)).flops
    names = [variant.name for variant in variants]
    digests = {variant.architecture.digest for variant in variants}
    assert len(set(names)) == len(names) == len(digests)
    assert [v.promise for v in variants] == sorted((v.promise for v in variants), reverse=True)
    assert original == before


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "se_shufflenet_v2_164"])
def test_what_is_asked_of_the_papers_networks(name: str) -> None:
    names = {variant.name for variant in counterfactuals(reference(name))}
    common = {f"one unit less in stage {number}" for number in (2, 3, 4)}
    if name == "shufflenet_v2_x1_0":
        widths = {"width 112 for 116, a multiple of 16, in stage 2"}
        assert names == common | widths | {"width 224 for 232, a multiple of 16, in stage 3"}
    else:
        options = {f"{what} off in stage {n}" for what in ("SE", "residual") for n in (2, 3, 4, 5)}
        assert names > common | options


def test_a_width_that_its_neighbours_forbid_is_passed_over() -> None:
    # 20 → 16 would be no more than the 16 channels of the stem, so 32; then stage 3 has to be
    # wider than that and 34 → 32 is not, so 48.
    network = Architecture((16,), (Stage(1, 20), Stage(1, 34)), 16, resolution=32)
    names = [variant.name for variant in counterfactuals(network)]
    assert "width 32 for 20, a multiple of 16, in stage 2" in names
    assert "width 32 for 34, a multiple of 16, in stage 3" in names
    tight = Architecture((16,), (Stage(1, 20), Stage(1, 30)), 16, resolution=32)
    names = [variant.name for variant in counterfactuals(tight)]
    assert not any("stage 2" in name for name in names)


def test_an_option_without_effect_is_no_variant() -> None:
    single = Architecture((8,), (Stage(1, 16, residual=True),), 16, resolution=32)
    assert counterfactuals(single) == []


@pytest.mark.parametrize("name", ["shufflenet_v2_star_x0_5", "shufflenet_v2_se_x1_0"])
def test_blocks_add_up_to_the_network(name: str) -> None:
    graph = lower(REFERENCES[name])
    blocks = blocks_of(graph)
    assert sum(map(cost_of, blocks.values()), Cost()) == cost_of(graph)
    scores = scores_by_block(graph)
    assert list(scores) == list(blocks)
    assert all(row.keys() == SCORES.keys() for row in scores.values())
    unequal, equal = scores["head"]["G1"], scores["stage3.1"]["G1"]
    assert unequal is not None
    assert equal is not None
    assert unequal > equal
