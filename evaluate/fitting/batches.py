"""The batches of a training: each indexed, augmented and normalised as a whole, and mixed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas_sv2.evaluate.data.image_data import Part, kind_of
from nas_sv2.evaluate.fitting.augment import Augment, Normalise, augmentation
from nas_sv2.evaluate.fitting.subset import Subset
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.resolution import Resolution

ERASED_AREA = (0.02, 0.33)
ERASED_RATIO = 3.3  # largest ratio of height to width; the least is its inverse


class Supply(Protocol):
    """The source of a training's batches: `Batches`, or the share of one of its processes."""

    @property
    def device(self) -> str:
        """Torch device of the batches."""
        ...

    @property
    def labels(self) -> Tensor:
        """Labels of the images that are used, int64 (M,)."""
        ...

    def __len__(self) -> int:
        """Number of batches a pass."""
        ...

    def order(self, generator: torch.Generator) -> Tensor:
        """The images of one pass, as indices."""
        ...

    def take(
        self, order: Tensor, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Batch `number` of a pass: images (N, C, H, W), normalised; labels (N,)."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Batches:
    """Training batches, pass after pass.

    Attributes:
        part: The images; only ever indexed, so memory-mapped ones are read batch by batch.
        augment: Augments a batch before `normalise`.
        normalise: Grey levels to floats.
        size: Images a batch; an incomplete last one is left out.
        limit: At most so many images a pass, drawn for each pass; None for all.
        device: Torch device of the batches.
        among: Images of `part` that are used, (M,); None for all.
    """

    part: Part
    augment: Augment
    normalise: Normalise
    size: int
    limit: int | None = None
    device: str = "cpu"
    among: Tensor | None = None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        subset: Subset,
        normalise: Normalise,
        device: str,
        resolution: Resolution | None = None,
    ) -> "Batches":
        """Make the training batches of a recipe.

        Args:
            recipe: The recipe.
            subset: The images of the recipe.
            normalise: As the attribute.
            device: As the attribute.
            resolution: As in `augmentation`.
        """
        return cls(
            subset.train,
            augmentation(recipe, resolution),
            normalise,
            recipe.batch,
            recipe.images_per_epoch,
            device,
            subset.among,
        )

    def __len__(self) -> int:
        """Number of batches a pass; at least one, which is small if the data are."""
        return max(1, self._images // self.size)

    @property
    def labels(self) -> Tensor:
        """Labels of the images that are used, int64 (M,)."""
        return self.part.labels if self.among is None else self.part.labels[self.among]

    @property
    def _images(self) -> int:
        used = len(self.part) if self.among is None else len(self.among)
        return min(used, self.limit or used)

    def order(self, generator: torch.Generator) -> Tensor:
        """The images of one pass, as indices into `part`."""
        drawn = torch.randperm(len(self.labels), generator=generator)[: self._images]
        return drawn if self.among is None else self.among[drawn]

    def take(
        self, order: Tensor, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Batch `number` of a pass: images (N, C, H, W), normalised; labels (N,)."""
        index = order[number * self.size : (number + 1) * self.size]
        images = self.part.images[index].to(self.device, non_blocking=True)
        labels = self.part.labels[index].to(self.device, non_blocking=True)
        return self.normalise(self.augment(images, generator)), labels

    def one_pass(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of a whole pass, as `take` gives them."""
        order = self.order(generator)
        for number in range(len(self)):
            yield self.take(order, number, generator)


@dataclass(frozen=True, eq=False, slots=True)
class Mixed:
    """Batches of `supply`, mixed for a full training; a `Supply` whose targets are shares.

    Numbers stay as they are: a recipe for them neither mixes nor pastes images. Repeats of an
    image are neighbours, so with them an image is mixed with the one half a batch away.

    Random Erasing: Zhong et al., AAAI 2020. Mixup: Zhang et al., ICLR 2018. CutMix: Yun et al.,
    ICCV 2019. Repeated augmentation: Hoffer et al., CVPR 2020. Ranges and the even choice between
    mixup and CutMix are those of torchvision's training (pytorch/vision#5906).

    Attributes:
        supply: Source of the batches.
        full: The methods that apply.
        classes: Number of classes.
    """

    supply: Supply
    full: FullTraining
    classes: int

    @property
    def device(self) -> str:
        """Torch device of the batches."""
        return self.supply.device

    @property
    def labels(self) -> Tensor:
        """Labels of the images that are used, int64 (M,)."""
        return self.supply.labels

    def __len__(self) -> int:
        """Number of batches a pass."""
        return len(self.supply)

    def order(self, generator: torch.Generator) -> Tensor:
        """The images of one pass: the same number, but of fewer images, each several times."""
        order, times = self.supply.order(generator), self.full.repeated_augmentation
        distinct = math.ceil(len(order) / times)
        return order[:distinct].repeat_interleave(times)[: len(order)]

    def take(
        self, order: Tensor, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Batch `number`: images (N, C, H, W), and targets (N, classes), shares of the classes.

        Targets that are numbers are of shape (N,).
        """
        images, labels = self.supply.take(order, number, generator)
        if self.full.random_erase:
            images = erased(images, self.full.random_erase, generator)
        targets = labels
        if kind_of(labels) == "classes":
            targets = functional.one_hot(labels, self.classes).to(images.dtype)
        ways = [way for way in ("mixup", "cutmix") if getattr(self.full, way)]
        if not ways:
            return images, targets
        chosen, seed = torch.randint(2**31, (2,), generator=generator).tolist()
        way = ways[chosen % len(ways)]
        alpha = getattr(self.full, way)
        kept = float(np.random.default_rng(seed).beta(alpha, alpha))
        apart = len(images) // 2 if self.full.repeated_augmentation > 1 else 1
        others = images.roll(apart, 0)
        if way == "mixup":
            images = images.lerp(others, 1 - kept)
        else:
            images, kept = pasted(images, others, kept, generator)
        return images, targets.lerp(targets.roll(apart, 0), 1 - kept)


def erased(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Set a rectangle of some normalised images (N, C, H, W) to 0, the mean.

    A rectangle that does not fit is cut to the image.
    """
    count, _, height, width = images.shape
    chosen, area, ratio, down, right = torch.rand(5, count, generator=generator)
    low, high = ERASED_AREA
    pixels = (low + (high - low) * area) * height * width
    ratio = torch.exp((2 * ratio - 1) * math.log(ERASED_RATIO))
    tall = (pixels * ratio).sqrt().round().clamp(1, height)
    wide = (pixels / ratio).sqrt().round().clamp(1, width)
    rows = _between((down * (height - tall + 1)).floor(), tall, height)
    columns = _between((right * (width - wide + 1)).floor(), wide, width)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    inside &= (chosen < probability)[:, None, None, None]
    return images.masked_fill(inside.to(images.device), 0.0)


def pasted(
    images: Tensor, others: Tensor, kept: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Paste a rectangle of another image into each image; give images and the share kept.

    The rectangle is the same for all images (N, C, H, W), and covers a share 1 - `kept`. Its
    centre is anywhere in the image, so the border may cut it, and more is kept.
    """
    height, width = images.shape[2:]
    down, right = torch.rand(2, generator=generator).tolist()
    half = math.sqrt(1 - kept) / 2
    top, bottom = _ends(down * height, half * height, height)
    left, end = _ends(right * width, half * width, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:end] = others[:, :, top:bottom, left:end]
    return mixed, 1 - (bottom - top) * (end - left) / (height * width)


def _between(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Whether each of `side` pixels lies in each of N intervals, (N, side)."""
    pixels = torch.arange(side)
    return (pixels >= start[:, None]) & (pixels < (start + length)[:, None])


def _ends(centre: float, half: float, side: int) -> tuple[int, int]:
    return max(0, int(centre - half)), min(side, int(centre + half))
