"""The folder of an exported network: written whole or not at all, and trusted in nothing.

`SHA256SUMS` names every file that belongs to the package, in the form that `sha256sum -c` reads.
What it does not name is the user's: it is neither read nor written. A new folder is written under
another name beside its place and moved there.
"""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from nas_sv2.database.processes import is_alive, process_name
from nas_sv2.errors import ConfigError, StoreError

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9_.-]*)")
_MOST_BYTES = 1 << 20


def check_out(out: Path, force: bool) -> None:
    """Refuse a folder that is there, unless its files may be written over.

    Raises:
        ConfigError: It is there, or cannot be.
    """
    try:
        there, folder = out.exists(), out.is_dir()
    except OSError as error:
        raise ConfigError(
            "out", str(out), f"must be a folder that can be made ({error})"
        ) from None
    if there and not (force and folder):
        raise ConfigError(
            "out", str(out), "must name a folder that does not exist yet (force=True overwrites)"
        )


def write_folder(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write a package to `out`, which appears whole or stays as it was.

    In a folder that is there, files are replaced one by one, `SHA256SUMS` last and removed before:
    one that was interrupted then is refused when it is read, and can be written again. Files of an
    earlier package that this one has not are removed, all others left alone.

    Raises:
        StoreError: It cannot be written; what was written of it is removed.
    """
    name = process_name()
    assert name is not None, "this process runs"
    out = out.absolute()
    home = out if out.exists() else out.parent  # on one disk with where the files will be
    _remove_abandoned(home, f".{out.name}.")
    partial = home / f".{out.name}.{name}"
    try:
        partial.mkdir(parents=True)
        for file, content in {**contents, SUMS: _sums(contents)}.items():
            _write(partial / file, content)
        if out.exists():
            _replace(out, partial)
        else:
            os.rename(partial, out)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a package, each of which is what it was when it was written.

    Raises:
        ConfigError: The folder is no package, or names a file that is not plainly inside it.
        StoreError: A file is missing, or is not what was written.
    """
    contents = {}
    for name, digest in _listed(folder).items():
        path = folder / name
        if path.is_symlink() or path.is_fifo():  # a pipe would be waited on for ever
            raise ConfigError(
                f"{SUMS} of {folder}", name, "must list plain files of the folder, no links"
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StoreError(f"{path} is not what was exported: its SHA-256 differs from {SUMS}")
        contents[name] = content
    return contents


def _listed(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, by its name."""
    file = folder / SUMS
    try:
        if file.is_symlink() or file.is_fifo() or file.stat().st_size > _MOST_BYTES:
            raise ConfigError(
                "folder", str(folder), f"must have a {SUMS} that is a short plain file"
            )
        text = file.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        allowed = (
            f"must be a folder that nas-sv2 export or nas-sv2 network train wrote, with its {SUMS}"
        )
        raise ConfigError("folder", str(folder), allowed) from None
    found = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[2] == SUMS:
            allowed = (
                "must be lines of a SHA-256 and a plain file name: nothing outside the folder"
            )
            raise ConfigError(f"{SUMS} of {folder}", line, allowed)
        found[match[2]] = match[1]
    return found


def _sums(contents: Mapping[str, bytes]) -> bytes:
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(contents.items())
    ]
    return "".join(lines).encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # so that the folder does not appear before what is in it


def _replace(out: Path, partial: Path) -> None:
    try:
        earlier = set(_listed(out))
    except ConfigError:
        earlier = set()
    (out / SUMS).unlink(missing_ok=True)
    names = {path.name for path in partial.iterdir()}
    for name in [*sorted(names - {SUMS}), SUMS]:
        os.replace(partial / name, out / name)
    for name in earlier - names:
        (out / name).unlink(missing_ok=True)


def _remove_abandoned(home: Path, prefix: str) -> None:
    """Remove what processes that were killed have left half-written."""
    for path in home.glob(f"{glob.escape(prefix)}*:*:*"):
        if is_alive(path.name.removeprefix(prefix)) is False:
            shutil.rmtree(path, ignore_errors=True)
