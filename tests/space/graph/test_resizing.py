"""A graph on another input has the shapes that building it there gives."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork
from nas_sv2.space.graph.operators import Value
from nas_sv2.space.graph.resizing import resized
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import REFERENCES, reference


@given(st.sampled_from(sorted(REFERENCES)), st.integers(64, 300), st.integers(1, 4))
def test_a_resized_reference_is_the_one_built_there(name: str, side: int, channels: int) -> None:
    network = reference(name)
    there = lower(replace(network, resolution=side, channels=channels))
    assert resized(lower(network), there.input) == there


@pytest.mark.parametrize("name", ["nasnet_a_mobile", "mobilenet_v2_x1_0", "shufflenet_v1_g3_x1_0"])
def test_a_resized_published_network_is_the_one_built_there(name: str) -> None:
    assert name in STRUCTURES
    there = PaperNetwork(name, 161).graph
    assert resized(PaperNetwork(name).graph, there.input) == there


def test_an_oblong_input_halves_each_side() -> None:
    graph = resized(lower(reference("shufflenet_v2_x0_5")), Value("input", 3, 96, 160))
    last = next(op for op in graph.ops if op.name == "head.conv")
    assert (last.output.height, last.output.width) == (3, 5)
    assert graph.output.area == 1


def test_a_map_without_a_pixel_is_refused() -> None:
    graph = PaperNetwork("nasnet_a_mobile").graph
    with pytest.raises(ConfigError, match="no pixel is left"):
        resized(graph, Value("input", 3, 2, 2))
