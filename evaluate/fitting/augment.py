"""Augments batches of uint8 images and normalises them to floats, without a loop over images.

Row and column of every output pixel are computed for the batch, and one gather reads the pixels.
Flip and shift then cost the same as a copy, and the result is channels-last, as networks need it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nas_sv2.evaluate.data.image_data import channel_statistics
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.resolution import Resolution, height_and_width

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Maps images (N, C, H, W), grey levels 0 to 255, to such images; the generator is on the CPU."""


@dataclass(frozen=True, eq=False, slots=True)
class Normalise:
    """Maps grey levels to zero mean and unit deviation a channel, over the training images.

    Attributes:
        mean: Mean a channel, (C,), grey levels 0 to 255.
        deviation: Standard deviation a channel, (C,), grey levels.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, images: Tensor) -> "Normalise":
        """Take the statistics of `images`, uint8 (N, C, H, W)."""
        return cls(*channel_statistics(images))

    def __call__(self, images: Tensor) -> Tensor:
        """Turn grey levels (N, C, H, W) into float32 of the same shape, channels-last."""
        mean = self.mean.to(images.device)[:, None, None]
        scale = 1 / self.deviation.to(images.device)[:, None, None]
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.sub_(mean).mul_(scale)


@dataclass(frozen=True, slots=True)
class FlipShift:
    """Mirrors with probability ½ and shifts by up to `shift` pixels each way.

    The border is repeated in the uncovered part, so that a shift adds no edge to the image.
    """

    flip: bool
    shift: int

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment images (N, C, H, W), channels-last; draw three numbers an image."""
        count, _, height, width = images.shape
        span = 2 * self.shift + 1
        down, right = torch.randint(span, (2, count, 1), generator=generator) - self.shift
        mirrored = torch.rand(count, 1, generator=generator) < (0.5 if self.flip else 0)
        rows = (torch.arange(height) + down).clamp_(0, height - 1)
        columns = (torch.arange(width) + right).clamp_(0, width - 1)
        columns = torch.where(mirrored, width - 1 - columns, columns)
        rows, columns = rows.to(images.device), columns.to(images.device)
        which = torch.arange(count, device=images.device)[:, None, None]
        gathered = images[which, :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
        return gathered.permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Shows a part of each image, magnified to the whole: torchvision's RandomResizedCrop.

    Attributes:
        area: Smallest share of the image.
        resolution: Resolution of the result; None for that of the image.
    """

    area: float
    resolution: Resolution | None = None

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Turn images (N, C, H, W) into float32 of the resolution; draw four numbers an image."""
        area, ratio, down, right = torch.rand(4, len(images), generator=generator)
        area = self.area + (1 - self.area) * area
        ratio = torch.exp((2 * ratio - 1) * math.log(4 / 3))
        wide = (area * ratio).sqrt().clamp(max=1)
        high = (area / ratio).sqrt().clamp(max=1)
        # The point that each output pixel shows, in the square from -1 to 1 of grid_sample.
        zero = torch.zeros_like(wide)
        across = torch.stack([wide, zero, (2 * right - 1) * (1 - wide)], dim=1)
        along = torch.stack([zero, high, (2 * down - 1) * (1 - high)], dim=1)
        theta = torch.stack([across, along], dim=1).to(images.device)
        shape = list(images.shape)
        if self.resolution is not None:
            shape[2:] = height_and_width(self.resolution)
        grid = functional.affine_grid(theta, shape, align_corners=False)
        cropped: Tensor = functional.grid_sample(
            images.float(), grid, padding_mode="border", align_corners=False
        )
        return cropped


@dataclass(frozen=True, slots=True)
class Colour:
    """Multiplies brightness, contrast and saturation of each image by 1 ± up to `strength`."""

    strength: float

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Turn images (N, C, H, W) into float32 of that shape; draw three numbers an image."""
        draws = 1 + self.strength * (2 * torch.rand(3, len(images), generator=generator) - 1)
        bright, contrast, saturation = draws.to(images.device)[:, :, None, None, None].unbind()
        changed = (images.float() * bright).clamp_(0, 255)
        mean = changed.mean((1, 2, 3), keepdim=True)
        changed = (mean + contrast * (changed - mean)).clamp_(0, 255)
        grey = changed.mean(1, keepdim=True)  # a grey image stays as it is
        coloured: Tensor = grey + saturation * (changed - grey)
        return coloured.clamp_(0, 255)


def centre_of(images: Tensor, resolution: Resolution) -> Tensor:
    """The middle, of that resolution, of larger images (N, C, H, W), as a view."""
    height, width = height_and_width(resolution)
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


def trivial_augment() -> Augment:
    """Make TrivialAugment (Müller and Hutter, ICCV 2021): one random operation an image.

    It is torchvision's wide form. It takes one image at a time, so it is slower than the others.
    """
    from torchvision.transforms.v2 import TrivialAugmentWide  # takes a second

    one = TrivialAugmentWide()

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        """Turn grey levels (N, C, H, W) into uint8 of the same shape; draw one number."""
        levels = images
        if images.is_floating_point():
            levels = images.round().clamp_(0, 255).to(torch.uint8)
        seed = int(torch.randint(2**62, (), generator=generator))
        # torchvision draws from torch's global generator alone: seed it, then restore it.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return torch.stack([one(image) for image in levels])

    return augment


def augmentation(recipe: Recipe, resolution: Resolution | None = None) -> Augment:
    """Make the augmentation of `recipe`; parts that it lacks draw no random numbers.

    Args:
        recipe: The recipe.
        resolution: Resolution that the network takes if the images are larger. Crops are resized
            to it; without crops the centre is cut out.
    """
    steps: list[Augment] = [FlipShift(recipe.flip, recipe.shift)]
    if recipe.crop_area < 1:
        steps.insert(0, RandomCrop(recipe.crop_area, resolution))
    elif resolution is not None:
        steps.insert(0, lambda images, generator: centre_of(images, resolution))
    if recipe.full_training is not None and recipe.full_training.trivial_augment:
        steps.append(trivial_augment())
    if recipe.colour:
        steps.append(Colour(recipe.colour))

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        for step in steps:
            images = step(images, generator)
        return images

    return augment
