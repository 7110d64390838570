"""A cache of decoded folders of images: memory-mapped uint8 pixels in the user's cache directory.

The name of a cache's folder is a hash. It covers layout, root, side, fit, decoder, and each file's
relative path, size and modification time. Hashes of the files' bytes would also detect a change
that keeps size and time. They would take a reading of the whole set (150 GB for ImageNet) at each
opening; a listing takes seconds.

Decoding writes chunks (`chunk_decoding`). When all are written, their rows are appended in order
to one file per part. Each chunk is removed once its rows are on disk. A process that was killed
can resume at any point, and the disk never holds the set twice.
"""

import dataclasses
import errno
import hashlib
import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from nas_sv2.database.locks import POLL_S, FileLock
from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data.chunk_decoding import (
    CHUNK,
    ChunkReport,
    Decoding,
    Progress,
    highest_levels,
    pixel_file,
)
from nas_sv2.evaluate.data.decoding import DECODING
from nas_sv2.evaluate.data.image_data import Part, content_key
from nas_sv2.evaluate.data.image_listing import Listing
from nas_sv2.evaluate.data.split import LEFT_OUT, PARTS, contradictions, placed
from nas_sv2.files import bytes_below, write_whole
from nas_sv2.resolution import Resolution, height_and_width, in_pixels, read_resolution

FORMAT = 3  # version of the cache's files and of its split
REPORT_BYTES = 300  # share of an image file in reports and labels
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The content of a cache.

    Attributes:
        layout: `imagefolder`, `imagenet` or `csv`.
        root: Folder of images, or table.
        resolution: Resolution of the decoded images, in pixels.
        fit: How a picture took the shape of the images: one of `decoding.FITS`.
        channels: 1 if all images are grey, else 3.
        class_names: Names of the classes, in the order of the labels.
        counts: Number of images of each class, by part.
        key: Digits that identify pixels, labels and split.
        files: Number of image files in the folder.
        modes: Number of files by Pillow's name of their mode.
        aspect: Median of the pictures' `decoding.Decoded.aspect`.
        picture_side: Largest of the shorter sides of the pictures in their files, in pixels.
        highest: Highest of the levels of more than 8 bits, by their kind.
        faults: Name and reason of each file that cannot be read.
        left_out: Number of images left out because a later part has a copy.
        contradictions: Number of images whose copy has another label.
    """

    layout: str
    root: str
    resolution: Resolution
    fit: str
    channels: int
    class_names: tuple[str, ...]
    counts: dict[str, list[int]]
    key: str
    files: int
    modes: dict[str, int]
    aspect: float
    picture_side: int
    highest: dict[str, float]
    faults: tuple[tuple[str, str], ...]
    left_out: int
    contradictions: int


def user_cache() -> Path:
    """Return `nas-sv2` in the user's cache directory (XDG).

    Raises:
        EvaluationError: If the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        raise EvaluationError(
            "images are kept in the user's cache directory, and this user has no home; "
            "name a folder in XDG_CACHE_HOME"
        )
    return Path(base) / "nas-sv2"


def cache_root() -> Path:
    """Return `nas-sv2/data` in the user's cache directory (XDG).

    Raises:
        EvaluationError: If the user has no home.
    """
    return user_cache() / "data"


@dataclass(frozen=True, slots=True)
class ImageCache:
    """The place of one cache; `prepare` fills it.

    Attributes:
        folder: Folder of the cache's files.
    """

    folder: Path

    @classmethod
    def of(cls, listing: Listing, resolution: Resolution) -> "ImageCache":
        """Return the cache of these files at this resolution."""
        made = hashlib.sha256()
        how = [FORMAT, DECODING, PIL.__version__, CHUNK, resolution, listing.fit]
        how += [listing.layout, str(listing.root)]
        if not isinstance(resolution, int):  # whose `aspect` was once that of a square
            how.append("aspect of the shape")
        made.update(json.dumps([*how, listing.class_names]).encode())
        for file in listing.files:
            facts = [file.name, file.label, file.part, file.size, file.changed_ns]
            made.update(json.dumps(facts).encode())
        return cls(cache_root() / made.hexdigest()[:16])

    @property
    def bytes_on_disk(self) -> int:
        """Size of the cache's files, in bytes."""
        return bytes_below(self.folder)

    @property
    def root(self) -> str | None:
        """Folder of images in the cache, finished or not; None if it is not recorded."""
        try:
            return (self.folder / "root").read_text(errors="surrogateescape")
        except OSError:
            return None

    def read(self) -> Prepared | None:
        """Read the cache's content; None if it is not finished.

        Raises:
            EvaluationError: If the cache is damaged or cannot be read.
        """
        try:
            fields = json.loads((self.folder / "data.json").read_text())
            names, faults = fields.pop("class_names"), fields.pop("faults")
            fields.pop("carved", None)  # of older versions, as is a side: images were squares
            size = fields.pop("side" if "side" in fields else "resolution")
            return Prepared(
                **fields,
                resolution=read_resolution("resolution", size),
                class_names=tuple(names),
                faults=tuple((name, reason) for name, reason in faults),
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EvaluationError(
                f"{self.folder} cannot be read ({error}); {_ELSEWHERE}"
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise EvaluationError(f"{self.folder} is damaged ({error}); {REMEDY}") from error

    def part(self, prepared: Prepared, name: str) -> Part:
        """Open one part with memory-mapped images.

        Raises:
            EvaluationError: If a file is missing or has a wrong length.
        """
        count = sum(prepared.counts[name])
        shape = (count, prepared.channels, *height_and_width(prepared.resolution))
        size = int(np.prod(shape))
        pixels, labels = self.folder / f"{name}.pixels", self.folder / f"{name}.labels"
        try:
            sizes = pixels.stat().st_size, labels.stat().st_size
        except OSError as error:
            raise EvaluationError(f"{pixels.parent} is damaged ({error}); {REMEDY}") from error
        if sizes != (size, 8 * count):
            raise EvaluationError(f"{pixels} or its labels are cut off; {REMEDY}")
        if not count:
            return Part(torch.empty(shape, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
        images = torch.from_file(str(pixels), shared=False, size=size, dtype=torch.uint8)
        of_each = torch.from_numpy(np.fromfile(labels, np.int64))
        return Part(images.view(shape), of_each)

    def prepare(
        self,
        listing: Listing,
        resolution: Resolution,
        notify: Notify | None,
        progress: Progress | None,
    ) -> Prepared:
        """Return the cache's content, and decode it first if it is missing.

        If another process prepares the same cache, wait for it.

        Args:
            listing: Files to decode.
            resolution: Resolution of the decoded images, in pixels.
            notify: Function called with a line on size and place before decoding starts.
            progress: Function called with the number of decoded files and of all files.

        Raises:
            EvaluationError: If the disk is full or cannot be written, or a process was killed.
        """
        try:
            if found := self.read():
                return found
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._hold(notify):
                if found := self.read():
                    return found
                return self._decoded(listing, resolution, notify, progress)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "is full" if full else f"cannot be written ({error})"
            raise EvaluationError(f"the disk of {self.folder} {what}; {_ELSEWHERE}") from error

    def clear(self) -> int:
        """Remove the cache and return its size in bytes.

        Raises:
            EvaluationError: If another process is preparing the cache, or a file stays.
        """
        with self._hold(None, wait=False):
            size = self.bytes_on_disk
            try:
                shutil.rmtree(self.folder)
            except OSError as error:
                said = f"{error.filename} cannot be removed: {error.strerror}"
                raise EvaluationError(said) from error
        return size

    def _decoded(
        self,
        listing: Listing,
        resolution: Resolution,
        notify: Notify | None,
        progress: Progress | None,
    ) -> Prepared:
        chunks = self.folder / "chunks"
        chunks.mkdir(exist_ok=True)
        for begun in chunks.glob("*.part"):  # left by a process that was killed
            begun.unlink()
        write_whole(self.folder / "root", os.fsencode(listing.root))
        needed = bytes_needed(len(listing), resolution)
        free = shutil.disk_usage(self.folder).free + self.bytes_on_disk
        if needed > free:
            raise EvaluationError(
                f"{len(listing):,} images at {in_pixels(resolution)} need up to "
                f"{in_words(needed)} in {self.folder}, where {in_words(free)} are free; "
                f"{_ELSEWHERE}"
            )
        if notify and len(listing) > CHUNK:
            notify(
                f"decoding {len(listing):,} images to {in_pixels(resolution)}, once: "
                f"up to {in_words(needed)} in {self.folder}"
            )
        paths = [listing.folder / file.name for file in listing.files]
        reports = Decoding(paths, resolution, listing.fit, chunks).reports(progress)
        prepared = self._joined(listing, resolution, reports)
        text = json.dumps(dataclasses.asdict(prepared)).encode()
        write_whole(self.folder / "data.json", text, sync=True)
        shutil.rmtree(chunks)
        return prepared

    def _joined(
        self, listing: Listing, resolution: Resolution, reports: Sequence[ChunkReport]
    ) -> Prepared:
        """Append the chunks to one file per part, and return the cache's content."""
        rows = [
            number * CHUNK + row for number, report in enumerate(reports) for row in report.rows
        ]
        keys = [bytes.fromhex(key) for report in reports for key in report.keys]
        labels = np.array([listing.files[row].label for row in rows], np.int64)
        given = np.array([listing.files[row].part for row in rows], np.int8)
        strata = labels if listing.kind == "classes" else np.zeros_like(labels)
        parts = placed(keys, strata, given, listing.val_share)
        channels = max((report.channels for report in reports if report.rows), default=1)
        names = PARTS if listing.has_test else PARTS[:2]
        self._append(reports, parts, channels, resolution, names)
        counts = {}
        for part, name in enumerate(names):
            own = labels[parts == part]
            write_whole(self.folder / f"{name}.labels", own.tofile, sync=True)
            counts[name] = np.bincount(own, minlength=len(listing.class_names)).tolist()
        prepared = Prepared(
            layout=listing.layout,
            root=str(listing.root),
            resolution=resolution,
            fit=listing.fit,
            channels=channels,
            class_names=listing.class_names,
            counts=counts,
            key="",
            files=len(listing),
            **_seen(listing, reports),
            left_out=int((parts == LEFT_OUT).sum()),
            contradictions=contradictions(keys, labels),
        )
        train, val, *test = (self.part(prepared, name) for name in names)
        key = content_key(train, val, test[0] if test else None)
        return dataclasses.replace(prepared, key=key)

    def _append(
        self,
        reports: Sequence[ChunkReport],
        parts: NDArray[np.int8],
        channels: int,
        resolution: Resolution,
        names: Sequence[str],
    ) -> None:
        """Append each remaining chunk to the files of the parts, and remove it.

        Chunks are appended in order, so those before the first remaining one are in the files
        already. Rows that a killed process appended of that one are cut off first.
        """
        image_shape = channels, *height_and_width(resolution)
        image_bytes = math.prod(image_shape)
        start = 0
        for name in names:
            (self.folder / f"{name}.pixels").touch()
        for number, report in enumerate(reports):
            end = start + len(report.rows)
            chunk = pixel_file(self.folder / "chunks", number)
            if chunk.exists():
                pixels = np.load(chunk)
                for part, name in enumerate(names):
                    with open(self.folder / f"{name}.pixels", "r+b") as file:
                        file.truncate(int((parts[:start] == part).sum()) * image_bytes)
                        file.seek(0, os.SEEK_END)
                        own = pixels[parts[start:end] == part]
                        shape = (len(own), *image_shape)
                        file.write(np.ascontiguousarray(np.broadcast_to(own, shape)).data)
                        file.flush()
                        os.fsync(file.fileno())
                chunk.unlink()
            start = end

    @contextmanager
    def _hold(self, notify: Notify | None, wait: bool = True) -> Iterator[None]:
        """Keep other processes out; the lock ends with the process that holds it."""
        lock, said = FileLock(self.folder / "lock"), False
        while (holder := lock.take(0)) is not None:
            if not wait:
                raise EvaluationError(f"{self.folder} is being prepared by {holder}")
            if notify and not said:
                notify(f"{holder} prepares the same images; waiting for it")
            said = True
            time.sleep(POLL_S)
            self.folder.mkdir(parents=True, exist_ok=True)  # the holder may have cleared it
        try:
            yield
        finally:
            lock.let_go()


def _seen(listing: Listing, reports: Sequence[ChunkReport]) -> dict[str, Any]:
    """Return the fields of `Prepared` that decoding found."""
    modes: Counter[str] = Counter()
    for report in reports:
        modes.update(report.modes)
    faults = (
        (listing.files[number * CHUNK + row].name, reason)
        for number, report in enumerate(reports)
        for row, reason in report.faults
    )
    aspects = [each for report in reports for each in report.aspects]
    return {
        "modes": dict(modes.most_common()),
        "aspect": float(np.median(aspects or [1])),
        "picture_side": max((report.shorter_side for report in reports), default=0),
        "highest": highest_levels(reports),
        "faults": tuple(faults),
    }


REMEDY = "nas-sv2 data clear, and prepare it again"
_ELSEWHERE = "make room, name another disk in XDG_CACHE_HOME, or ask for smaller images"


def all_caches() -> list[ImageCache]:
    """List every cache of this user, finished or not.

    Raises:
        EvaluationError: If their folder cannot be read.
    """
    root = cache_root()
    try:
        return [ImageCache(each) for each in sorted(root.iterdir())]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EvaluationError(f"{root} cannot be read: {error.strerror}") from error


def bytes_needed(files: int, resolution: Resolution) -> int:
    """Return the most bytes for a cache of this many colour images, with one chunk on disk."""
    return (files + min(files, CHUNK)) * 3 * math.prod(
        height_and_width(resolution)
    ) + files * REPORT_BYTES


def in_words(size: float) -> str:
    """Format a size in bytes, kB, MB or GB, in powers of 1,000 as disks are sold."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


Counts = Mapping[str, list[int]]


def labelled(part: Part, listing: Listing) -> Part:
    """Return a part of a cache with the numbers, or the labels of images that have several."""
    if listing.kind == "classes":
        return part
    if listing.kind == "numbers":
        return Part(part.images, torch.tensor([*map(float, listing.class_names)])[part.labels])
    rows = [[float(bit) for bit in bits] for bits in listing.class_names]
    return Part(part.images, torch.tensor(rows)[part.labels])


def key_of(prepared: Prepared, listing: Listing) -> str:
    """Return the digits that identify the content; numbers and rows of labels are part of it."""
    if listing.kind == "classes":
        return prepared.key
    text = json.dumps([prepared.key, listing.class_names, listing.several or listing.number])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def label_counts(prepared: Prepared, listing: Listing) -> tuple[tuple[str, ...], Counts]:
    """Return the names of classes or labels, and the number of images with each, by part.

    A number has one name, and all images have it.
    """
    if listing.kind == "classes":
        return prepared.class_names, prepared.counts
    if listing.kind == "numbers":
        return (listing.number,), {part: [sum(own)] for part, own in prepared.counts.items()}
    counts = {
        part: [
            sum(
                count
                for bits, count in zip(listing.class_names, own, strict=True)
                if bits[at] == "1"
            )
            for at in range(len(listing.several))
        ]
        for part, own in prepared.counts.items()
    }
    return listing.several, counts
