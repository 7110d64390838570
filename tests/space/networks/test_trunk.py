"""The trunk of a classifier: cut before the head, on images of any size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.resolution import height_and_width
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower, lower_at
from nas_sv2.space.networks.trunk import trunk_of
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.units.reference import reference

NAMES = ("shufflenet_v2_star_x0_5", "shufflenet_v1_g3_x0_5", "mobilenet_v2_x0_15")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10)
@given(height=st.integers(32, 400), width=st.integers(32, 400))
def test_the_maps_have_strides_16_and_32_at_any_size(name: str, height: int, width: int) -> None:
    trunk = trunk_of(published_network(name), height, width)
    assert (trunk.height, trunk.width) == (height, width)
    assert (trunk.middle_stride, trunk.stride) == (16, 32)
    for value, stride in ((trunk.body.output, 16), (trunk.tail.output, 32)):
        assert (value.height, value.width) == (-(-height // stride), -(-width // stride))
    assert trunk.tail.input == trunk.body.output


@pytest.mark.parametrize("name", NAMES)
def test_a_trunk_and_a_head_are_the_classifier(name: str) -> None:
    network = published_network(name)
    graph = lower(network)
    size = height_and_width(network.resolution)
    assert lower_at(network, *size) == graph
    trunk = trunk_of(network, *size)
    assert graph.ops[: len(trunk.graph.ops)] == trunk.graph.ops
    head = graph.ops[len(trunk.graph.ops) :]
    assert head and all(op.block == "head" for op in head)
    assert cost_of(trunk.graph).flops < cost_of(graph).flops


def test_the_shapes_are_those_of_torch() -> None:
    trunk = trunk_of(published_network("shufflenet_v1_g3_x0_5"), 70, 130)
    with torch.no_grad():
        middle = build_module(trunk.body)(torch.rand(1, 3, 70, 130))
        last = build_module(trunk.tail)(middle)
    for found, value in ((middle, trunk.body.output), (last, trunk.tail.output)):
        assert np.array_equal(found.shape, (1, value.channels, value.height, value.width))


def test_what_has_no_trunk_is_refused() -> None:
    v2 = reference("shufflenet_v2_x0_5")
    with pytest.raises(ConfigError, match=r"two stages or more; got 1"):
        trunk_of(replace(v2, stages=v2.stages[:1]), 64, 64)
    with pytest.raises(ConfigError, match=r"only the map of the stage before; got 'stage4'"):
        trunk_of(published_network("nasnet_a_mobile"), 64, 64)
    with pytest.raises(ConfigError, match=r"total stride, 32; got '31x90'"):
        trunk_of(v2, 31, 90)
