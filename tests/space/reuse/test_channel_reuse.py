"""Channels followed by name, against counts by hand and against the network run with one-hot maps.

The second takes the torch lowering of what lies between two blocks with all weights zero, so that
only what is moved comes through.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import architectures

from nas_sv2.errors import ConfigError
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Op, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.reuse.channel_reuse import (
    Reuse,
    as_trained,
    channel_reuse,
    follow_channels,
    reused_weights,
)
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture, Stage, scale_width
from nas_sv2.space.units.reference import reference

STAGES = ("stage2.0", "stage2.1", "stage2.2", "stage2.3")


def network(split: str, depth: int = 4, width: int = 16, **options: bool) -> Architecture:
    stage = Stage(depth, width, Fraction(split), **options)
    return Architecture((6,), (stage, replace(stage, width=2 * width)), 8, resolution=32)


def share(reuse: Reuse, name: str, source: str, target: str) -> float:
    matrix = getattr(reuse, name)
    return float(matrix[reuse.blocks.index(source)][reuse.blocks.index(target)])


def test_eight_channels_by_hand() -> None:
    # stage2.0 puts out 0…7. Unit 1 passes 0123 and convolves 4567 to a b c d; its shuffle of
    # [0123 abcd] gives 0a1b 2c3d. Unit 2 passes 0a1b and convolves 2c3d.
    reuse = channel_reuse(lower(network("1/2", depth=3, width=8)))
    assert len(reuse.put_out[1]) == 8
    assert share(reuse, "passed", "stage2.0", "stage2.1") == 4 / 8
    assert share(reuse, "passed", "stage2.0", "stage2.2") == 2 / 8
    assert share(reuse, "passed", "stage2.1", "stage2.2") == 4 / 8
    assert share(reuse, "read", "stage2.0", "stage2.1") == 4 / 8
    assert share(reuse, "read", "stage2.0", "stage2.2") == 2 / 8
    assert share(reuse, "read", "stage2.1", "stage2.2") == 2 / 4
    assert share(reuse, "read", "stem", "stage2.0") == 1


def test_a_quarter_convolved_is_not_mixed_evenly() -> None:
    # Of 8 channels unit 1 passes 0…5 and makes a b from 67; its shuffle of [0123 45ab] gives
    # 0415 2a3b. Unit 2 passes 0415 2a: five of stage2.0's eight, where r² would be 4.5.
    reuse = channel_reuse(lower(network("1/4", depth=3, width=8)))
    assert share(reuse, "passed", "stage2.0", "stage2.2") == 5 / 8
    assert share(reuse, "even_passed", "stage2.0", "stage2.2") == pytest.approx((3 / 4) ** 2)
    assert share(reuse, "read", "stage2.1", "stage2.2") == 1 / 2
    assert share(reuse, "even_read", "stage2.1", "stage2.2") == 1 / 4


@pytest.mark.parametrize("split", ["1/4", "3/8", "1/2", "3/4"])
@pytest.mark.parametrize("options", [{}, {"residual": True}, {"se": True, "wide_field": True}])
def test_the_even_mix_is_the_papers_formula(split: str, options: dict[str, bool]) -> None:
    found = channel_reuse(lower(network(split, **options)))
    r = 1 - Fraction(split)
    for i, source in enumerate(STAGES):
        for j, target in enumerate(STAGES[i:], i):
            even = share(found, "even_passed", source, target)
            assert even == pytest.approx(float(r ** (j - i)))
            if i < j:
                even = share(found, "even_read", source, target)
                assert even == pytest.approx(float(r ** (j - i - 1) * (1 - r)))


def test_half_halves_each_hop_and_a_shrinking_unit_ends_it() -> None:
    reuse = channel_reuse(lower(reference("shufflenet_v2_x2_0")))
    stage3 = [index for index, block in enumerate(reuse.blocks) if block.startswith("stage3")]
    for distance in range(1, 8):
        exact = [reuse.passed[i][i + distance] for i in stage3[:-distance]]
        assert np.mean(exact) == pytest.approx(0.5**distance, abs=0.005)
    for source in stage3:
        assert not any(reuse.passed[source][stage3[-1] + 1 :])
        received = sum(reuse.read[source][source + 1 :])
        assert received == pytest.approx(1)  # every channel is convolved once, somewhere


@pytest.mark.parametrize("name", ["mobilenet_v1_x0_5", "mobilenet_v2_x1_0", "resnet50"])
def test_networks_without_passing_reuse_nothing(name: str) -> None:
    assert not channel_reuse(lower(published_network(name))).reuses


def test_a_pool_beside_the_branch_passes_in_shufflenet_v1() -> None:
    reuse = channel_reuse(lower(published_network("shufflenet_v1_g3_x1_0")))
    assert share(reuse, "passed", "stage2.3", "stage3.0") == 1
    assert share(reuse, "passed", "stage3.0", "stage3.1") == 0


def test_dense_concatenation_passes_all_to_all() -> None:
    build = GraphBuilder()
    image = value = Value("input", 3, 8, 8)
    for layer in range(4):
        made = build.conv(f"stage2.{layer}.conv", build.norm(f"stage2.{layer}.norm", value), 5, 3)
        value = build.concat(f"stage2.{layer}.concat", value, made)
    build.conv("head.conv", value, 7)
    reuse = channel_reuse(Graph(image, build.ops[-1].output, tuple(build.ops)))
    assert [len(own) for own in reuse.own] == [5, 5, 5, 5, 7]
    for i in range(4):
        assert reuse.passed[i][i:4] == (1,) * (4 - i)
        assert reuse.read[i][i + 1 :] == (1,) * (4 - i)


def between(graph: Graph, source: Value, target: Value) -> Graph:
    """The operators that lead from one value to another."""
    needed, ops = {target.name}, list[Op]()
    for op in reversed(graph.ops):
        if needed & {value.name for value in op.outputs} and op.output.name != source.name:
            ops.append(op)
            needed |= {value.name for value in op.inputs}
    return Graph(source, target, tuple(ops[::-1]))


def came_through(graph: Graph) -> dict[int, int]:
    """Place in the output and place in the input, through the network with all weights zero."""
    module = build_module(graph).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        channels, height, width = graph.input.channels, graph.input.height, graph.input.width
        images = torch.eye(channels)[:, :, None, None].expand(-1, -1, height, width)
        places = module(images).amax((2, 3)).nonzero()  # of an image and of an output channel
    return {int(output): int(image) for image, output in places}


def unit_outputs(graph: Graph) -> Iterator[tuple[str, Value]]:
    for op in graph.ops:
        if op.name.endswith(".shuffle"):
            yield op.block, op.output


@settings(max_examples=25, deadline=None)
@given(architectures(), st.data())
def test_the_network_itself_lets_the_same_channels_through(
    architecture: Architecture, data: st.DataObject
) -> None:
    # A sum ends a channel for us, but a zero branch would let what it is added to come through.
    plain = replace(
        architecture, stages=tuple(replace(stage, residual=False) for stage in architecture.stages)
    )
    assume(len(list(unit_outputs(lower(plain)))) > 1)
    graph, reuse = lower(plain), channel_reuse(lower(architecture))
    held = follow_channels(graph).held
    outputs = dict(unit_outputs(graph))
    source, target = sorted(
        data.draw(st.lists(st.sampled_from(list(outputs)), min_size=2, max_size=2, unique=True)),
        key=reuse.blocks.index,
    )
    leaves, arrives = held[outputs[source].name], held[outputs[target].name]
    through = came_through(between(graph, outputs[source], outputs[target]))
    place = {channel: index for index, channel in enumerate(leaves)}
    assert through == {q: place[channel] for q, channel in enumerate(arrives) if channel in place}
    assert share(reuse, "passed", source, target) == len(through) / len(leaves)
    if not target.endswith(".0"):
        # What reaches the convolved part: of this block's own and of those that it passed.
        split = next(op for op in graph.ops if op.name == f"{target}.split")
        i, j = map(reuse.blocks.index, (source, target))
        really = came_through(between(graph, outputs[source], split.outputs[1]))
        assert len(really) == len(reuse.put_out[i] & reuse.convolved[j])


def test_weights_are_averaged_by_the_block_their_channels_come_from() -> None:
    graph = lower(network("1/2", depth=3, width=8))
    weights = random_weights(graph, seed=1)
    expand = weights["stage2.2.main.expand.conv.weight"]  # (4, 4, 1, 1), reads 2 c 3 d
    expand[:] = np.array([1, -2, 3, -4], np.float32)[None, :, None, None]
    found = reused_weights(graph, weights)
    blocks = channel_reuse(graph).blocks
    target = blocks.index("stage2.2")
    assert found.mean[blocks.index("stage2.0")][target] == pytest.approx(2)  # |1|, |3|
    assert found.mean[blocks.index("stage2.1")][target] == pytest.approx(3)  # |-2|, |-4|
    assert found.mean[blocks.index("stem")][target] is None
    assert found.overall[target] == pytest.approx(2.5)
    assert found.relative[blocks.index("stage2.1")][target] == pytest.approx(3 / 2.5)


def test_both_branches_of_a_shrinking_unit_and_groups_are_weighed() -> None:
    graph = lower(network("1/2", depth=1, width=8))
    weights = random_weights(graph, seed=1)
    weights["stage3.0.shortcut.project.conv.weight"][:] = 1  # 8 × 8, behind a depthwise
    weights["stage3.0.main.expand.conv.weight"][:] = -4  # 8 × 8
    blocks = channel_reuse(graph).blocks
    value = reused_weights(graph, weights).mean[blocks.index("stage2.0")][blocks.index("stage3.0")]
    assert value == pytest.approx(2.5)

    build = GraphBuilder()
    image = Value("input", 3, 4, 4)
    made = build.conv("stage2.0.conv", image, 2), build.conv("stage2.1.conv", image, 2)
    joined = build.concat("stage2.2.concat", *made)
    last = build.conv("stage2.2.conv", joined, 4, groups=2)
    grouped = Graph(image, last, tuple(build.ops))
    weights = random_weights(grouped, seed=0)
    weights["stage2.2.conv.conv.weight"][:2], weights["stage2.2.conv.conv.weight"][2:] = 5, 7
    mean = reused_weights(grouped, weights).mean
    assert mean[0][2] == pytest.approx(5)
    assert mean[1][2] == pytest.approx(7)


def test_weights_of_another_input_and_classes_fit_and_others_do_not() -> None:
    asked = network("1/2")
    trained = replace(asked, channels=1, classes=10, resolution=28, stem_pool=False)
    weights = random_weights(lower(trained), seed=0)
    fitted = as_trained(asked, weights)
    assert (fitted.channels, fitted.classes) == (1, 10)
    with pytest.raises(ConfigError, match=r"missing: stage2\.0\.main\.se\.expand"):
        as_trained(network("1/2", se=True), weights)
    with pytest.raises(ConfigError, match="unknown: stage2"):
        as_trained(network("1/2", depth=3), weights)
    with pytest.raises(ConfigError, match="shape"):
        as_trained(network("1/4"), weights)


def test_weights_of_a_network_that_was_trained_narrower_fit() -> None:
    whole = reference("shufflenet_v2_x0_5")
    narrow = scale_width(whole, 0.5)
    weights = random_weights(lower(narrow), 0)
    assert as_trained(whole, weights, 0.5) == narrow
    with pytest.raises(ConfigError, match="must have shape"):
        as_trained(whole, weights)
