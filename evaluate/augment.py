"""Batches of uint8 images to normalised floats, mirrored and shifted, without a loop over images.

Row and column of every output pixel are computed for the batch, and one gather reads them: flip
and shift cost the same as a copy, and the result lies channels-last, as the network wants it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Normalise:
    """Grey levels to zero mean and unit deviation a channel, by the training images' statistics.

    Attributes:
        mean: (C,), grey levels 0 to 255.
        deviation: (C,), grey levels.
    """

    mean: Tensor
    deviation: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) to float32 of the same shape, channels-last."""
        mean = self.mean.to(images.device)[:, None, None]
        scale = 1 / self.deviation.to(images.device)[:, None, None]
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.sub_(mean).mul_(scale)


@dataclass(frozen=True, slots=True)
class FlipShift:
    """Mirrors with probability ½ and shifts by up to `shift` pixels each way.

    What a shift uncovers repeats the border, so that no edge appears that the image has not.
    """

    flip: bool
    shift: int

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 (N, C, H, W) to the same, channels-last; draws three numbers an image."""
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
