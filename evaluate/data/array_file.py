"""Opens images and labels in the arrays of a file of numpy.

`npz:FILE` is as MedMNIST, Keras and others publish. The arrays are `train_images` and
`train_labels`, those of `val` and `test`, or only `images` and `labels`; `x_train` and `y_train`
are the same. Without a part `val`, validation images are split off the training images by their
content.
"""

import os
import re
import warnings
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas_sv2.counts import counted
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.decoding import CLEAR_WHITE, MOST_LEVEL, full_level, is_clear_white
from nas_sv2.evaluate.data.image_data import ImageData, Part, content_key, kind_of, resize
from nas_sv2.evaluate.data.layouts import named, part_of
from nas_sv2.evaluate.data.main_memory import memory_bytes
from nas_sv2.evaluate.data.own_images import (
    VAL_SHARE,
    check_counts,
    lacking_in_words,
    share_in_words,
    split_by,
)
from nas_sv2.evaluate.data.split import LEFT_OUT, PARTS, contradictions, mirror_keys, placed
from nas_sv2.resolution import Resolution

SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3"
IMAGES, LABELS = ("images", "image", "x", "data"), ("labels", "label", "y", "targets", "target")
# Pixels shrink to a third or so. A file that grows more than a hundredfold is made to fill memory.
MOST_GROWTH, HARMLESS_BYTES = 100, 100_000_000
Arrays = dict[int, NDArray[Any]]


def open_array_file(
    spec: str, where: str, resolution: Resolution | None, numbers: bool = False
) -> ImageData:
    """Open the images in the file `where`.

    Args:
        spec: The user's text.
        where: Path of the file.
        resolution: Side of the resized images, or their height and width, in pixels; None for
            their own.
        numbers: Whether labels are numbers.

    Raises:
        ConfigError: If the file or an array in it is missing, or an array has a wrong type or
            shape.
    """
    file = ArrayFile(spec, Path(os.path.expanduser(where)) if where else None)
    images, labels = file.images(), file.numbers() if numbers else file.labels()
    for part, own in labels.items():
        if len(own) != len(images[part]):
            name = file.name(LABELS, part)
            had = f"it has {len(own):,} for {len(images[part]):,} images"
            raise ConfigError("data", spec, f"must have a label in {name} for each image; {had}")
    labels, names = (labels, ("label",)) if numbers else file.classes(labels)
    share = None if 1 in images else VAL_SHARE
    parts, notes = _split(images, labels, share)
    counts = {PARTS[part]: one.counts(len(names)) for part, one in sorted(parts.items())}
    sizes = {PARTS[part]: len(one) for part, one in parts.items()}
    left_out = sum(map(len, labels.values())) - sum(sizes.values())
    of = None if share is None else split_by(kind_of(parts[0].labels))
    check_counts(spec, names, counts, sizes, left_out, of)
    if share is not None and kind_of(parts[0].labels) == "classes":
        notes.insert(0, share_in_words(counts, share, names))
    elif share is not None:
        by_part = {part: [size] for part, size in sizes.items()}
        notes.insert(0, share_in_words(by_part, None, ("images",)))
    notes += lacking_in_words(counts, names)
    train, val, test = (
        None if part not in parts else resize(parts[part], resolution) for part in range(3)
    )
    assert train is not None and val is not None
    key = content_key(train, val, test)
    shorter_side = min(images[0].shape[-2:])
    return ImageData(
        spec, key, names, train, val, test, (*file.notes, *notes), picture_side=shorter_side
    )


class ArrayFile:
    """The arrays of a file, each with the part and kind that its name says.

    Args:
        spec: The user's text.
        file: The file; None if the user named none.

    Raises:
        ConfigError: If the file is missing or damaged, or has no images to train on.
    """

    def __init__(self, spec: str, file: Path | None) -> None:
        if file is None or not os.path.isfile(file):
            raise ConfigError(
                "data", spec, "must be npz:FILE of a file that exists and can be reached"
            )
        self.spec = spec
        self.notes: list[str] = []
        name = "the file"
        try:
            with zipfile.ZipFile(_checked(file)) as archive:
                names = [each.removesuffix(".npy") for each in archive.namelist()]
                self._names = dict(sorted(self._understood(names).items()))
                _check_bytes(archive, [f"{each}.npy" for each in self._names.values()])
                self._arrays = {}
                for place, name in self._names.items():
                    self._arrays[place] = _read(archive, f"{name}.npy")
        except ConfigError:
            raise
        except Exception as error:  # damaged bytes can raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            allowed = f"must be a complete .npz file; {name}: {reason[:200]}"
            raise ConfigError("data", spec, allowed) from error

    def name(self, kind: tuple[str, ...], part: int) -> str:
        """Return the name of an array in the file."""
        return self._names[kind[0], part]

    def _understood(self, names: list[str]) -> dict[tuple[str, int], str]:
        """Return the names of the arrays that are wanted, by kind and part."""
        found: dict[tuple[str, int], str] = {}
        others = []
        for name in names:
            words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
            kinds = [kind[0] for kind in (IMAGES, LABELS) if any(word in kind for word in words)]
            parts = [part for word in words if (part := part_of(word)) is not None]
            if len(kinds) != 1 or len(kinds) + len(parts) != len(words) or len(parts) > 1:
                others.append(name)
                continue
            place = kinds[0], parts[0] if parts else 0
            if place in found:
                allowed = f"must have one array for {PARTS[place[1]]} {place[0]}"
                raise self._refused(f"{allowed}; it has {named([found[place], name])}")
            found[place] = name
        if ("images", 0) not in found:
            allowed = "must have train_images and train_labels, or images and labels"
            raise self._refused(f"{allowed}; it has {', '.join(sorted(names)) or 'nothing'}")
        for _, part in found:
            if ("labels", part) not in found:
                missing = found["images", part].replace("images", "labels").replace("x", "y")
                raise self._refused(f"must have an array {missing}")
            if ("images", part) not in found:
                raise self._refused(f"must have images for {found['labels', part]}")
        if others:
            self.notes.append(f"left out, not read: {named(others)}")
        return found

    def _refused(self, sentence: str) -> ConfigError:
        return ConfigError("data", self.spec, sentence)

    def images(self) -> dict[int, NDArray[np.uint8]]:
        """Return the images of each part, (N, C, H, W).

        Raises:
            ConfigError: If they have another shape, or levels of an unknown range.
        """
        arrays = {part: self._shaped(part) for kind, part in self._names if kind == "images"}
        for part, own in arrays.items():
            if own.shape[1:] != arrays[0].shape[1:]:
                one, first = self.name(IMAGES, part), self.name(IMAGES, 0)
                had = f"{tuple(own.shape[1:])}, {first} {tuple(arrays[0].shape[1:])}"
                raise self._refused(f"must have images of one shape; {one} has {had}")
        full = [own for own in arrays.values() if own.size]
        if all(own.dtype == np.uint8 for own in full) and max(map(np.max, full), default=2) > 1:
            return arrays
        return self._eight_bits(arrays, full)

    def _shaped(self, part: int) -> NDArray[Any]:
        array, name = self._arrays["images", part], self.name(IMAGES, part)
        had = f"it is {array.dtype} {tuple(array.shape)}"
        if array.ndim in (3, 4) and array.shape[-1] in (1, 3) and array.shape[1] in (1, 3):
            raise self._refused(f"must have {name} with sides other than 1 and 3; {had}")
        if array.ndim == 3:
            array = array[:, None]
        elif array.ndim == 4 and array.shape[1] not in (1, 3):
            array = array.transpose(0, 3, 1, 2)
        is_image = array.ndim == 4 and min(array.shape[2:]) > 0
        if not is_image or array.shape[1] not in (1, 3) or array.dtype.kind not in "buif":
            raise self._refused(f"must have {name} as numbers {SHAPES}; {had}")
        return np.ascontiguousarray(array)

    def _eight_bits(
        self, arrays: Arrays, full: list[NDArray[Any]]
    ) -> dict[int, NDArray[np.uint8]]:
        """Bring levels of all parts to 0 to 255 by one range, and note it."""
        low, high = min(float(a.min()) for a in full), max(float(a.max()) for a in full)
        first = arrays[0]
        if not (low >= 0 and high < MOST_LEVEL):  # which NaN is not either
            had = f"{self.name(IMAGES, 0)} is {first.dtype}, with levels from {low:g} to {high:g}"
            raise self._refused(f"must have grey levels from 0 to 255 or from 0 to 1; {had}")
        kind = "float" if any(own.dtype.kind == "f" for own in full) else "integer"
        if kind == "float" and not is_clear_white(high):
            raise self._refused(f"{CLEAR_WHITE}; they reach {high:g}")
        self._check_one_range(arrays)
        white = 1.0 if high <= 1 else full_level(kind, high)
        levels = f"{first.dtype} from {low:g} to {high:g}"
        self.notes.append(f"levels are {levels}, and 0 to {white:g} became 0 to 255")
        return {
            part: np.rint(own * (255 / white)).astype(np.uint8) for part, own in arrays.items()
        }

    def _check_one_range(self, arrays: Arrays) -> None:
        """Refuse a part up to 1 beside one above 1: by one range it would become black."""
        highest = {self.name(IMAGES, part): own.max() for part, own in arrays.items() if own.size}
        if len({high <= 1 for high in highest.values()}) > 1:
            had = ", ".join(f"{name} up to {high:g}" for name, high in highest.items())
            raise self._refused(f"must have levels of one range in all parts; it has {had}")

    @cached_property
    def _several(self) -> bool:
        """Whether an array of labels has a row with more than one 1."""
        arrays = [own for (kind, _), own in self._arrays.items() if kind == "labels"]
        rows = [own for own in arrays if own.ndim == 2 and own.shape[1] > 1]
        return any(own.dtype.kind in "buif" and (own.sum(1) > 1).any() for own in rows)

    def labels(self) -> Arrays:
        """Return the labels of each part, (N,): whole numbers, or text.

        They are float32 (N, labels) if images have several labels.

        Raises:
            ConfigError: If an array is something else.
        """
        return {part: self._label_array(part) for kind, part in self._names if kind == "labels"}

    def numbers(self) -> Arrays:
        """Return the labels of each part as numbers, float32 (N,).

        Raises:
            ConfigError: If an array has others than finite numbers, one for each image.
        """
        found = {part: self._number_array(part) for kind, part in self._names if kind == "labels"}
        every = np.concatenate(list(found.values()))
        if every.size:
            ends = f"from {every.min():.6g} to {every.max():.6g}"
            self.notes.append(f"the labels are numbers: {ends}")
        return found

    def _number_array(self, part: int) -> NDArray[np.float32]:
        array, name = self._arrays["labels", part], self.name(LABELS, part)
        had = f"it is {array.dtype} {tuple(array.shape)}"
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1 or array.dtype.kind not in "uif":
            raise self._refused(f"must have a number for each image in {name}; {had}")
        with np.errstate(over="ignore"):
            numbers = array.astype(np.float32)
        if len(odd := np.flatnonzero(~np.isfinite(numbers))):
            found = f"row {odd[0]} has {array[odd[0]]}"
            raise self._refused(f"must have finite numbers in {name}; {found}")
        return numbers

    def _label_array(self, part: int) -> NDArray[Any]:
        array, name = self._arrays["labels", part], self.name(LABELS, part)
        had = f"it is {array.dtype} {tuple(array.shape)}"
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 2 and array.dtype.kind in "buif":
            if not ((array == 0) | (array == 1)).all():
                other = array[(array != 0) & (array != 1)][0]
                allowed = "must have 0 or 1 for each label of each image"
                raise self._refused(f"{allowed} in {name}; {had}, with {other}")
            if self._several:
                return array.astype(np.float32)
            if len(empty := np.flatnonzero(array.sum(1) == 0)):
                allowed = "must have a 1 in each row where no row has several"
                raise self._refused(f"{allowed} in {name}; row {empty[0]} has none")
            chosen: NDArray[np.int64] = array.argmax(1)
            return chosen
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8", "replace")
        if array.dtype.kind == "f" and np.isfinite(array).all() and (array == array.round()).all():
            array = array.astype(np.int64)
        if array.ndim != 1 or array.dtype.kind not in "buiU":
            allowed = "must have whole numbers, words, or a row with one 1 for each image"
            raise self._refused(f"{allowed} in {name}; {had}")
        if array.dtype.kind == "i" and len(array) and int(array.min()) < 0:
            raise self._refused(f"must have labels from 0 in {name}; one is {int(array.min())}")
        return array

    def classes(self, labels: Arrays) -> tuple[Arrays, tuple[str, ...]]:
        """Number the labels of all parts in the order of those to train on, and name them.

        Labels of images with several stay as they are.

        Raises:
            ConfigError: If there are fewer than two, or another part has a label of its own.
        """
        kinds = {"U" if own.dtype.kind == "U" else "number" for own in labels.values()}
        if len(kinds) > 1:
            raise self._refused("must have labels of one kind in all parts; some are words")
        known = np.unique(labels[0])
        widths = {self._arrays["labels", part].shape[1:] for part in labels} - {(), (1,)}
        if len(widths) > 1:
            raise self._refused(f"must have as many classes in all parts; it has {sorted(widths)}")
        if self._several:
            if any(own.ndim == 1 for own in labels.values()):
                raise self._refused("must have rows of labels in all parts; some are numbers")
            odd = sum(int((own.sum(1) != 1).sum()) for own in labels.values())
            every = sum(map(len, labels.values()))
            self.notes.append(
                f"several labels an image: {odd:,} of {every:,} images have more than one, or none"
            )
            return labels, tuple(map(str, range(labels[0].shape[1])))
        if widths:  # rows with one 1; all their columns are classes
            known = np.arange(widths.pop()[0])
        if len(known) < 2:
            raise self._refused(f"must have labels of two classes or more; it has {len(known)}")
        for part, own in labels.items():
            if len(unknown := np.setdiff1d(own, known)):
                found = f"{PARTS[part]} has {str(unknown[0])!r}"
                raise self._refused(f"must have only labels of train in all parts; {found}")
        names = tuple(map(str, known.tolist()))
        if known.dtype.kind in "iu" and known.tolist() != list(range(len(known))):
            self.notes.append(f"the labels are {named(names, 5)}: {len(known)} classes, named so")
        return {part: np.searchsorted(known, own) for part, own in labels.items()}, names


def _checked(file: Path) -> Path:
    with open(file, "rb") as stream:
        if stream.read(6) == b"\x93NUMPY":
            raise ValueError("one array without a name")
    return file


def _check_bytes(archive: zipfile.ZipFile, names: list[str]) -> None:
    """Refuse arrays that are larger than they say, or too large for this machine."""
    entries = [each for each in archive.infolist() if each.filename in names]
    if len(entries) > len(names):
        raise ValueError("two arrays of one name")
    packed = sum(each.compress_size for each in entries)
    whole = sum(each.file_size for each in entries)
    if whole > max(HARMLESS_BYTES, MOST_GROWTH * packed):
        raise ValueError(f"made to fill the memory: {packed:,} bytes would become {whole:,}")
    room = memory_bytes()
    if whole > room:
        raise ValueError(f"arrays of {whole / 1e9:.1f} GB, and a memory of {room / 1e9:.1f} GB")


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array whose header says what the file holds; nothing is unpickled."""
    size = archive.getinfo(name).file_size
    with archive.open(name) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, kind = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"a header of version {version}")
        if kind.hasobject:
            raise ValueError("objects, which would have to be unpickled")
        count = 1
        for length in shape:
            count *= int(length)
        if min(shape, default=0) < 0 or count * kind.itemsize + stream.tell() != size:
            raise ValueError(f"{kind} {shape} in {size:,} bytes")
    with archive.open(name) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _split(
    images: dict[int, NDArray[np.uint8]], labels: Arrays, share: float | None
) -> tuple[dict[int, Part], list[str]]:
    """Return each part, and notes on images whose copy is elsewhere."""
    keys = [key for own in images.values() for key in mirror_keys(own)]
    every = np.concatenate(list(labels.values()))
    strata = every
    if every.dtype == np.float32:  # numbers, and combinations of labels, are too rare
        strata = np.zeros(len(every), np.int64)
    if every.ndim == 2:
        every = np.unique(every, axis=0, return_inverse=True)[1].ravel()
    given = np.concatenate([np.full(len(own), part, np.int8) for part, own in images.items()])
    chosen = placed(keys, strata, given, share)
    parts = {}
    for part in {*images, 1}:
        of_source = 0 if part not in images else part
        own = chosen[given == of_source] == part
        parts[part] = Part(
            torch.from_numpy(images[of_source][own]), torch.from_numpy(labels[of_source][own])
        )
    notes = []
    if left_out := int((chosen == LEFT_OUT).sum()):
        notes.append(f"left out: {counted(left_out, 'image')} whose copy is in val or test")
    if differing := contradictions(keys, every):
        notes.append(f"images with a copy of another label: {differing:,}")
    return parts, notes
