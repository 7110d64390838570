"""Counts of the paper's networks; sources in the paper's tables 5, 6 and 8."""

from dataclasses import replace

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import in_form_of, reference

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


@pytest.mark.parametrize(
    ("name", "stem", "widths", "head"),
    [
        ("shufflenet_v2_x0_25", 12, (24, 48, 96), 512),  # half of 0.5×
        ("shufflenet_v2_x0_75", 24, (82, 164, 328), 1024),  # halfway from 0.5× to 1×
        ("shufflenet_v2_x1_75", 24, (210, 420, 840), 1536),
        ("shufflenet_v2_x3_0", 36, (366, 732, 1464), 3072),  # 1.5 times 2×
        ("shufflenet_v2_x1_00", 24, (116, 232, 464), 1024),
    ],
)
def test_v2_has_every_width(name: str, stem: int, widths: tuple[int, ...], head: int) -> None:
    network = reference(name)
    assert network.stem == (stem,)
    assert tuple(stage.width for stage in network.stages) == widths
    assert network.head == head
    assert published_network(name) == network


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_05", "shufflenet_v2_x4_1"])
def test_a_width_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"width must be from 0\.1 to 4; got"):
        reference(name)


def test_a_network_takes_the_form_of_another() -> None:
    plain = reference("shufflenet_v2_x1_0")
    stages = tuple(replace(stage, stride=1) for stage in plain.stages)
    small = replace(plain, stages=stages, resolution=32, classes=10, stem_pool=False)
    formed = in_form_of(small, reference("shufflenet_v2_se_x0_5"))
    assert (formed.resolution, formed.classes, formed.total_stride) == (32, 10, 2)
    assert [stage.width for stage in formed.stages] == [48, 96, 192]
    # One with four stages keeps its strides, stem aside.
    assert in_form_of(small, reference("shufflenet_v2_50")).total_stride == 16


@pytest.mark.parametrize(
    "name",
    ["shufflenet_v2_1_0", "shufflenet_v2_1.0x", "shufflenet_v2_x1.0", "ShuffleNet_V2_x1_0x"],
)
def test_an_unknown_name_suggests_the_closest(name: str) -> None:
    with pytest.raises(ConfigError, match="such as shufflenet_v2_x1_0,"):
        reference(name)
