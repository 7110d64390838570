"""Whole tensors of images to another side."""

import torch
from torch import Tensor
from torch.nn import functional

from nas_sv2.evaluate.data.image_data import Part

CHUNK = 1024  # images a time, so that the floats in between stay small


def resized(part: Part, side: int | None) -> Part:
    """`part` with square images of `side` pixels, antialiased bilinear; as it is where None."""
    if side is None or part.images.shape[2] == side:
        return part
    chunks = [
        _resize(part.images[start : start + CHUNK], side) for start in range(0, len(part), CHUNK)
    ]
    return Part(torch.cat(chunks), part.labels)


def _resize(images: Tensor, side: int) -> Tensor:
    floats = functional.interpolate(
        images.float(), (side, side), mode="bilinear", antialias=True, align_corners=False
    )
    return floats.round_().clamp_(0, 255).to(torch.uint8)
