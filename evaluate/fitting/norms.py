"""The statistics of batch norms, taken with the weights as they are at the end."""

import torch
from torch import nn

from nas_sv2.evaluate.fitting.batches import Batches


@torch.no_grad()
def settle(module: nn.Module, batches: Batches, images: int, generator: torch.Generator) -> None:
    """Replace running means and variances by plain averages over some `images` of one pass.

    The weights stay. With `images` 0, or without a batch norm, nothing happens.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms or not images:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages all batches alike
    module.train()
    seen = 0
    for inputs, labels in batches.one_pass(generator):
        module(inputs)
        seen += len(labels)
        if seen >= images:
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
