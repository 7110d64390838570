"""Opens `npz:FILE`: images as arrays in a file of numpy, as MedMNIST and many others publish them.

The arrays are `train_images`, `train_labels`, `val_images` and `val_labels`, and optionally
`test_images` and `test_labels`; or only `images` and `labels`. Without `val_images`, validation
images are split off the training images by their content.
"""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData, Part, content_key, resize
from nas_sv2.evaluate.data.split import LEFT_OUT, PARTS, mirror_keys, placed

VAL_SHARE = 0.2
SHAPES = "uint8 (N, side, side), (N, side, side, C) or (N, C, side, side) with C of 1 or 3"


def open_array_file(spec: str, where: str, resolution: int | None) -> ImageData:
    """Open the images in the file `where`.

    Args:
        spec: The user's text.
        where: Path of the file.
        resolution: Side of the resized images, in pixels; None for their own.

    Raises:
        ConfigError: If the file or an array in it is missing, or an array has a wrong type or
            shape.
    """
    arrays = _read(spec, where)
    prefixes = {
        part: prefix
        for part, name in enumerate(PARTS)
        for prefix in ([f"{name}_", ""] if part == 0 else [f"{name}_"])
        if f"{prefix}images" in arrays
    }
    if 0 not in prefixes:
        have = ", ".join(sorted(arrays)) or "nothing"
        allowed = f"must have train_images and train_labels, or images and labels; it has {have}"
        raise ConfigError("data", spec, allowed)
    images = {part: _images(spec, arrays, f"{prefix}images") for part, prefix in prefixes.items()}
    labels = {
        part: _labels(spec, arrays, f"{prefix}labels", len(images[part]))
        for part, prefix in prefixes.items()
    }
    for part, own in images.items():
        if own.shape[1:] != images[0].shape[1:]:
            had = f"{tuple(own.shape[1:])}, {prefixes[0]}images {tuple(images[0].shape[1:])}"
            allowed = f"must have images of one shape; {prefixes[part]}images has {had}"
            raise ConfigError("data", spec, allowed)
    share = None if 1 in images else VAL_SHARE
    parts, left_out = _split(images, labels, share)
    for part, one in parts.items():
        if not len(one):
            raise ConfigError("data", spec, f"must have {PARTS[part]} images; it has none")
    _check_classes(spec, f"{prefixes[0]}labels", parts)
    train, val, test = (
        None if part not in parts else resize(parts[part], resolution) for part in range(3)
    )
    assert train is not None and val is not None
    classes = int(train.labels.max()) + 1
    notes = [] if share is None else [f"validation is {share:.0%} of train, chosen by content"]
    if left_out:
        notes.append(f"left out: {left_out:,} images whose copy is in val or test")
    key = content_key(train, val, test)
    names = tuple(map(str, range(classes)))
    return ImageData(spec, key, names, train, val, test, tuple(notes))


def _read(spec: str, where: str) -> dict[str, NDArray[Any]]:
    file = Path(os.path.expanduser(where))
    if not where or not file.is_file():
        raise ConfigError("data", spec, "must be npz:FILE of a file that exists")
    wanted = {f"{prefix}{kind}" for prefix in ("", "train_", "val_", "test_") for kind in _KINDS}
    name = "the file"
    try:
        arrays = {}
        with open(file, "rb") as stream:  # numpy does not close a damaged file
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("one array without a name")
            for name in sorted(wanted & set(loaded.files)):
                arrays[name] = loaded[name]
        return arrays
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            "data", spec, f"must be a complete .npz file; {name}: {reason}"
        ) from error


_KINDS = ("images", "labels")


def _images(spec: str, arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.uint8]:
    """Return the images `name` as (N, C, side, side)."""
    array = arrays[name]
    had = f"{array.dtype} {tuple(array.shape)}"
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    fits = array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[2] == array.shape[3] > 0
    if array.dtype != np.uint8 or not fits:
        raise ConfigError("data", spec, f"must have {name} as {SHAPES}; it is {had}")
    return np.ascontiguousarray(array)


def _labels(
    spec: str, arrays: dict[str, NDArray[Any]], name: str, images: int
) -> NDArray[np.int64]:
    if name not in arrays:
        raise ConfigError("data", spec, f"must have an array {name}")
    array = arrays[name]
    had = f"{array.dtype} {tuple(array.shape)}"
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (images,) or array.dtype.kind not in "iu":
        raise ConfigError("data", spec, f"must have {images} whole numbers in {name}; it is {had}")
    if images and int(array.min()) < 0:
        raise ConfigError(
            "data", spec, f"must have numbers from 0 in {name}; one is {int(array.min())}"
        )
    return array.astype(np.int64)


def _check_classes(spec: str, name: str, parts: dict[int, Part]) -> None:
    """Refuse a class without training images, and labels of other classes in val or test."""
    seen = np.unique(parts[0].labels.numpy()).tolist()
    missing = set(range(len(seen))) - set(seen)
    if missing:
        raise ConfigError(
            "data",
            spec,
            f"must have images of every class in {name}; class {min(missing)} has none",
        )
    for part, one in parts.items():
        if int(one.labels.max()) >= len(seen):
            allowed = f"{PARTS[part]}_labels below {len(seen)}, the number of training classes"
            raise ConfigError("data", spec, f"must be {allowed}; one is {int(one.labels.max())}")


def _split(
    images: dict[int, NDArray[np.uint8]], labels: dict[int, NDArray[np.int64]], share: float | None
) -> tuple[dict[int, Part], int]:
    """Return each part, and the number of images left out because a later part has a copy."""
    keys = [key for own in images.values() for key in mirror_keys(own)]
    every = np.concatenate(list(labels.values()))
    given = np.concatenate([np.full(len(own), part, np.int8) for part, own in images.items()])
    chosen = placed(keys, every, given, share)
    parts = {}
    for part in {*images, 1}:
        of_source = 0 if part not in images else part
        own = chosen[given == of_source] == part
        parts[part] = Part(
            torch.from_numpy(images[of_source][own]), torch.from_numpy(labels[of_source][own])
        )
    return parts, int((chosen == LEFT_OUT).sum())
