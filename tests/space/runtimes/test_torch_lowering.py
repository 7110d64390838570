"""What the torch lowering does itself, beside naming torch's layers."""

import copy

import pytest
import torch

from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import Convolution, build_module, shuffled
from nas_sv2.space.units.architecture import Architecture, Stage

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("side", [1, 5])
def test_shuffles_as_torch_does_there_and_back(
    groups: int, form: torch.memory_format, side: int
) -> None:
    drawn = torch.Generator().manual_seed(0)
    value = torch.randn(2, 12, side, side, generator=drawn).contiguous(memory_format=form)
    outcome = torch.randn(2, 12, side, side, generator=drawn)
    given = [value.clone().requires_grad_() for _ in range(2)]

    ours, torchs = shuffled(given[0], groups), torch.channel_shuffle(given[1], groups)
    torch.autograd.backward([ours, torchs], [outcome, outcome])

    assert torch.equal(ours, torchs)
    assert ours.is_contiguous(memory_format=form)
    assert given[0].grad is not None and given[1].grad is not None
    assert torch.equal(given[0].grad, given[1].grad)


def test_a_shuffle_of_a_part_is_torchs() -> None:
    value = torch.randn(2, 12, 4, 4).contiguous(memory_format=torch.channels_last)[:, 3:9]
    assert torch.equal(shuffled(value, 2), torch.channel_shuffle(value, 2))


@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_gives_the_same_however_its_input_lies_in_memory(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    layer = Convolution(6, 4, 1, bias=bias)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    for layout in (torch.contiguous_format, torch.channels_last):
        whole = torch.randn(3, 12, 5, 5, generator=generator.manual_seed(1))
        value = whole.to(memory_format=layout).requires_grad_()
        part = value[:, 6:]  # a unit's main branch begins so
        out = layer(part)
        layer.zero_grad()
        out.square().sum().backward()
        assert value.grad is not None and layer.weight.grad is not None
        found.append((out.detach(), value.grad, layer.weight.grad.clone()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_copy_of_a_network_shares_nothing_with_it() -> None:
    """An average of weights is such a copy, and validated while the network learns."""
    stages = (Stage(1, 16),)
    network = Architecture((8,), stages, head=32, resolution=32, stem_pool=False, classes=5)
    module = build_module(lower(network)).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    copied = copy.deepcopy(module)
    before = copied(images)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert torch.equal(copied(images), before)
