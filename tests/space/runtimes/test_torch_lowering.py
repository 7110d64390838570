"""What the torch lowering does itself, beside naming torch's layers."""

import pytest
import torch

from nas_sv2.space.runtimes.torch_lowering import shuffled

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
