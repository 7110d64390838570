"""TrivialAugment (Müller and Hutter, ICCV 2021): one operation of random strength an image."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchvision.transforms.v2 import TrivialAugmentWide


@dataclass(frozen=True, slots=True)
class TrivialAugment:
    """The wide form, by torchvision: image by image, so slow beside the other augmentations."""

    one: TrivialAugmentWide = field(default_factory=TrivialAugmentWide)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Grey levels (N, C, H, W) to uint8 of the same shape; draws one number."""
        levels = images
        if images.is_floating_point():
            levels = images.round().clamp_(0, 255).to(torch.uint8)
        seed = int(torch.randint(2**62, (), generator=generator))
        # torchvision draws from torch's global generator and no other: it is lent, and put back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return torch.stack([self.one(image) for image in levels])
