"""Walks a folder of images: every file is found once, or left out with a reason.

Links are followed once. A file is an image by its ending, or else by its first bytes. Decoding
shows whether an ending is right.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.file_kinds import is_image, kind_of

ENDINGS = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
# Names that systems, network disks and programs to look at pictures leave behind, in lower case.
SYSTEM = frozenset(
    (
        *("__macosx", "icon\r", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle"),
        *(
            "#snapshot",
            "~snapshot",
            "@__thumb",
            "lost+found",
            "$recycle.bin",
            "system volume information",
            "__pycache__",
        ),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini"),
    )
)
DEEPEST = 50  # folders within folders; deeper ones are no data set, and could exhaust the stack

HIDDEN = "hidden, or of the system"
BROKEN = "a link to nothing"
READ_ALREADY = "a link to a folder that is read already"
SAME_FILE = "the same file under another name"
NO_FILE = "no regular file"


@dataclass(frozen=True, slots=True)
class Found:
    """An image file.

    Attributes:
        name: Path below the root, with `/`.
        size: Size in bytes; -1 if it is not a regular file.
        changed_ns: Modification time, in ns.
        identity: Device and number of the file, equal for all its names; None if it is missing.
    """

    name: str
    size: int
    changed_ns: int
    identity: tuple[int, int] | None

    @property
    def place(self) -> tuple[str, str]:
        """Folder and name, by which files are ordered."""
        return os.path.split(self.name)


@dataclass(eq=False)
class Folder:
    """A folder with its images.

    Attributes:
        path: Path below the root, with `/`; empty for the root.
        folders: The folders in it, by name.
        images: The images directly in it.
        others: Number of other files directly in it.
    """

    path: str
    folders: list["Folder"] = field(default_factory=list)
    images: list[Found] = field(default_factory=list)
    others: int = 0

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    @cached_property
    def count(self) -> int:
        """Number of images in it and below."""
        return len(self.images) + sum(each.count for each in self.folders)

    @cached_property
    def filled(self) -> list["Folder"]:
        """The folders in it that have images, in them or below."""
        return [each for each in self.folders if each.count]

    @property
    def is_empty(self) -> bool:
        """Whether no file is in it or below."""
        return not (self.count or self.others or any(not each.is_empty for each in self.folders))

    def every_image(self) -> Iterator[Found]:
        """Yield the images in it and below."""
        yield from self.images
        for each in self.folders:
            yield from each.every_image()


@dataclass(eq=False)
class Tree:
    """A folder of images, walked.

    Attributes:
        root: Absolute path of the folder.
        top: The folder.
        left_out: Names of the other files, by reason.
        outside: Links to files or folders that lie elsewhere, which were followed.
    """

    root: Path
    top: Folder
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    outside: list[str] = field(default_factory=list)


def walk(spec: str, root: Path) -> Tree:
    """Find every file below `root`, an absolute path without links.

    Raises:
        ConfigError: If a folder cannot be read, or folders are nested too deep.
    """
    try:
        return _Walk(Tree(root, Folder(""))).tree
    except OSError as error:
        raise ConfigError("data", spec, f"must be folders that can be read ({error})") from error
    except RecursionError:
        allowed = f"must be folders of folders, at most {DEEPEST} deep"
        raise ConfigError("data", spec, allowed) from None


class _Walk:
    """One walk; folders behind links come last, as a folder is read under its own name first."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.seen: set[tuple[int, int]] = set()
        self.links: list[tuple[Folder, str]] = []
        self._read(tree.top)
        while self.links:
            parent, name = self.links.pop(0)
            self._follow(parent, name)

    def _read(self, folder: Folder) -> None:
        if folder.path.count("/") > DEEPEST:
            raise RecursionError
        place = os.path.join(self.tree.root, folder.path)
        facts = os.stat(place)
        self.seen.add((facts.st_dev, facts.st_ino))
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                self._take(folder, entry)
        folder.folders.sort(key=lambda each: each.name)

    def _take(self, folder: Folder, entry: os.DirEntry[str]) -> None:
        path = f"{folder.path}/{entry.name}".lstrip("/")
        if entry.name[0] == "." or entry.name.lower() in SYSTEM:
            self.tree.left_out[HIDDEN] += _files_below(self.tree.root, path)
        elif entry.is_symlink() and os.path.isdir(entry.path):
            self.links.append((folder, entry.name))
        elif entry.is_dir(follow_symlinks=False):
            below = Folder(path)
            folder.folders.append(below)
            self._read(below)
        else:
            self._take_file(folder, path, entry)

    def _take_file(self, folder: Folder, path: str, entry: os.DirEntry[str]) -> None:
        ends_as_image = os.path.splitext(entry.name)[1].lower() in ENDINGS
        try:
            facts = entry.stat()
        except OSError:  # a link to nothing, or to itself
            if ends_as_image:  # decoding reports it
                folder.images.append(Found(path, -1, 0, None))
            else:
                self._leave_out(folder, path, BROKEN)
            return
        is_file = stat.S_ISREG(facts.st_mode)
        if not ends_as_image:
            kind = kind_of(Path(entry.path)) if is_file else NO_FILE
            if not is_image(kind):
                self._leave_out(folder, path, kind)
                return
        if entry.is_symlink():
            self._note_outside(path)
        size, identity = facts.st_size if is_file else -1, (facts.st_dev, facts.st_ino)
        folder.images.append(Found(path, size, facts.st_mtime_ns, identity))

    def _leave_out(self, folder: Folder, path: str, reason: str) -> None:
        folder.others += 1
        self.tree.left_out[reason].append(path)

    def _follow(self, parent: Folder, name: str) -> None:
        path = f"{parent.path}/{name}".lstrip("/")
        target = Path(os.path.realpath(os.path.join(self.tree.root, path)))
        facts = os.stat(target)
        if (facts.st_dev, facts.st_ino) in self.seen or target in self.tree.root.parents:
            self._leave_out(parent, path, READ_ALREADY)
            return
        self._note_outside(path)
        below = Folder(path)
        parent.folders.append(below)
        self._read(below)
        parent.folders.sort(key=lambda each: each.name)

    def _note_outside(self, path: str) -> None:
        target = os.path.realpath(os.path.join(self.tree.root, path))
        if not Path(target).is_relative_to(self.tree.root):
            self.tree.outside.append(path)


def _files_below(root: Path, path: str) -> list[str]:
    """Return the names of the files below a path, or the path itself if it is a file."""
    place = root / path
    if place.is_symlink() or not place.is_dir():
        return [path]
    return [
        os.path.relpath(os.path.join(parent, file), root)
        for parent, _, files in os.walk(place)
        for file in files
    ]
