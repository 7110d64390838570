"""Digests of image files, by which data are the same on every machine.

A digest is of the file's bytes. Reading those of COCO takes minutes, so the user's cache keeps
each with the size and modification time of its file. A later opening reads only changed files.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_cache import user_cache
from nas_sv2.files import open_regular, read_bounded, write_whole

MOST_BYTES = 1 << 31  # of the kept digests; those of COCO's images have 20 MB
THREADS = 8  # a disk or a network file system serves several files at once
MANY = 1000  # files, from which on the reading is announced
Entry = tuple[int, int, str]


def file_digests(
    folder: Path, files: Sequence[Path], notify: Callable[[str], None]
) -> dict[Path, str]:
    """Return the SHA-256 of each file, in hexadecimal.

    Args:
        folder: Folder of the data, by which the digests are kept.
        files: The files, which are in the folder or in folders within it.
        notify: Is called with a line before many files are read.

    Raises:
        ConfigError: A file cannot be read.
        EvaluationError: The user has no home for a cache.
    """
    root = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    place = user_cache() / "digests" / root
    kept, names = _kept(place), {file: str(file.relative_to(folder)) for file in files}
    facts = {file: _size_and_time(file) for file in files}
    new = [file for file in files if kept.get(names[file], (0, 0, ""))[:2] != facts[file]]
    if len(new) >= MANY:
        notify(f"reading {len(new):,} image files of {folder}, once, to know their content")
    with ThreadPoolExecutor(THREADS) as threads:
        for file, digest in zip(new, threads.map(_digest, new), strict=True):
            kept[names[file]] = (*facts[file], digest)
    if new:
        with suppress(OSError):  # the files are then read again at the next opening
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, msgspec.json.encode(kept))
    return {file: kept[names[file]][2] for file in files}


def _kept(place: Path) -> dict[str, Entry]:
    try:
        return msgspec.json.decode(read_bounded(place, MOST_BYTES), type=dict[str, Entry])
    except (OSError, msgspec.MsgspecError):  # a damaged file is made again
        return {}


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None
    return status.st_size, status.st_mtime_ns


def _digest(file: Path) -> str:
    try:
        with open_regular(file) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> ConfigError:
    return ConfigError("data", str(file), f"must be readable ({error.strerror or error})")
