"""The batches of a training: indexed from whole tensors, augmented and normalised together."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nas_sv2.evaluate.augment import FlipShift, Normalise
from nas_sv2.evaluate.image_data import Part


@dataclass(frozen=True, eq=False, slots=True)
class Batches:
    """Training batches, pass after pass.

    Attributes:
        part: The images; only ever indexed, so memory-mapped ones are read batch by batch.
        augment: What happens to a batch before `normalise`.
        normalise: Grey levels to floats.
        size: Images a batch; an incomplete last one is left out.
        limit: At most so many images a pass, drawn anew each time; None for all.
        device: Where the batches are wanted.
    """

    part: Part
    augment: FlipShift
    normalise: Normalise
    size: int
    limit: int | None = None
    device: str = "cpu"

    def __len__(self) -> int:
        """Batches a pass; at least one, which is smaller than `size` if the data are."""
        return max(1, self._images // self.size)

    @property
    def _images(self) -> int:
        return min(len(self.part), self.limit or len(self.part))

    def one_pass(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (N, C, H, W), normalised and channels-last, with labels (N,)."""
        order = torch.randperm(len(self.part), generator=generator)[: self._images]
        for number in range(len(self)):
            index = order[number * self.size : (number + 1) * self.size]
            images = self.part.images[index].to(self.device, non_blocking=True)
            labels = self.part.labels[index].to(self.device, non_blocking=True)
            yield self.normalise(self.augment(images, generator)), labels
