"""The folder of an exported network, which is written whole or not at all, and never trusted.

`SHA256SUMS` names every file of the package, in the form that `sha256sum -c` reads. Other files
belong to the user and are neither read nor written. A new folder is written under another name
next to its place, and then renamed.
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
from nas_sv2.files import check_writable, read_bounded
from nas_sv2.space.runtimes.weights import MOST_WEIGHT_BYTES

SUMS = "SHA256SUMS"
ARCHITECTURE, TIMING = "architecture.yaml", "timing.onnx"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9_.-]{0,199})")
_MOST_BYTES = 1 << 20
_MOST_BYTES_OF_ONE = MOST_WEIGHT_BYTES


def check_out(out: Path, force: bool) -> None:
    """Refuse a folder that exists, unless its files may be overwritten.

    Raises:
        ConfigError: If the folder exists or cannot be made.
    """
    try:
        there, folder = out.exists(), out.is_dir()
    except OSError as error:
        raise ConfigError(
            "out", str(out), f"must be a folder that can be made ({error})"
        ) from None
    if there and not (force and folder):
        raise ConfigError(
            "out", str(out), "must name a folder that does not exist yet (force overwrites it)"
        )
    home = next(place for place in (out, *out.absolute().parents) if place.exists())
    check_writable("out", out, home)


def check_unfinished(out: Path) -> None:
    """Refuse a folder with a finished training.

    Raises:
        ConfigError: If a training has finished there.
    """
    if os.path.exists(out / SUMS):
        raise ConfigError("out", str(out), "must name a folder without a finished training")


def write_folder(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write a package to `out`, which appears whole or stays as it was.

    In an existing folder `SHA256SUMS` is removed first and written last, and the other files are
    replaced one by one. A folder whose writing was interrupted is thus refused when it is read,
    and can be written again. Obsolete files of an earlier package are removed; all other files
    stay.

    Raises:
        StoreError: If the package cannot be written; its temporary files are removed.
    """
    name = process_name()
    assert name is not None, "this process runs"
    out = out.absolute()
    home = out if out.exists() else out.parent  # on the disk of the final place
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
    """Read the files of a package, each of which matches its checksum.

    Raises:
        ConfigError: If the folder is not a package, or lists a link or a file outside it.
        StoreError: If a file is missing or differs from its checksum.
    """
    contents = {}
    for name, digest in _listed(folder).items():
        path = folder / name
        if path.is_symlink() or path.is_fifo():  # reading a pipe could wait for ever
            raise ConfigError(
                f"{SUMS} of {folder}", name, "must list plain files of the folder, no links"
            )
        try:
            content = read_bounded(path, _MOST_BYTES_OF_ONE)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StoreError(f"{path} is not the exported file: its SHA-256 differs from {SUMS}")
        contents[name] = content
    return contents


def _listed(folder: Path) -> dict[str, str]:
    """Read the SHA-256 of each file, by name."""
    file = folder / SUMS
    try:
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise ConfigError("folder", str(folder), f"must have a {SUMS} that is a plain file")
        text = read_bounded(file, _MOST_BYTES).decode("ascii")
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
        os.fsync(file.fileno())  # the folder must not appear before its content


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
    """Remove incomplete folders of processes that were killed."""
    for path in home.glob(f"{glob.escape(prefix)}*:*:*"):
        if is_alive(path.name.removeprefix(prefix)) is False:
            shutil.rmtree(path, ignore_errors=True)
