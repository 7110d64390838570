"""Files that are written whole or not at all, and files of others that are read within bounds.

Nothing else in the program writes files.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.folders import expanded

PICTURES = (".png", ".svg", ".pdf")
"""Endings of pictures; the ending is the format."""
TEXTS = (".md", ".markdown", ".txt")
"""Endings of text for people."""

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a regular file of at most `most_bytes`; nothing is read of a larger one.

    A pipe would be waited for, and a device such as `/dev/zero` read without end.

    Raises:
        OSError: The file cannot be read, is not regular or is larger; `strerror` says which.
    """
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            # A file of /proc says 0 bytes and has more.
            most = min(max(status.st_size, 1 << 16), most_bytes)
            content = file.read(most + 1) if status.st_size <= most_bytes else b""
    except ValueError as error:  # a name with a NUL
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if max(status.st_size, len(content)) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return content


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; a pipe is not waited for.

    Raises:
        OSError: It cannot be opened or is not regular.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115  the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # the other end of a pipe may never come


def bytes_below(path: Path) -> int:
    """Return the size of a file or of those in a folder; one that goes meanwhile counts 0."""
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    size = 0
    for file in (path, *below):
        with suppress(OSError):
            status = os.stat(file)
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size


def write_whole(
    path: Path, content: bytes | Callable[[Any], object], *, sync: bool = False
) -> None:
    """Write a file that is there whole or not at all, even after a kill.

    It is written beside `path` and moved there. A file that is replaced keeps its mode, and a link
    stays a link. A pipe or a device is written to.

    Args:
        path: The file; its folder exists.
        content: The content, or a function that writes it to an open file.
        sync: Whether it also survives a loss of power.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    path = Path(os.path.realpath(path))
    if _is_stream(path):
        with open(path, "wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
        return
    begun = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(begun, "wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if os.path.exists(path):
            begun.chmod(path.stat().st_mode)
        os.replace(begun, path)
    finally:
        begun.unlink(missing_ok=True)


def write_out(
    path: Path, content: str | bytes | Callable[[Any], object], field: str = "out"
) -> None:
    """Write a file that the user named, whole; on a failure it is as it was before.

    Args:
        path: The file, which may begin with `~`.
        content: The content, or a function that writes it to an open file.
        field: The parameter that the path was given for.

    Raises:
        ConfigError: The file cannot be there.
        StoreError: The disk is full or broken.
    """
    path = checked_out(path, field)
    try:
        write_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise _unwritable(path, error, field) from None


def checked_out(path: Path, field: str = "out", endings: Sequence[str] = ()) -> Path:
    """Return the path of a file to write, without `~`; call it before minutes of work.

    Args:
        path: The file, which may begin with `~`.
        field: The parameter that the path was given for.
        endings: The endings that the name may have, if it has one; any if left out.

    Raises:
        ConfigError: The path is a folder, no file can be made there, or its ending names another
            format than the one that is written.
    """
    path = expanded(field, path)
    if endings and path.suffix and path.suffix.lower() not in endings:
        raise ConfigError(field, str(path), "must end with " + " or ".join(endings))
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL
        said = getattr(error, "strerror", None) or str(error)
        raise ConfigError(field, str(path), f"must name a valid file ({said})") from None
    if os.path.isdir(path) or not os.path.isdir(path.absolute().parent):
        raise ConfigError(field, str(path), "must name a file in a folder that exists")
    if not _is_stream(path):
        check_writable(field, path, Path(os.path.realpath(path)).parent)
    elif not os.access(path, os.W_OK):
        raise ConfigError(field, str(path), "must name a file that can be written to")
    return path


def new_file(path: Path) -> Path:
    """Return the path of a file to write that is not there yet; call it before minutes of work.

    Raises:
        ConfigError: It is there, or `checked_out` refuses it.
    """
    path = checked_out(path)
    if os.path.lexists(path):
        raise ConfigError("out", str(path), "must name a file that does not exist yet")
    return path


def check_writable(field: str, path: Path, folder: Path) -> None:
    """Refuse `path` if no file can be made in `folder`; rights alone do not say so of `/proc`.

    Raises:
        ConfigError: None can be made there; names the field.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        allowed = f"must be in a folder that can be written to ({error.strerror or error})"
        raise ConfigError(field, str(path), allowed) from None


def made_folder(path: Path, field: str = "out") -> Path:
    """Make a folder to write to, and return it without `~`.

    Args:
        path: The folder, which may begin with `~`.
        field: The parameter that the path was given for.

    Raises:
        ConfigError: It cannot be made.
        StoreError: The disk is full or broken.
    """
    path = expanded(field, path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error, field) from None
    check_writable(field, path, path)
    return path


@contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Make a folder to write to; one that a failure leaves empty is not left behind.

    Raises:
        ConfigError: It cannot be made.
        StoreError: The disk is full or broken.
    """
    path = expanded("out", path)
    new = [each for each in (path, *path.parents) if not os.path.exists(each)]
    try:
        yield made_folder(path)
    except BaseException:
        with suppress(OSError):  # others have files there
            for each in new:
                each.rmdir()
        raise


def _is_stream(path: Path) -> bool:
    """Return whether the path is a pipe or a device, which cannot be replaced."""
    return os.path.exists(path) and not os.path.isfile(path)


def _unwritable(path: Path, error: OSError, field: str = "out") -> NasError:
    said = error.strerror or str(error)
    if error.errno in _OF_THE_DISK:
        return StoreError(f"{path} cannot be written and is as it was: {said}")
    return ConfigError(field, str(path), f"must be a place that can be written to ({said})")
