"""The part of a data set that an export needs, kept with the study.

The images themselves may change after a search, or go.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from nas_sv2.evaluate.data.image_data import ImageData, channel_statistics
from nas_sv2.evaluate.recipes.scores import LabelKind
from nas_sv2.files import read_bounded, write_whole
from nas_sv2.plain_data import parse_json
from nas_sv2.resolution import Resolution, resolution_of

IMAGES = 100
"""Training images, evenly spaced, that set the ranges of int8.

More do not lower the error: docs/lab/2026-11-25-exported-files.md."""
MOST_BYTES = 1 << 30  # 100 images of 1,800 × 1,800 pixels


def spaced_images(images: Tensor) -> Tensor:
    """Return `IMAGES` of the training images (N, C, H, W), evenly spaced; all of fewer."""
    count = min(IMAGES, len(images))
    return images[torch.arange(count) * len(images) // count]


@dataclass(frozen=True, eq=False, slots=True)
class DataSample:
    """Facts about a data set, and some of its training images.

    Attributes:
        provenance: Text `SPEC@KEY` that evaluations record.
        class_names: Names of the classes, in the order of the labels.
        resolution: Side of the images, or their height and width, pixels.
        fit: How a picture took the shape of the images: one of `decoding.FITS`.
        mean: Mean a channel over the training images, (C,), grey levels 0 to 255.
        deviation: Standard deviation a channel, (C,), grey levels.
        images: Training images, uint8 (N, C, H, W).
        kind: The kind of the labels.
    """

    provenance: str
    class_names: tuple[str, ...]
    resolution: Resolution
    fit: str
    mean: Tensor
    deviation: Tensor
    images: Tensor
    kind: LabelKind = "classes"

    @classmethod
    def of(cls, data: ImageData) -> Self:
        """Take the facts and `IMAGES` images of `data`."""
        images = data.train.images
        statistics, spaced = channel_statistics(images), spaced_images(images)
        return cls(
            *(data.provenance, data.class_names, data.resolution, data.fit),
            *statistics,
            spaced,
            data.kind,
        )

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.images.shape[1])

    def write(self, file: Path) -> None:
        """Write the sample to a file, which is complete or absent.

        Raises:
            OSError: The file cannot be written.
        """
        facts = {
            name: getattr(self, name) for name in ("provenance", "class_names", "fit", "kind")
        }
        arrays = {name: getattr(self, name).numpy() for name in ("mean", "deviation", "images")}
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_whole(file, save({"facts": text, **held}))

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not such a file.
        """
        try:
            arrays = load(read_bounded(file, MOST_BYTES))
            facts = parse_json(arrays["facts"].tobytes())
            names = tuple(map(str, facts["class_names"]))
            mean, deviation, images = (
                torch.from_numpy(arrays[name].copy()) for name in ("mean", "deviation", "images")
            )
            count, channels, height, width = images.shape
            shapes = [tuple(each.shape) for each in (mean, deviation)]
            if not count or shapes != [(channels,)] * 2:
                raise ValueError(f"images {tuple(images.shape)}, mean and deviation {shapes}")
            if (images.dtype, mean.dtype, deviation.dtype) != (torch.uint8, *[torch.float32] * 2):
                raise ValueError("arrays of other types")
            provenance, fit = str(facts["provenance"]), str(facts["fit"])
            # Older versions had no kind, and before that nothing but classes.
            kind = facts.get("kind", "labels" if facts.get("several", False) else "classes")
            if kind not in get_args(LabelKind):
                raise ValueError(f"labels of kind {kind}")
        except (SafetensorError, LookupError, TypeError) as error:
            raise ValueError(str(error)) from error
        return cls(
            provenance, names, resolution_of(height, width), fit, mean, deviation, images, kind
        )
