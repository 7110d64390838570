"""Opens published sets that users have or can download: Fashion-MNIST, CIFAR-10 and CIFAR-100.

Their test split stays untouched. The validation images, on which candidates are compared, are
split off the training images.
"""

import gzip
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_cache import user_cache
from nas_sv2.evaluate.data.image_data import ImageData, Part, content_key, resize
from nas_sv2.evaluate.data.split import carve, mirror_keys

PUBLISHED = ("fashion-mnist", "cifar10", "cifar100")
VAL_SHARE = 0.1  # 5,000 or 6,000 images: a standard error of 0.4 points at 90 %
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
IDX_BYTES = 0x08  # type code of unsigned bytes, http://yann.lecun.com/exdb/mnist/
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
FASHION_NAMES = (
    *("t-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


def open_published(spec: str, name: str, where: str, resolution: int | None) -> ImageData:
    """Open a published set from the folder `where`, the usual places, or the internet.

    Args:
        spec: The user's text.
        name: One of `PUBLISHED`.
        where: Folder of the set's files; empty for the usual places and the internet.
        resolution: Side of the resized images, in pixels; None for the set's own.

    Raises:
        ConfigError: If the folder lacks the set.
        EvaluationError: If the set is missing and cannot be downloaded, or a file is damaged.
    """
    folder = Path(os.path.expanduser(where)) if where else None
    if folder is not None and not folder.is_dir():
        raise ConfigError(
            "data", spec, f"must be a folder with the files of {name}; {folder} is not one"
        )
    read = _read_fashion if name == "fashion-mnist" else _read_torchvision
    (images, labels), test, names = read(spec, name, folder)
    rest, val = (
        Part(torch.from_numpy(images[index]), torch.from_numpy(labels[index]))
        for index in carve(mirror_keys(images), labels, VAL_SHARE)
    )
    held_out = Part(torch.from_numpy(test[0]), torch.from_numpy(test[1]))
    train, val, held_out = (resize(part, resolution) for part in (rest, val, held_out))
    notes = (
        f"{len(val):,} of {len(images):,} training images are kept for validation, "
        f"the {len(held_out):,} test images are untouched",
    )
    key = content_key(train, val, held_out)
    return ImageData(spec, key, names, train, val, held_out, notes)


def _read_fashion(
    spec: str, name: str, folder: Path | None
) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    if folder is None and DEBIAN.is_dir():
        folder = DEBIAN
    if folder is None or not list(folder.glob("train-images-idx3-ubyte*")):
        return _read_torchvision(spec, name, folder)
    train, test = (
        (
            read_idx(_either(spec, folder, f"{part}-images-idx3-ubyte"), dimensions=3)[:, None],
            read_idx(_either(spec, folder, f"{part}-labels-idx1-ubyte"), dimensions=1).astype(
                np.int64
            ),
        )
        for part in ("train", "t10k")
    )
    return train, test, FASHION_NAMES


def _either(spec: str, folder: Path, name: str) -> Path:
    for file in (folder / f"{name}.gz", folder / name):
        if file.is_file():
            return file
    raise ConfigError("data", spec, f"must be a folder with {name}.gz or {name}")


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read the bytes in a file of MNIST's IDX format, gzipped or not.

    Raises:
        EvaluationError: If the file is damaged or has another format.
    """
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from error
    start = 4 + 4 * dimensions
    shape = tuple(int(side) for side in np.frombuffer(content[4:start][: 4 * dimensions], ">u4"))
    if content[:4] != bytes((0, 0, IDX_BYTES, dimensions)) or len(content) - start != math.prod(
        shape
    ):
        raise EvaluationError(f"{file} is not a whole IDX file of {dimensions} dimensions")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _read_torchvision(
    spec: str, name: str, folder: Path | None
) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    from torchvision import datasets  # seconds to import

    kinds: dict[str, Callable[..., Any]] = {
        "fashion-mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }
    root = folder or _cache()
    try:
        sets = [kinds[name](root, train=train, download=folder is None) for train in (True, False)]
    except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())
        if folder is not None:
            allowed = f"must be the folder under which torchvision keeps {name} ({reason})"
            raise ConfigError("data", spec, allowed) from error
        raise EvaluationError(
            f"{name} is not on this machine and could not be downloaded ({reason}); "
            f"name the folder that holds it ({name}:FOLDER) or give data animals, "
            "which needs no network"
        ) from error
    train, test = (_arrays(one) for one in sets)
    return train, test, tuple(str(label) for label in sets[0].classes)


def _arrays(one: Any) -> Arrays:
    images = np.asarray(one.data, np.uint8)
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), np.asarray(one.targets, np.int64)


def _cache() -> Path:
    """Return the folder of downloads, which is made if it is missing."""
    folder = user_cache()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
