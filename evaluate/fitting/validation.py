"""How many images a network names right, and how sure it is of them."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from nas_sv2.evaluate.data.image_data import Part
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.determinism import stream

BATCH = 250  # larger gains nothing on two cores and needs more memory


@dataclass(frozen=True, slots=True)
class Validation:
    """Top-1 `accuracy` (0 to 1) and mean cross-entropy `loss` (nats) on `images` images."""

    accuracy: float
    loss: float
    images: int


def some_of(part: Part, limit: int | None) -> Part:
    """All of `part`, or `limit` images of it: the same for every candidate and every seed."""
    if limit is None or limit >= len(part):
        return part
    index = torch.randperm(len(part), generator=stream(0, "validation"))[:limit].sort().values
    return Part(part.images[index], part.labels[index])


@torch.no_grad()
def validate(module: nn.Module, part: Part, normalise: Normalise, device: str) -> Validation:
    """Ask `module`, in evaluation mode and without augmentation, about every image of `part`."""
    module.eval()
    right, loss = 0, 0.0
    for start in range(0, len(part), BATCH):
        images = part.images[start : start + BATCH].to(device)
        labels = part.labels[start : start + BATCH].to(device)
        logits = module(normalise(images))
        right += int((logits.argmax(1) == labels).sum())
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
    return Validation(right / len(part), loss / len(part), len(part))
