"""The accuracy of a network, and its cross-entropy."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from nas_sv2.evaluate.data.image_data import Part
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.batches import Batches

BATCH = 250  # larger gains nothing on two cores and needs more memory


@dataclass(frozen=True, slots=True)
class Validation:
    """Top-1 `accuracy` (0 to 1) and mean cross-entropy `loss` (nats) on `images` images."""

    accuracy: float
    loss: float
    images: int


@torch.no_grad()
def validate(module: nn.Module, part: Part, normalise: Normalise, device: str) -> Validation:
    """Validate `module` on all of `part`, in evaluation mode and without augmentation."""
    module.eval()
    right, loss = 0, 0.0
    for start in range(0, len(part), BATCH):
        images = part.images[start : start + BATCH].to(device)
        labels = part.labels[start : start + BATCH].to(device)
        logits = module(normalise(images))
        right += int((logits.argmax(1) == labels).sum())
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
    return Validation(right / len(part), loss / len(part), len(part))


def refresh_norms(
    module: nn.Module, batches: Batches, images: int, generator: torch.Generator
) -> None:
    """Replace running means and variances by plain averages over `images` images of a pass.

    The weights stay. With `images` 0, or without a batch norm, nothing happens.
    """
    if images:
        update_bn(_inputs(batches, images, generator), module)


def _inputs(batches: Batches, images: int, generator: torch.Generator) -> Iterator[Tensor]:
    seen = 0
    for inputs, labels in batches.one_pass(generator):
        yield inputs
        seen += len(labels)
        if seen >= images:
            return
