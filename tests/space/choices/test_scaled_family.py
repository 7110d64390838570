"""V2 at several widths around a network: even steps of FLOPs, from 1 / 2.5 to 2.5 times."""

from dataclasses import replace
from itertools import pairwise

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.space.choices.scaled_family import REACH, nearest_scaled, scaled_family
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import in_form_of, reference

V2 = reference("shufflenet_v2_x1_0")
SMALL = replace(V2, resolution=32, classes=10, stem_pool=False)


def flops_of(network: Architecture) -> float:
    return cost_of(lower(network)).flops


def test_a_family_surrounds_the_finalists_in_even_steps() -> None:
    names = scaled_family(SMALL, 5e6, 8e6, 5)
    flops = [flops_of(in_form_of(SMALL, reference(name))) for name in names]
    assert len(flops) == 5
    assert flops[0] == pytest.approx(5e6 / REACH, rel=0.06)  # a hundredth of a width is 4 %
    assert flops[-1] == pytest.approx(8e6 * REACH, rel=0.06)
    steps = [after / before for before, after in pairwise(flops)]
    assert steps == pytest.approx([(REACH**2 * 8 / 5) ** 0.25] * 4, rel=0.1)


def test_widths_that_take_part_anyway_take_the_place_of_near_ones() -> None:
    def family(*present: str) -> list[str]:
        names = scaled_family(SMALL, 5e6, 8e6, 5, [f"shufflenet_v2_x{width}" for width in present])
        return [name.removeprefix("shufflenet_v2_x") for name in names]

    assert family() == ["0_42", "0_57", "0_75", "1_0", "1_37"]
    assert family("0_7", "2_0") == ["0_42", "0_57", "0_7", "1_0", "1_37"]  # 2× is beyond all
    assert family("0_7", "0_85") == ["0_42", "0_57", "0_7", "1_0", "1_37"]  # 0.7× is nearer
    assert family("0_66") == ["0_42", "0_57", "0_66", "1_0", "1_37"]
    assert family("0_65") == ["0_42", "0_65", "0_75", "1_0", "1_37"]


def test_the_nearest_width_of_a_network_is_its_own() -> None:
    assert nearest_scaled(V2, flops_of(V2)) == "shufflenet_v2_x1_0"
    assert nearest_scaled(V2, flops_of(reference("shufflenet_v2_x0_73"))) == "shufflenet_v2_x0_73"
    assert nearest_scaled(V2, 1) == "shufflenet_v2_x0_1"
    assert nearest_scaled(V2, 1e12) == "shufflenet_v2_x4_0"


def test_a_network_beyond_all_widths_has_no_family() -> None:
    with pytest.raises(ConfigError, match="family must be 0 here: ShuffleNet V2 has 1 widths"):
        scaled_family(V2, 1e3, 1e3, 5)
