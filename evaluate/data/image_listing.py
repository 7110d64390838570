"""Lists the files of a data set: classes, parts and files, before any file is decoded.

`imagefolder:PATH` reads a folder, as `layouts` understands it. Without a part `val`, validation
images are split off the training images.

`imagenet:PATH` needs the parts `train` and `val`. Results are published on ImageNet's official
validation set, so this is the untouched test part, and validation images are split off train. If
the part `test` has class folders, it is the test part instead, and `val` the validation part.

`csv:FILE` reads a table, as `label_table` understands it.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas_sv2.counts import counted
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.decoding import FITS
from nas_sv2.evaluate.data.folder_tree import SAME_FILE, Folder, Found, Tree, walk
from nas_sv2.evaluate.data.label_table import LabelTable, read_table
from nas_sv2.evaluate.data.layouts import TEST, TRAIN, VAL, Layout, named, understand
from nas_sv2.evaluate.recipes.scores import LabelKind

LAYOUTS = ("imagefolder", "imagenet", "csv")
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
        fit: How a picture takes the shape of the images: one of `decoding.FITS`.
        root: Absolute path of the folder, or of the table.
        folder: Absolute path of the folder below which the names lie.
        class_names: Names of the classes, in the order of the labels.
        files: Files, part after part and class after class.
        val_share: Share of train to split off as val; None if there is a val part.
        has_test: Whether there is a test part.
        notes: Lines on how the source was understood and on the files that were left out.
        several: Names of the labels of images with several, whose classes are rows of 0 and 1;
            empty if each image has one class.
        number: Name of the number that each image has, whose classes are the numbers as text;
            empty if labels are not numbers.
    """

    spec: str
    layout: str
    fit: str
    root: Path
    folder: Path
    class_names: tuple[str, ...]
    files: tuple[ImageFile, ...]
    val_share: float | None
    has_test: bool
    notes: tuple[str, ...]
    several: tuple[str, ...] = ()
    number: str = ""

    @property
    def kind(self) -> LabelKind:
        """The kind of the labels."""
        return "labels" if self.several else "numbers" if self.number else "classes"

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)


def read_spec(spec: str) -> tuple[str, str, str]:
    """Split a spec such as `imagefolder+pad:PATH` into layout, fit and path.

    Raises:
        ConfigError: If `decoding.FITS` lacks the fit, or nothing follows the colon.
    """
    name, colon, where = spec.partition(":")
    if colon and not where and name != "animals":  # which takes no place
        raise ConfigError("data", spec, "must have a folder or a file after the colon")
    layout, plus, fit = name.partition("+")
    if layout in LAYOUTS and plus and fit not in FITS:
        raise ConfigError("data", spec, f"must have one of {', '.join(FITS)} after the +")
    return layout, fit or FITS[0], where


def with_fit(spec: str, fit: str | None) -> str:
    """Return a spec that says how its pictures are fitted; None leaves it as it is.

    Raises:
        ConfigError: If there is no such fit, the spec says another, or its images are squares.
    """
    if fit is None:
        return spec
    if fit not in FITS:
        raise ConfigError("fit", fit, f"must be one of {', '.join(FITS)}")
    layout, own, where = read_spec(spec)
    if layout not in LAYOUTS:
        raise ConfigError("fit", fit, f"must be left out: the images of {spec} are squares")
    if spec.startswith(f"{layout}+") and own != fit:
        raise ConfigError("fit", fit, f"must be {own}, as data says, or be left out")
    return f"{layout}:{where}" if fit == FITS[0] else f"{layout}+{fit}:{where}"


def adopt_fit(spec: str, fit: str) -> str:
    """Return a spec with the fit of images that were seen before, if its own images need one.

    Raises:
        ConfigError: If the spec says another.
    """
    layout, own, _ = read_spec(spec)
    if layout not in LAYOUTS:
        return spec
    if spec.startswith(f"{layout}+") and own != fit:
        raise ConfigError("data", spec, f"must be {layout}+{fit}, as the pictures were trained on")
    return with_fit(spec, fit)


def check_layout(spec: str, numbers: bool) -> None:
    """Refuse a data set whose labels cannot be read as numbers, where they are to be.

    Raises:
        ConfigError: It is neither a table nor a file of arrays.
    """
    if numbers and read_spec(spec)[0] not in ("csv", "npz"):
        allowed = "must be csv:FILE or npz:FILE with the score mae, whose labels are numbers"
        raise ConfigError("data", spec, allowed)


def list_images(spec: str, numbers: bool = False) -> Listing:
    """List the files that `imagefolder:PATH`, `imagenet:PATH` or `csv:FILE` names.

    Args:
        spec: The user's text.
        numbers: Whether the labels of a table are numbers.

    Raises:
        ConfigError: If the folder or file is missing or cannot be read, or is not understood.
    """
    layout, fit, where = read_spec(spec)
    root = Path(os.path.realpath(os.path.expanduser(where)))
    if layout == "csv":
        return _of_table(spec, fit, read_table(spec, root, numbers))
    if not where or not os.path.isdir(root):
        raise ConfigError(
            "data", spec, f"must be {layout}:PATH of a folder that exists and can be reached"
        )
    tree = walk(spec, root)
    found = understand(spec, tree)
    if layout == "imagenet":
        found = _as_published(spec, found)
    files = tuple(_files(tree, found))
    if not files:
        allowed = f"must have images; the folders of classes, {named(found.classes)}, have none"
        raise ConfigError("data", spec, allowed)
    share = IMAGENET_VAL_SHARE if layout == "imagenet" else VAL_SHARE
    return Listing(
        spec=spec,
        layout=layout,
        fit=fit,
        root=tree.root,
        folder=tree.root,
        class_names=found.classes,
        files=files,
        val_share=None if VAL in found.folders else share,
        has_test=TEST in found.folders,
        notes=(*found.notes, *_links(tree), *left_out_lines(tree.left_out)),
    )


def _of_table(spec: str, fit: str, table: LabelTable) -> Listing:
    number = {name: label for label, name in enumerate(table.classes)}
    folder, rows = table.file.parent, [(row, row.part or TRAIN) for row in table.rows]
    rows.sort(key=lambda each: (each[1], number[each[0].label], each[0].name))
    files = tuple(
        ImageFile(row.name, number[row.label], part, *_facts(folder / row.name))
        for row, part in rows
    )
    if all(file.size < 0 for file in files):
        allowed = f"must name files relative to its folder, {folder}"
        raise ConfigError(
            "data", spec, f"{allowed}; none of them is there, {files[0].name!r} first"
        )
    parts = {part for _, part in rows}
    return Listing(
        spec=spec,
        layout="csv",
        fit=fit,
        root=table.file,
        folder=folder,
        class_names=table.classes,
        files=files,
        val_share=None if VAL in parts else VAL_SHARE,
        has_test=TEST in parts,
        notes=(*table.notes, *left_out_lines(table.left_out)),
        several=table.several,
        number=table.number,
    )


def _facts(file: Path) -> tuple[int, int]:
    """Return size and modification time; -1 for a file that is missing, or not a regular one."""
    try:
        facts = os.stat(file)
    except (OSError, ValueError):
        return -1, 0
    return (facts.st_size if stat.S_ISREG(facts.st_mode) else -1), facts.st_mtime_ns


def left_out_lines(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each reason to leave files out, with their number and first names."""
    return [
        f"left out, {counted(len(names), 'file')}: {reason} ({named(sorted(names))})"
        for reason, names in sorted(left_out.items())
        if names
    ]


def _as_published(spec: str, layout: Layout) -> Layout:
    if VAL not in layout.folders:
        allowed = "must name a folder with train/ and val/, which hold a folder for each class"
        raise ConfigError("data", spec, allowed)
    if TEST in layout.folders:
        return layout
    train, val = layout.folders[TRAIN], layout.folders[VAL]
    return replace(layout, folders={TRAIN: train, TEST: val})


def _links(tree: Tree) -> list[str]:
    if not tree.outside:
        return []
    count = len(tree.outside)
    links = "1 link that leads" if count == 1 else f"{count:,} links that lead"
    return [f"followed, {links} out of the folder ({named(sorted(tree.outside))})"]


def _files(tree: Tree, layout: Layout) -> Iterator[ImageFile]:
    for part, folders in sorted(layout.folders.items()):
        for label, name in enumerate(layout.classes):
            if name in folders:
                for file in _once(tree, folders[name]):
                    yield ImageFile(file.name, label, part, file.size, file.changed_ns)


def _once(tree: Tree, folder: Folder) -> list[Found]:
    """Return the images of a class, each file under the first of its names."""
    kept: list[Found] = []
    seen: set[tuple[int, int]] = set()
    for file in sorted(folder.every_image(), key=lambda file: file.place):
        if file.identity in seen:
            tree.left_out[SAME_FILE].append(file.name)
            continue
        if file.identity is not None:
            seen.add(file.identity)
        kept.append(file)
    return kept
