"""Counts of the paper's networks; sources in the paper's tables 5, 6 and 8."""

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import REFERENCES, reference, reference_name

PARAMS_AND_MFLOPS = {
    "shufflenet_v2_x0_5": (1_366_792, 40.48),
    "shufflenet_v2_x1_0": (2_279_760, 145.81),
    "shufflenet_v2_x1_5": (3_507_720, 298.97),
    "shufflenet_v2_x2_0": (7_403_600, 590.78),
    "torchvision_shufflenet_v2_x0_5": (1_366_792, 40.48),
    "torchvision_shufflenet_v2_x1_0": (2_278_604, 144.91),
    "torchvision_shufflenet_v2_x1_5": (3_503_624, 295.76),
    "torchvision_shufflenet_v2_x2_0": (7_393_996, 583.25),
    "shufflenet_v2_star_x0_5": (1_376_296, 42.89),
    "shufflenet_v2_star_x1_0": (2_302_354, 150.69),
    "shufflenet_v2_star_x1_5": (3_541_864, 306.01),
    "shufflenet_v2_star_x2_0": (7_450_834, 600.28),
    "shufflenet_v2_se_x2_0": (10_413_194, 593.78),
    "shufflenet_v2_50": (16_576_898, 2314.7),
    "se_shufflenet_v2_164": (133_116_062, 12604.25),
}


@pytest.mark.parametrize("name", PARAMS_AND_MFLOPS)
def test_counts_are_exact(name: str) -> None:
    params, mflops = PARAMS_AND_MFLOPS[name]
    cost = cost_of(lower(reference(name)))
    assert cost.params == params
    assert cost.flops / 1e6 == pytest.approx(mflops, abs=0.005 if mflops < 2000 else 0.05)


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_is_found_back_by_its_value(name: str) -> None:
    assert reference(reference_name(REFERENCES[name]) or "") == REFERENCES[name]


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(ConfigError, match="shufflenet_v2_x1_0"):
        reference("shufflenet_v2_1_0")
