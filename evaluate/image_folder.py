"""A user's own images: a folder with one sub-folder a class, whole or already split.

`PATH/train/CLASS/*` with `PATH/val/CLASS/*` (and perhaps `PATH/test/CLASS/*`) is taken as it is;
where there is no `val`, it is carved from the training images; where there is no `train` either,
the classes lie in PATH itself.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.decoding import Unreadable, decode
from nas_sv2.evaluate.image_data import ImageData, Part, content_key
from nas_sv2.evaluate.split import carve, mirror_keys

SIDE = (
    32  # as CIFAR and ImageNet-32: photographs are told apart, a search stays a matter of minutes
)
VAL_SHARE = 0.2
NAMED = 5  # how many unreadable files a message names
SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


def open_image_folder(
    spec: str, where: str, resolution: int | None, skip_unreadable: bool
) -> ImageData:
    """The images under the folder `where`.

    They are grey if all of them are, else RGB.

    Args:
        spec: What the user typed.
        where: The folder.
        resolution: Side of the images, pixels; None for `SIDE`.
        skip_unreadable: Leave out what cannot be decoded, and say so in the notes.

    Raises:
        ConfigError: No such folder, fewer than two classes, no images, or unreadable ones.
    """
    root = Path(where).expanduser()
    if not where or not root.is_dir():
        raise ConfigError("--data", spec, "imagefolder:PATH with a folder that exists")
    names = _classes(spec, root / "train" if (root / "train").is_dir() else root)
    listings = {
        part: _listing(spec, folder, names)
        for part in ("train", "val", "test")
        if (folder := root / part).is_dir()
    }
    if "train" not in listings:
        listings = {"train": _listing(spec, root, names)}
    side = resolution or SIDE
    read = {part: _read(root, listing, side) for part, listing in listings.items()}
    faults = [fault for one in read.values() for fault in one.faults]
    total = sum(map(len, listings.values()))
    if faults and not skip_unreadable:
        allowed = f"images that can be read, or --skip-unreadable; {_told(faults, total)}"
        raise ConfigError("--data", spec, allowed)
    notes = [f"skipped: {_told(faults, total)}"] if faults else []
    channels = max((len(image) for one in read.values() for image in one.images), default=1)
    parts = {part: one.tensors(channels, side) for part, one in read.items()}
    if "val" not in parts:
        parts |= _carved(parts["train"])
        notes.append(f"validation is {VAL_SHARE:.0%} of the training images, chosen by content")
    for part, images in parts.items():
        if not len(images):
            raise ConfigError("--data", spec, f"a folder with {part} images; there are none")
    train, val, test = parts["train"], parts["val"], parts.get("test")
    empty = [name for label, name in enumerate(names) if not (train.labels == label).any()]
    if empty:
        raise ConfigError("--data", spec, f"training images of every class; {empty[0]!r} has none")
    notes.append(f"{len(train):,} train, {len(val):,} val, brought to {side}×{side}")
    key = content_key(train, val, test)
    return ImageData(spec, key, names, train, val, test, tuple(notes))


def _classes(spec: str, folder: Path) -> tuple[str, ...]:
    try:
        names = sorted(
            entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
        )
    except OSError as error:
        raise ConfigError("--data", spec, f"a folder that can be read ({error})") from error
    if len(names) < 2:
        allowed = (
            f"a folder with a sub-folder for each of two classes or more; it has {len(names)}"
        )
        raise ConfigError("--data", spec, allowed)
    return tuple(names)


def _listing(spec: str, folder: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Files and labels, in an order that depends on names only."""
    unknown = set(_classes(spec, folder)) - set(names)
    if unknown:
        raise ConfigError("--data", spec, f"only classes of train; {min(unknown)!r} is not one")
    return [
        (Path(parent, file), label)
        for label, name in enumerate(names)
        for parent, folders, files in sorted(os.walk(folder / name))
        for file in sorted(files)
        if Path(file).suffix.lower() in SUFFIXES and file[0] != "."
    ]


@dataclass(frozen=True, slots=True)
class _Read:
    """What was in the files of one part."""

    images: list[NDArray[np.uint8]]
    labels: list[int]
    faults: list[tuple[str, str]]

    def tensors(self, channels: int, side: int) -> Part:
        stacked = np.empty((len(self.images), channels, side, side), np.uint8)
        for slot, image in zip(stacked, self.images, strict=True):
            slot[:] = image  # a grey image fills all channels
        return Part(torch.from_numpy(stacked), torch.tensor(self.labels, dtype=torch.int64))


def _read(root: Path, listing: list[tuple[Path, int]], side: int) -> _Read:
    read = _Read([], [], [])
    for file, label in listing:
        try:
            read.images.append(decode(file, side))
            read.labels.append(label)
        except Unreadable as fault:
            read.faults.append((file.relative_to(root).as_posix(), str(fault)))
    return read


def _told(faults: list[tuple[str, str]], total: int) -> str:
    """`2 of 40 images cannot be read: 'cat/a.png' (reason), ...`, on one line."""
    named = ", ".join(f"{name!r} ({reason})" for name, reason in faults[:NAMED])
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return f"{len(faults)} of {total} images cannot be read: {named}{more}"


def _carved(part: Part) -> dict[str, Part]:
    sides = carve(mirror_keys(part.images.numpy()), part.labels.numpy(), VAL_SHARE)
    train, val = (Part(part.images[index], part.labels[index]) for index in sides)
    return {"train": train, "val": val}
