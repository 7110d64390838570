"""Shared weights: every network runs on slices of them, and on nothing else."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import SMALL, Drawn, spaces

from nas_sv2.evaluate.supernet.supernet import Supernet, shared_shapes, slices_of
from nas_sv2.space.choices.extremes import largest, smallest, widest_networks
from nas_sv2.space.choices.suggesters import RandomSuggester, Replay
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.weights import weight_shapes
from nas_sv2.space.units.architecture import Architecture

IMAGES = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(3))


def supernet() -> Supernet:
    """With weights far from their start, where some are zero."""
    made = Supernet(SMALL, lambda architecture: architecture, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return made


def network(seed: int) -> Architecture:
    return SMALL.sample(RandomSuggester(random.Random(seed)))


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_every_network_of_every_space_is_within_its_supernet(data: st.DataObject) -> None:
    space = data.draw(spaces())
    shapes = shared_shapes(lower(one) for one in widest_networks(space))
    for _ in range(3):
        network = space.sample(Drawn(data.draw))
        assert space.sample(Replay(space.params_of(network))) == network  # so it can be asked
        graph = lower(network)
        found = {name: one.index for name, one in slices_of(graph, shapes).items()}
        for name, shape in weight_shapes(graph).items():
            if not name.endswith(("running_mean", "running_var")):
                assert tuple(part.stop - part.start for part in found[name]) == shape


@settings(deadline=None, max_examples=8)
@given(st.data())
def test_on_slices_or_on_a_copy_of_them_a_network_says_the_same(data: st.DataObject) -> None:
    shared, one = supernet(), SMALL.sample(Drawn(data.draw))
    with torch.no_grad():
        copy = shared.extract(one).train()
        torch.testing.assert_close(shared.train()(IMAGES, one), copy(IMAGES), rtol=1e-4, atol=1e-4)
    assert {name: tuple(weight.shape) for name, weight in copy.state_dict().items()} == {
        **weight_shapes(lower(one)),
        **{name: () for name in copy.state_dict() if name.endswith("num_batches_tracked")},
    }


@pytest.mark.parametrize("seed", range(4))
def test_a_gradient_reaches_the_slices_of_its_network_and_nothing_else(seed: int) -> None:
    shared, one = supernet(), network(seed)
    shared.train()(IMAGES, one).square().sum().backward()
    used = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in shared.shapes.items()}
    for part in slices_of(lower(one), shared.shapes).values():
        used[part.shared][part.index] = True
    reached = 0
    learnt = {name.rpartition(".")[2]: weight for name, weight in shared.named_parameters()}
    for name in shared.shapes:
        weight = learnt[name.replace(".", "/")]
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        assert not gradient[~used[name]].any(), name
        reached += bool(gradient[used[name]].any())
    assert reached > 0.9 * sum(bool(mask.any()) for mask in used.values())


def test_what_is_asked_between_changes_nothing() -> None:
    shared, one = supernet().train(), network(5)
    with torch.no_grad():
        before = shared(IMAGES, one)
        for seed in range(30):  # more than are cached
            shared(IMAGES, network(seed))
        assert torch.equal(shared(IMAGES, one), before)


def test_the_share_that_is_convolved_is_sliced_from_the_end() -> None:
    """A smaller share then convolves channels that a larger one convolves too."""
    shapes = supernet().shapes
    wide = largest(SMALL)
    slices = slices_of(lower(wide), shapes)
    expand = slices["stage2.1.main.expand.conv.weight"]
    assert expand.shared == "stage2.1.residual.expand.conv.weight"  # the largest has residuals
    assert [part.stop for part in expand.index[:2]] == list(shapes[expand.shared][:2])
    narrow = slices_of(lower(smallest(SMALL)), shapes)["stage2.0.main.depthwise.conv.weight"]
    kernel = shapes[narrow.shared][2]
    assert (kernel, narrow.index[2], narrow.index[3]) == (5, slice(1, 4), slice(1, 4))


def test_only_a_branch_that_is_added_starts_at_zero() -> None:
    fresh = Supernet(SMALL, lambda one: one, torch.Generator().manual_seed(0)).weights()
    zero = {
        name for name, weight in fresh.items() if name.endswith("norm.weight") and not weight.any()
    }
    assert zero == {f"stage2.{unit}.residual.project.norm.weight" for unit in (1, 2)}
