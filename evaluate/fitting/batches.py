"""The batches of a training, each indexed, augmented and normalised as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nas_sv2.evaluate.data.image_data import Part
from nas_sv2.evaluate.fitting.augment import Augment, Normalise, augmentation
from nas_sv2.evaluate.fitting.subset import Subset
from nas_sv2.evaluate.recipes.recipe import Recipe


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
        side: int | None = None,
    ) -> "Batches":
        """Make the training batches of a recipe.

        Args:
            recipe: The recipe.
            subset: The images of the recipe.
            normalise: As the attribute.
            device: As the attribute.
            side: As in `augmentation`.
        """
        return cls(
            subset.train,
            augmentation(recipe, side),
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
