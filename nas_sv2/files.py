"""Files that are written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
