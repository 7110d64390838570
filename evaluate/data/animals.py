"""The offline demo data: ten kinds of animal shape, 28×28 grey, from an installed distribution.

The distribution `animal-shape-mnist` (MIT) has two gzipped pickles. Its module is never imported,
because it needs TensorFlow. The digests of the pickles are checked first, and the unpickler allows
only numpy arrays.
"""

import gzip
import hashlib
import io
import pickle
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData, Part, content_key
from nas_sv2.evaluate.data.split import carve, distinct, mirror_keys

DISTRIBUTION = "animal-shape-mnist"
# Names and SHA-256 of the unpacked files of version 0.39.
IMAGES = (
    "animal_data_version_3.gz",
    "0a13908291891bf5b97b18427cf0eceedcb720959826cc85f7e06dc89e5eaf77",
)
LABELS = (
    "animal_label_version_3.gz",
    "3d826227c39b7dba09abb8273cf07928443fec2c56b6396b4872741b7b332f93",
)
# Shares of about 970 distinct images per class: 2,000 images for validation, with a standard error
# of 0.7 points at an accuracy near 90 %, and 1,215 for testing.
VAL_SHARE, TEST_SHARE = 0.2058, 0.125
NAMES = (
    *("bear", "bird", "cat", "cow", "dog"),
    *("elephant", "giraffe", "horse", "sheep", "zebra"),
)
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


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
    images = _read(*IMAGES)[:, None]
    labels = _read(*LABELS).astype(np.int64)
    keys = mirror_keys(images)
    kept = distinct(keys)
    parts = [
        Part(torch.from_numpy(images[kept][part]), torch.from_numpy(labels[kept][part]))
        for part in carve([keys[index] for index in kept], labels[kept], VAL_SHARE, TEST_SHARE)
    ]
    train, val, test = parts
    notes = (
        f"{len(kept):,} of {len(images):,} images are distinct, mirror images counted as copies",
        f"split by content: {len(train):,} train, {len(val):,} val, {len(test):,} test",
    )
    return ImageData("animals", content_key(*parts), NAMES, train, val, test, notes)


def _read(name: str, digest: str) -> NDArray[Any]:
    try:
        content = gzip.decompress(_find(name).read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise EvaluationError(f"{name} cannot be read: {error}; {_REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise EvaluationError(f"{name} is not the file of {DISTRIBUTION} 0.39; {_REMEDY}")
    return read_array(content)


def _find(name: str) -> Path:
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError as error:
        raise EvaluationError(f"{DISTRIBUTION} is not installed; {_REMEDY}") from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise EvaluationError(f"{DISTRIBUTION} holds no {name}; {_REMEDY}")


_REMEDY = f"pip install --force-reinstall {DISTRIBUTION}==0.39, or give other data"
