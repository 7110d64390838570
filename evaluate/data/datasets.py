"""Opens the data set that a user's spec names; the sets that have a name are read here.

Fashion-MNIST, CIFAR-10 and CIFAR-100 are on the machine or downloaded. Their test split stays
untouched. The validation images, on which candidates are compared, are split off the training
images.

`animals` is the offline demo data: ten kinds of animal shape, 28×28 grey. The installed
distribution `animal-shape-mnist` (MIT) has two gzipped pickles. Its module is never imported,
because it needs TensorFlow. The digests of the pickles are checked first, and the unpickler allows
only numpy arrays.
"""

import dataclasses
import gzip
import hashlib
import io
import math
import os
import pickle
import pickletools
import zlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.array_file import open_array_file
from nas_sv2.evaluate.data.chunk_decoding import Progress
from nas_sv2.evaluate.data.image_cache import Notify, user_cache
from nas_sv2.evaluate.data.image_data import ImageData, Part, content_key, resize
from nas_sv2.evaluate.data.image_listing import LAYOUTS, check_layout, read_spec
from nas_sv2.evaluate.data.own_images import open_image_folder
from nas_sv2.evaluate.data.split import carve, distinct, mirror_keys
from nas_sv2.resolution import Resolution, check_image_size

SPECS = (
    "must be one of animals, fashion-mnist, cifar10, cifar100 (a folder that holds it may follow: "
    "cifar10:FOLDER), imagefolder:PATH, imagenet:PATH, csv:FILE or npz:FILE"
)
PUBLISHED = ("fashion-mnist", "cifar10", "cifar100")
VAL_SHARE = 0.1  # 5,000 or 6,000 images: a standard error of 0.4 points at 90 %
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
IDX_BYTES = 0x08  # type code of unsigned bytes, http://yann.lecun.com/exdb/mnist/
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
FASHION_NAMES = (
    *("t-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
DISTRIBUTION = "animal-shape-mnist"
# Names and SHA-256 of the unpacked files of version 0.39.
ANIMAL_IMAGES = (
    "animal_data_version_3.gz",
    "0a13908291891bf5b97b18427cf0eceedcb720959826cc85f7e06dc89e5eaf77",
)
ANIMAL_LABELS = (
    "animal_label_version_3.gz",
    "3d826227c39b7dba09abb8273cf07928443fec2c56b6396b4872741b7b332f93",
)
# Shares of about 970 distinct images per class: 2,000 images for validation, with a standard error
# of 0.7 points at an accuracy near 90 %, and 1,215 for testing.
ANIMALS_VAL_SHARE, ANIMALS_TEST_SHARE = 0.2058, 0.125
ANIMAL_NAMES = (
    *("bear", "bird", "cat", "cow", "dog"),
    *("elephant", "giraffe", "horse", "sheep", "zebra"),
)
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
_REMEDY = f"pip install --force-reinstall {DISTRIBUTION}==0.39, or give other data"


def open_data(
    spec: str,
    *,
    resolution: Resolution | None = None,
    skip_unreadable: bool = False,
    notify: Notify | None = None,
    progress: Progress | None = None,
    numbers: bool = False,
) -> ImageData:
    """Open the data set that `spec` names.

    Args:
        spec: `animals`, or a name followed by a colon and a folder or file.
        resolution: Side of the resized images, or their height and width, in pixels; None for the
            data's own, or 32 for a folder of images.
        skip_unreadable: Whether to leave out images of a folder that cannot be read.
        notify: Function called with a line on size and place before a folder of images is decoded.
        progress: Function called with the number of decoded files and of all files.
        numbers: Whether labels are read as numbers: of `csv:FILE` and `npz:FILE` alone.

    Raises:
        ConfigError: If the spec is unknown or its folder lacks the data.
        EvaluationError: If the data are missing or damaged.
    """
    name, _, where = spec.partition(":")
    if resolution is not None:
        check_image_size("resolution", resolution)
    check_layout(spec, numbers)
    if read_spec(spec)[0] in LAYOUTS:
        return open_image_folder(spec, resolution, skip_unreadable, notify, progress, numbers)
    if name == "npz":
        return open_array_file(spec, where, resolution, numbers)
    if name in PUBLISHED:
        return open_published(spec, name, where, resolution)
    if spec == "animals":
        return _at(open_animals(), resolution)
    raise ConfigError("data", spec, SPECS + _kind_of_path(spec))


def _kind_of_path(text: str) -> str:
    """Name the spec of a folder or file that was given without its kind; empty for other text."""
    where = os.path.expanduser(text)
    if os.path.isdir(where):
        return f"; for this folder imagefolder:{text}"
    kind = {".csv": "csv", ".tsv": "csv", ".npz": "npz"}.get(Path(where).suffix.lower())
    return f"; for this file {kind}:{text}" if kind and os.path.isfile(where) else ""


def _at(data: ImageData, resolution: Resolution | None) -> ImageData:
    if resolution is None or resolution == data.resolution:
        return data
    train, val = resize(data.train, resolution), resize(data.val, resolution)
    test = None if data.test is None else resize(data.test, resolution)
    key = content_key(train, val, test)
    return dataclasses.replace(data, key=key, train=train, val=val, test=test)


def open_published(spec: str, name: str, where: str, resolution: Resolution | None) -> ImageData:
    """Open a published set from the folder `where`, the usual places, or the internet.

    Args:
        spec: The user's text.
        name: One of `PUBLISHED`.
        where: Folder of the set's files; empty for the usual places and the internet.
        resolution: Side of the resized images, or their height and width, in pixels; None for the
            set's own.

    Raises:
        ConfigError: If the folder lacks the set.
        EvaluationError: If the set is missing and cannot be downloaded, or a file is damaged.
    """
    folder = Path(os.path.expanduser(where)) if where else None
    if folder is not None and not os.path.isdir(folder):
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
        if os.path.isfile(file):
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
    try:
        root = folder or _cache()
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


class ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays; refuses every other name in the pickle before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few objects that an array needs."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a pickled array")
        if name == "_reconstruct":
            return _empty_array
        return getattr(np, name)


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> NDArray[Any]:
    """Do the work of `_reconstruct` for plain arrays, which the pickle then fills."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"{kind!r} is not a plain array")
    return np.ndarray(shape, np.dtype(code.decode() if isinstance(code, bytes) else code))


def read_array(content: bytes) -> NDArray[Any]:
    """Read the array in a pickle.

    Raises:
        EvaluationError: If the pickle is damaged, or contains or calls anything but arrays.
    """
    try:
        for operation, argument, _ in pickletools.genops(content):
            # The places of a memo are made at once: 6 bytes that name place 2**31 take 64 GB.
            if operation.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(content):
                raise ValueError(f"its memo has place {argument}")
        array = ArrayUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # damaged bytes can raise anything
        raise EvaluationError(f"refused to read a pickled array: {error}") from error
    if type(array) is not np.ndarray or array.dtype.hasobject:
        raise EvaluationError("refused to read a pickled array: it holds something else")
    return array


def open_animals() -> ImageData:
    """Open 10 classes of 28×28 grey images: the distinct images, split by content in three parts.

    Raises:
        EvaluationError: If the distribution is missing or has other files than version 0.39.
    """
    images = _read_animals(*ANIMAL_IMAGES)[:, None]
    labels = _read_animals(*ANIMAL_LABELS).astype(np.int64)
    keys = mirror_keys(images)
    kept = distinct(keys)
    parts = [
        Part(torch.from_numpy(images[kept][part]), torch.from_numpy(labels[kept][part]))
        for part in carve(
            [keys[index] for index in kept], labels[kept], ANIMALS_VAL_SHARE, ANIMALS_TEST_SHARE
        )
    ]
    train, val, test = parts
    notes = (
        f"{len(kept):,} of {len(images):,} images are distinct, mirror images counted as copies",
        f"split by content: {len(train):,} train, {len(val):,} val, {len(test):,} test",
    )
    return ImageData("animals", content_key(*parts), ANIMAL_NAMES, train, val, test, notes)


def _read_animals(name: str, digest: str) -> NDArray[Any]:
    try:
        content = gzip.decompress(_find_animals(name).read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise EvaluationError(f"{name} cannot be read: {error}; {_REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise EvaluationError(f"{name} is not the file of {DISTRIBUTION} 0.39; {_REMEDY}")
    return read_array(content)


def _find_animals(name: str) -> Path:
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError as error:
        raise EvaluationError(f"{DISTRIBUTION} is not installed; {_REMEDY}") from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise EvaluationError(f"{DISTRIBUTION} holds no {name}; {_REMEDY}")
