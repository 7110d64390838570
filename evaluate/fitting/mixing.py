"""What is done to whole batches once normalised: erasing, mixup, CutMix; and repeats in a pass.

Random Erasing: Zhong et al., AAAI 2020. Mixup: Zhang et al., ICLR 2018. CutMix: Yun et al., ICCV
2019. Repeated augmentation: Hoffer et al., CVPR 2020. Ranges and the even choice between mixup and
CutMix are those of torchvision's training (pytorch/vision#5906).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas_sv2.evaluate.fitting.batches import Supply
from nas_sv2.evaluate.recipes.recipe import FullTraining

ERASED_AREA = (0.02, 0.33)
ERASED_RATIO = 3.3  # height to width, from its inverse


@dataclass(frozen=True, eq=False, slots=True)
class Mixed:
    """Batches of `supply` as a full training wants them; a `Supply` whose targets are shares.

    Attributes:
        supply: What they are made from.
        full: Which of it is done.
        classes: How many there are.
    """

    supply: Supply
    full: FullTraining
    classes: int

    @property
    def device(self) -> str:
        """Where the batches are wanted."""
        return self.supply.device

    @property
    def labels(self) -> Tensor:
        """Of the images that are used, int64 (M,)."""
        return self.supply.labels

    def __len__(self) -> int:
        """Batches a pass."""
        return len(self.supply)

    def order(self, generator: torch.Generator) -> Tensor:
        """The images of one pass: as many as ever, but a share of them, each several times."""
        order, times = self.supply.order(generator), self.full.repeated_augmentation
        distinct = math.ceil(len(order) / times)
        return order[:distinct].repeat_interleave(times)[: len(order)]

    def take(
        self, order: Tensor, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Batch `number`: images (N, C, H, W), targets (N, classes) that sum to 1 each."""
        images, labels = self.supply.take(order, number, generator)
        if self.full.random_erase:
            images = erased(images, self.full.random_erase, generator)
        targets = functional.one_hot(labels, self.classes).to(images.dtype)
        ways = [way for way in ("mixup", "cutmix") if getattr(self.full, way)]
        if not ways:
            return images, targets
        chosen, seed = torch.randint(2**31, (2,), generator=generator).tolist()
        way = ways[chosen % len(ways)]
        alpha = getattr(self.full, way)
        kept = float(np.random.default_rng(seed).beta(alpha, alpha))
        if way == "mixup":
            images = images.lerp(images.roll(1, 0), 1 - kept)
        else:
            images, kept = pasted(images, kept, generator)
        return images, targets.lerp(targets.roll(1, 0), 1 - kept)


def erased(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Normalised (N, C, H, W) with a rectangle of some images set to 0, the mean.

    A rectangle that would not fit is cut to the image.
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


def pasted(images: Tensor, kept: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """(N, C, H, W), a rectangle of about 1 - `kept` of each from its neighbour; what was kept.

    The same rectangle for the whole batch; its centre is anywhere, and what lies outside is lost.
    """
    height, width = images.shape[2:]
    down, right = torch.rand(2, generator=generator).tolist()
    half = math.sqrt(1 - kept) / 2
    top, bottom = _ends(down * height, half * height, height)
    left, end = _ends(right * width, half * width, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:end] = images.roll(1, 0)[:, :, top:bottom, left:end]
    return mixed, 1 - (bottom - top) * (end - left) / (height * width)


def _between(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Which of `side` pixels lie in each of (N,) intervals: (N, side)."""
    pixels = torch.arange(side)
    return (pixels >= start[:, None]) & (pixels < (start + length)[:, None])


def _ends(centre: float, half: float, side: int) -> tuple[int, int]:
    return max(0, int(centre - half)), min(side, int(centre + half))
