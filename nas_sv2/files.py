"""Files that are written whole or not at all, and files of others that are read within bounds."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a regular file of at most `most_bytes`; nothing is read of a larger one.

    A pipe would be waited for, and a device such as `/dev/zero` read without end.

    Raises:
        OSError: The file cannot be read, is not regular or is larger; `strerror` says which.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", str(path))
            # A file of /proc says 0 bytes and has more.
            content = file.read(min(max(status.st_size, 1 << 16), most_bytes) + 1)
    except ValueError as error:  # a name with a NUL
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if max(status.st_size, len(content)) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # the other end of a pipe may never come


def write_whole(
    path: Path, content: bytes | Callable[[Any], object], *, sync: bool = False
) -> None:
    """Write a file that is there whole or not at all, even after a kill.

    It is written beside `path` and moved there. A file that is replaced keeps its mode, and a link
    stays a link.

    Args:
        path: The file; its folder exists.
        content: The content, or a function that writes it to an open file.
        sync: Whether it also survives a loss of power.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    path = path.resolve()
    begun = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(begun, "wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if path.exists():
            begun.chmod(path.stat().st_mode)
        os.replace(begun, path)
    finally:
        begun.unlink(missing_ok=True)
