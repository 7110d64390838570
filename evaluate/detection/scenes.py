"""Images with boxes: parts of a data set, and the batches of a training.

All images of a batch have the detector's size. An image is scaled to fit, keeps its sides' ratio
and lies at the top left; the rest is grey.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nas_sv2.evaluate.data.decoding import PADDING

Pixels = NDArray[np.uint8]
NO_BOX = -1
"""Class of a row of targets that holds no box."""


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """The boxes of one image.

    Attributes:
        number: Number of the image in its data set.
        height: Height in pixels.
        width: Width in pixels.
        boxes: x1, y1, x2, y2 in pixels, float32 (B, 4).
        classes: Their categories, counted from 0, int64 (B,).
        crowds: Whether a box surrounds a crowd; such boxes are not trained on, bool (B,).
        areas: Areas of the objects in pixels, by which COCO calls them small or large, (B,).
    """

    number: int
    height: int
    width: int
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    crowds: NDArray[np.bool_]
    areas: NDArray[np.float32]

    def scale_into(self, height: int, width: int) -> float:
        """Return the factor by which the image fits into `height` × `width` pixels."""
        return min(height / self.height, width / self.width)


@dataclass(frozen=True, eq=False, slots=True)
class Scenes:
    """A part of a data set.

    Attributes:
        scenes: Boxes of the images.
        read: Gives the pixels of image `index`, uint8 (height, width, 3).
    """

    scenes: Sequence[Scene]
    read: Callable[[int], Pixels]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.scenes)

    def fitted(self, index: int, height: int, width: int) -> tuple[Pixels, float]:
        """Return image `index` as (3, height, width), and the factor of its scaling."""
        scene = self.scenes[index]
        scale = scene.scale_into(height, width)
        size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
        image = Image.fromarray(self.read(index)).resize(size, Image.Resampling.BILINEAR)
        ground = np.full((height, width, 3), PADDING, np.uint8)
        ground[: size[1], : size[0]] = np.asarray(image)
        return np.ascontiguousarray(ground.transpose(2, 0, 1)), scale


@dataclass(frozen=True, eq=False, slots=True)
class SceneData:
    """A data set of a detector.

    Attributes:
        name: Spec that opened it.
        key: 16 hexadecimal digits that identify its content.
        categories: Names of the categories, in the order of the classes.
        train: Images for training.
        val: Images for scoring.
        notes: Lines on images and boxes that were left out, with counts.
    """

    name: str
    key: str
    categories: tuple[str, ...]
    train: Scenes
    val: Scenes
    notes: tuple[str, ...] = ()

    @property
    def provenance(self) -> str:
        """The spec with the content, for identities."""
        return f"{self.name}@{self.key}"


@dataclass(frozen=True, eq=False, slots=True)
class SceneBatches:
    """Training batches of a detector; a `Supply` whose labels are boxes.

    Attributes:
        part: The images.
        height: Height of the batches' images.
        width: Width of the batches' images.
        size: Images a batch; an incomplete last one is left out.
        flip: Whether images are mirrored with probability ½.
        limit: At most so many images a pass, drawn for each pass; None for all.
        device: Torch device of the batches.
    """

    part: Scenes
    height: int
    width: int
    size: int
    flip: bool
    limit: int | None = None
    device: str = "cpu"

    @property
    def labels(self) -> Tensor:
        """Classes of all boxes, int64 (M,)."""
        return torch.from_numpy(np.concatenate([one.classes for one in self.part.scenes]))

    def __len__(self) -> int:
        """Number of batches a pass."""
        return min(self.limit or len(self.part), len(self.part)) // self.size

    def order(self, generator: torch.Generator) -> Tensor:
        """The images of one pass, as indices."""
        return torch.randperm(len(self.part), generator=generator)[: self.limit]

    def take(
        self, order: Tensor, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Batch `number` of a pass.

        Returns:
            Images (N, 3, H, W) with levels from 0 to 1, and rows of class, x1, y1, x2, y2
            (N, B, 5); the class of rows without a box is `NO_BOX`.
        """
        chosen = order[number * self.size : (number + 1) * self.size].tolist()
        mirrored = (torch.rand(len(chosen), generator=generator) < 0.5).tolist()
        images, targets = [], []
        for index, mirror in zip(chosen, mirrored, strict=True):
            pixels, scale = self.part.fitted(index, self.height, self.width)
            scene = self.part.scenes[index]
            kept = ~scene.crowds
            boxes = scene.boxes[kept] * np.float32(scale)
            if self.flip and mirror:
                pixels = pixels[:, :, ::-1]
                boxes = np.column_stack(
                    [self.width - boxes[:, 2], boxes[:, 1], self.width - boxes[:, 0], boxes[:, 3]]
                )
            images.append(torch.from_numpy(np.ascontiguousarray(pixels)))
            rows = np.column_stack([scene.classes[kept], boxes])
            targets.append(torch.from_numpy(rows.astype(np.float32)))
        padded = torch.nn.utils.rnn.pad_sequence(targets, True, NO_BOX)
        return torch.stack(images).to(self.device) / 255, padded.to(self.device)


def as_targets(rows: Tensor) -> list[dict[str, Tensor]]:
    """Turn rows (N, B, 5) of `SceneBatches.take` into torchvision's targets, classes from 1."""
    kept = [each[each[:, 0] != NO_BOX] for each in rows]
    return [{"boxes": each[:, 1:], "labels": each[:, 0].long() + 1} for each in kept]
