"""Understands how the folders of a data set stand for classes and parts, or refuses to guess.

Class folders are understood, parts (train, val, test) that hold class folders, and class folders
that hold parts. Each may lie in one folder more. The table is in docs/reference/data.md.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from nas_sv2.counts import counted
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.folder_tree import READ_ALREADY, Folder, Tree
from nas_sv2.evaluate.data.split import PARTS

TRAIN, VAL, TEST = range(3)
PART_NAMES = (
    ("train", "training", "trn"),
    ("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"),
    ("test", "testing", "tst", "holdout", "heldout"),
)
_AROUND = "(images?|imgs?|data|set|split|folder)*"
_PARTS = tuple(re.compile(f"{_AROUND}({'|'.join(names)}){_AROUND}") for names in PART_NAMES)
# Folders that hold pictures of any class, and those that hold what goes with pictures.
PLAIN_NAMES = frozenset(("images", "image", "imgs", "img", "jpegimages", "pictures", "pics"))
LABEL_NAMES = frozenset(
    (
        *("labels", "label", "annotations", "annotation", "masks", "mask", "groundtruth", "gt"),
        *("segmentations", "segmentation", "segmentationclass", "bboxes", "boxes", "depth"),
    )
)
# Words before a number that only counts.
COUNTED = frozenset(
    (
        *("", "part", "batch", "chunk", "shard", "split", "set", "group", "folder", "dir", "fold"),
        *("session", "seq", "sequence", "run", "day", "page", "vid", "video", "clip", "img"),
        *("image", "images", "no", "nr", "vol", "volume", "disk", "subject", "person", "user"),
    )
)
LISTS = frozenset((".csv", ".json", ".lst", ".list", ".tsv", ".txt"))

BESIDE = "an image beside the folders, which has no class"
UNLABELLED = "a test image without a class folder"
LAYOUT = "must hold class folders, or train/ and val/ with class folders"


def part_of(name: str) -> int | None:
    """Return the part that a name stands for, such as 0 for `Training_Set` or `train2017`."""
    letters = re.sub(r"[\W\d_]", "", unicodedata.normalize("NFKC", name)).casefold()
    found = [part for part, names in enumerate(_PARTS) if names.fullmatch(letters)]
    return found[0] if found else None


def part_like(name: str) -> int | None:
    """Return the part whose name begins or ends a name, such as 0 for `train_old`."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    found = [part for word in (*words[:1], *words[-1:]) if (part := part_of(word)) is not None]
    return found[0] if found else None


def same_name(name: str) -> str:
    """Return a name in one Unicode form, as systems store accents in two ways."""
    return unicodedata.normalize("NFC", name)


def named(names: Iterable[str], most: int = 3) -> str:
    """Return the first names in quotes, and the number of the others."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(map(repr, every[:most])) + more


@dataclass(eq=False)
class Layout:
    """Folders whose classes and parts are understood.

    Attributes:
        folders: Folders by part, then by class.
        notes: Lines on how they were understood.
    """

    folders: dict[int, dict[str, Folder]]
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return tuple(sorted(self.folders[TRAIN]))


def understand(spec: str, tree: Tree) -> Layout:
    """Find the classes and parts of a data set, and note images without a class in `tree`.

    Raises:
        ConfigError: If the layout is not understood; says what was found.
    """
    layout = _Reader(spec, tree).layout()
    _check_classes(spec, layout)
    return layout


@dataclass(eq=False)
class _Reader:
    """Reads the layout of one tree."""

    spec: str
    tree: Tree
    notes: list[str] = field(default_factory=list)

    def refuse(self, found: str) -> ConfigError:
        return ConfigError("data", self.spec, f"{LAYOUT}; {found}")

    def layout(self) -> Layout:
        top = self.unwrapped(self.tree.top)
        parts = [each for each in top.folders if part_of(each.name) is not None]
        others = [each for each in top.filled if part_of(each.name) is None]
        if parts and others:
            raise self.refuse(
                f"{named(each.name for each in parts)} would be a part, but "
                f"{named(each.name for each in others)} beside it has images too; "
                "move or rename one of them"
            )
        if parts:
            folders = self.of_parts(top, parts)
        elif top.filled and all(map(_holds_parts, top.filled)):
            folders = self.inside_classes(top)
        else:
            self.check_names(top)
            folders = {TRAIN: self.classes_in(top)}
        if VAL not in folders:
            self.check_lists(folders, {part_of(each.name) for each in parts})
        return Layout(folders, self.notes)

    def unwrapped(self, folder: Folder, classes: Iterable[str] = ()) -> Folder:
        """Go into the only folder with images, as long as it holds nothing but folders."""
        while len(folder.filled) == 1 and not folder.images:
            only = folder.filled[0]
            empty = any(each.is_empty for each in folder.folders)
            known = part_of(only.name) is not None and not classes
            if not only.filled or empty or known or same_name(only.name) in classes:
                break
            if only.images or (_holds_parts(only) and folder is not self.tree.top):
                break
            self.notes.append(f"read in its only folder with images, {only.path!r}")
            folder = only
        return folder

    def of_parts(self, top: Folder, parts: Sequence[Folder]) -> dict[int, dict[str, Folder]]:
        """Read parts that hold class folders."""
        by_part: dict[int, Folder] = {}
        for each in parts:
            part = part_of(each.name)
            assert part is not None
            if part in by_part:
                both = f"{by_part[part].name!r} and {each.name!r}"
                raise self.refuse(f"{both} are both a name of the {PARTS[part]} part")
            by_part[part] = each
        if TRAIN not in by_part:
            raise self.refuse(f"it has {named(each.name for each in parts)}, and no train/")
        self.leave_out(BESIDE, top)
        folders: dict[int, dict[str, Folder]] = {}
        for part in sorted(by_part):
            own, known = by_part[part], folders.get(TRAIN, {})
            if part == TEST and own.images and not own.filled:
                self.leave_out(UNLABELLED, own)
            elif part == TEST and own.is_empty:
                self.notes.append(f"the folder {own.path!r} is empty")
            else:
                folders[part] = self.classes_in(self.unwrapped(own, ["", *known]))
            if own.name != PARTS[part]:
                self.notes.append(f"{own.path!r} is read as the {PARTS[part]} part")
        return folders

    def inside_classes(self, top: Folder) -> dict[int, dict[str, Folder]]:
        """Read class folders that hold parts."""
        self.leave_out(BESIDE, top)
        folders: dict[int, dict[str, Folder]] = {TRAIN: {}}
        for each in top.folders:
            for part, own in self.parts_in(each).items():
                folders.setdefault(part, {})[self.once(folders.get(part, {}), each)] = own
            folders[TRAIN].setdefault(same_name(each.name), Folder(each.path))
        self.notes.append("each class folder holds the parts, such as CLASS/train")
        return folders

    def parts_in(self, folder: Folder) -> dict[int, Folder]:
        found: dict[int, Folder] = {}
        for each in folder.folders:
            part = part_of(each.name)
            if part in found:
                raise self.refuse(f"{each.path!r} is not the only {PARTS[part]} part there")
            if part is not None:
                found[part] = each
        return found

    def classes_in(self, folder: Folder) -> dict[str, Folder]:
        """Read class folders, by name."""
        where = f"{folder.path!r}" if folder.path else "it"
        if folder.images and not folder.filled:
            raise self.refuse(
                f"{where} has {counted(len(folder.images), 'image')} and no class folders; "
                f"labels in a table are read by csv:FILE{self.a_table}"
            )
        if not folder.folders:
            raise self.refuse(f"{where} has no class folders{self.links_in(folder)}")
        self.leave_out(BESIDE, folder)
        classes: dict[str, Folder] = {}
        for each in folder.folders:
            classes[self.once(classes, each)] = each
        self.check_plain(folder)
        self.check_nested(list(classes.values()))
        return classes

    def once(self, classes: dict[str, Folder], folder: Folder) -> str:
        """Return the name of a class folder, which no other may have in another Unicode form."""
        name = same_name(folder.name)
        if name in classes:
            raise self.refuse(f"{name!r} is there twice, in two Unicode forms; merge the folders")
        return name

    def leave_out(self, reason: str, folder: Folder) -> None:
        if folder.images:
            self.tree.left_out[reason] += [each.name for each in folder.images]

    @property
    def a_table(self) -> str:
        tables = [
            name
            for names in self.tree.left_out.values()
            for name in names
            if PurePath(name).suffix.lower() in (".csv", ".tsv")
        ]
        return f", such as csv:{self.tree.root / min(tables)}" if tables else ""

    def links_in(self, folder: Folder) -> str:
        inside = [
            name for name in self.tree.left_out[READ_ALREADY] if name.startswith(folder.path)
        ]
        return f"; {named(inside)} is {READ_ALREADY}" if inside else ""

    def check_names(self, top: Folder) -> None:
        """Refuse folders that are parts, and no classes, by all that can be seen."""
        names = [each.name for each in top.folders]
        parts = [part_like(name) for name in names]
        like = [name for name, part in zip(names, parts, strict=True) if part is not None]
        if len(like) > 1 and (len(like) == len(names) or len({*parts} - {None}) > 1):
            raise self.refuse(
                f"{named(like)} look like parts, but the names are not known; "
                "call them train, val and test"
            )

    def check_plain(self, folder: Folder) -> None:
        """Refuse folders of images and labels."""
        names = {_letters(each.name): each.name for each in folder.folders}
        plain, labels = names.keys() & PLAIN_NAMES, names.keys() & LABEL_NAMES
        if (plain and len(names) > 1) or len(labels) > 1:
            found = named(names[each] for each in sorted(plain | labels))
            raise self.refuse(
                f"{found} are no classes but a layout for detection or segmentation, "
                "which is not read"
            )

    def check_nested(self, classes: Sequence[Folder]) -> None:
        """Refuse folders in class folders that may be the classes themselves."""
        inner = [below for each in classes for below in each.filled]
        times = Counter(same_name(each.name) for each in inner)
        shared = sorted(name for name, count in times.items() if count > 1)
        # Numbers divide the images of a named class; numbered folders may be folds or people.
        divided = all(map(_is_numbered, shared)) and not all(_is_numbered(c.name) for c in classes)
        if shared and len(times) > 1 and not divided:
            both = [each.name for each in classes if shared[0] in map(_name, each.filled)]
            raise self.refuse(
                f"{named(both)} each have {named(shared)}, and either could be the classes; "
                "move the images up into their class folder, or name them in csv:FILE"
            )
        odd = [
            each.path
            for each in inner
            if part_of(each.name) is not None or _letters(each.name) in LABEL_NAMES
        ]
        if odd:
            raise self.refuse(f"{named(odd)} in a class folder is no part of a class")
        if inner:
            paths = named(each.path for each in inner)
            self.notes.append(f"images in {paths} count for the class folder above")

    def check_lists(self, folders: dict[int, dict[str, Folder]], parts: set[int | None]) -> None:
        """Refuse lists of a split, where ours would be made in place of it."""
        inside = tuple(
            f"{own.path}/" for part in folders.values() for own in part.values() if own.count
        )
        lists = sorted(  # one of train alone is no split
            name
            for names in self.tree.left_out.values()
            for name in names
            if PurePath(name).suffix.lower() in LISTS
            and part_like(PurePath(name).stem) not in (None, *folders, *parts)
            and not name.startswith(inside)
            and not any(piece[0] == "." for piece in PurePath(name).parts)
        )
        if lists:
            raise self.refuse(
                f"{named(lists)} may list a split, and is not read; make a table with a column "
                "split for csv:FILE, or remove the lists for a split by content"
            )


def _name(folder: Folder) -> str:
    return same_name(folder.name)


def _is_numbered(name: str) -> bool:
    """Whether a name counts, such as `001`, `part_2` or `2024-05-03`."""
    letters = re.sub(r"[\W\d_]", "", name).lower()
    return any(map(str.isdigit, name)) and letters in COUNTED


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _holds_parts(folder: Folder) -> bool:
    """Whether a folder with images has nothing but parts, with the images directly in them."""
    return (
        not folder.images
        and bool(folder.filled)
        and all(part_of(each.name) is not None and not each.filled for each in folder.filled)
    )


def _check_classes(spec: str, layout: Layout) -> None:
    """Refuse fewer than two classes, and classes that training never sees."""
    classes = layout.classes
    if len(classes) < 2:
        found = f": {named(classes)}" if classes else ""
        allowed = "must be a folder with a sub-folder for each of two classes or more; "
        raise ConfigError("data", spec, f"{allowed}it has {len(classes)}{found}")
    for part in (VAL, TEST):
        own = layout.folders.get(part, {})
        unknown = [name for name, folder in own.items() if folder.count and name not in classes]
        if unknown:
            like = {alike(name): name for name in classes}.get(alike(unknown[0]))
            hint = f" (train has {like!r})" if like else ""
            allowed = f"must have only classes of train in {PARTS[part]}; "
            raise ConfigError("data", spec, f"{allowed}{unknown[0]!r} is not one{hint}")
    layout.notes += alike_notes(classes)


def alike(name: str) -> str:
    """Return a name without case, spaces and the like, to find names that differ by chance."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name).casefold())


def alike_notes(classes: Iterable[str]) -> list[str]:
    """Return a line for classes whose names differ in case or spaces alone."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(alike(name) or name, []).append(name)
    return [
        f"{named(names)} are different classes, though their names are alike"
        for names in groups.values()
        if len(names) > 1
    ]
