"""The offline demo data: ten kinds of animal shape, 28×28 grey, from an installed distribution.

The distribution `animal-shape-mnist` (MIT) carries two gzipped pickles. Its module is never
imported (it wants TensorFlow), and the pickles are read by an unpickler that knows numpy arrays
and nothing else, after their digests have been checked.
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
# sha256 of the unpacked files of version 0.39
IMAGES = (
    "animal_data_version_3.gz",
    "0a13908291891bf5b97b18427cf0eceedcb720959826cc85f7e06dc89e5eaf77",
)
LABELS = (
    "animal_label_version_3.gz",
    "3d826227c39b7dba09abb8273cf07928443fec2c56b6396b4872741b7b332f93",
)
# Of some 970 distinct images a class: 2,000 for validation, which puts the standard error of an
# accuracy near 90 % at 0.7 points, and 1,215 for testing.
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
    """Reads numpy arrays; every other name in the pickle is refused before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that an array needs."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a pickled array")
        if name == "_reconstruct":
            return _empty_array
        return getattr(np, name)


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> NDArray[Any]:
    """What `_reconstruct` does for plain arrays, which the pickle fills by its state."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"{kind!r} is not a plain array")
    return np.ndarray(shape, np.dtype(code.decode() if isinstance(code, bytes) else code))


def read_array(content: bytes) -> NDArray[Any]:
    """The array in a pickle.

    Raises:
        EvaluationError: The pickle holds, or would call, anything else, or is damaged.
    """
    try:
        array = ArrayUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # damaged bytes can raise anything
        raise EvaluationError(f"refused to read a pickled array: {error}") from error
    if type(array) is not np.ndarray or array.dtype.hasobject:
        raise EvaluationError("refused to read a pickled array: it holds something else")
    return array


def open_animals() -> ImageData:
    """10 classes, 28×28 grey: distinct images only, split by content into train, val and test.

    Raises:
        EvaluationError: The distribution is missing or not the one that is known.
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
