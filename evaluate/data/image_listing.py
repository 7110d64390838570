"""Lists a folder of images: classes, parts and files, before any file is decoded.

`imagefolder:PATH` reads `PATH/train/CLASS/*`, `PATH/val/CLASS/*` and, if there is one,
`PATH/test/CLASS/*`. Without `val`, validation images are split off the training images. Without
`train`, the classes are folders of PATH itself.

`imagenet:PATH` needs `PATH/train/CLASS/*` and `PATH/val/CLASS/*`. Results are published on
ImageNet's official validation set, so this is the untouched test part, and validation images are
split off train. If `PATH/test` has folders of classes, it is the test part instead, and `PATH/val`
the validation part.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.split import PARTS

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
LAYOUTS = ("imagefolder", "imagenet")
VAL_SHARE = 0.2
IMAGENET_VAL_SHARE = 0.04  # about 50 of 1,300 images per class, as in the official validation set


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file of a data set.

    Attributes:
        name: Path below the root, with `/`.
        label: Number of the class.
        part: Part of the source: 0 train, 1 val, 2 test.
        size: Size in bytes; -1 if it is not a regular file.
        changed_ns: Modification time, in ns.
    """

    name: str
    label: int
    part: int
    size: int
    changed_ns: int


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of a data set, in an order that depends on their names only.

    Attributes:
        spec: The user's text.
        layout: One of `LAYOUTS`.
        root: Absolute path of the folder.
        class_names: Names of the classes, in the order of the labels.
        files: Files, part after part and class after class.
        val_share: Share of train to split off as val; None if the folder has a val part.
        has_test: Whether there is a test part.
    """

    spec: str
    layout: str
    root: Path
    class_names: tuple[str, ...]
    files: tuple[ImageFile, ...]
    val_share: float | None
    has_test: bool

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)


def list_images(spec: str) -> Listing:
    """List the files that `imagefolder:PATH` or `imagenet:PATH` names.

    Raises:
        ConfigError: If the folder is missing or cannot be read, or has fewer than two classes.
    """
    layout, _, where = spec.partition(":")
    root = Path(where).expanduser()
    if not where or not root.is_dir():
        raise ConfigError("data", spec, f"must be {layout}:PATH of a folder that exists")
    root = root.resolve()
    folders = (_imagenet if layout == "imagenet" else _image_folder)(spec, root)
    names = _classes(spec, folders[0])
    files = tuple(
        file
        for part, folder in folders.items()
        for file in _files(spec, root, folder, part, names)
    )
    share = IMAGENET_VAL_SHARE if layout == "imagenet" else VAL_SHARE
    return Listing(spec, layout, root, names, files, None if 1 in folders else share, 2 in folders)


def _image_folder(spec: str, root: Path) -> dict[int, Path]:
    """Return the folder of each part."""
    if not (root / "train").is_dir():
        return {0: root}
    return {part: root / name for part, name in enumerate(PARTS) if (root / name).is_dir()}


def _imagenet(spec: str, root: Path) -> dict[int, Path]:
    train, val, test = (root / name for name in PARTS)
    if not train.is_dir() or not val.is_dir():
        raise ConfigError(
            "data",
            spec,
            "must name a folder with train/ and val/, which hold a folder for each class",
        )
    if not any(entry.is_dir() for entry in val.iterdir()):
        allowed = (
            "must have a folder for each class in val/; it has none (are its "
            "images not sorted yet?)"
        )
        raise ConfigError("data", spec, allowed)
    # The official test set has no labels, and thus no folders of classes; it is ignored.
    if test.is_dir() and any(entry.is_dir() for entry in test.iterdir()):
        return {0: train, 1: val, 2: test}
    return {0: train, 2: val}


def _classes(spec: str, folder: Path) -> tuple[str, ...]:
    try:
        names = sorted(
            entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
        )
    except OSError as error:
        raise ConfigError("data", spec, f"must be a folder that can be read ({error})") from error
    if len(names) < 2:
        allowed = (
            "must be a folder with a sub-folder for each of two classes or more; "
            f"it has {len(names)}"
        )
        raise ConfigError("data", spec, allowed)
    return tuple(names)


def _files(
    spec: str, root: Path, folder: Path, part: int, names: tuple[str, ...]
) -> Iterator[ImageFile]:
    def refuse(error: OSError) -> NoReturn:
        raise ConfigError("data", spec, f"must be folders that can be read ({error})") from error

    unknown = set(_classes(spec, folder)) - set(names)
    if unknown:
        raise ConfigError(
            "data", spec, f"must have only classes of train in val; {min(unknown)!r} is not one"
        )
    for label, name in enumerate(names):
        for parent, _, files in sorted(os.walk(folder / name, onerror=refuse)):
            for file in sorted(files):
                if file[0] != "." and os.path.splitext(file)[1].lower() in SUFFIXES:
                    path = os.path.join(parent, file)
                    below = Path(path).relative_to(root).as_posix()
                    yield ImageFile(below, label, part, *_facts(path))


def _facts(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError:  # a broken link, which decoding reports
        return -1, 0
    return (facts.st_size if stat.S_ISREG(facts.st_mode) else -1), facts.st_mtime_ns
