"""Pieces of work for processes of tests; functions that a new process can import."""

import os
import signal
import time
from pathlib import Path

from nas_sv2.errors import EvaluationError


def squared(number: int) -> int:
    """Say it, unless the piece is below 0, which kills its process."""
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def waits(folder: str) -> None:
    """Note the process in a folder, and never end."""
    (Path(folder) / str(os.getpid())).touch()
    while True:
        time.sleep(0.1)


def process_of(folder: str) -> int:
    """Return the process."""
    return os.getpid()


def tunables(_: int) -> tuple[str, str | None]:
    """Return glibc's settings as the process was started, and as what it starts has them."""
    entries = Path("/proc/self/environ").read_text().split("\0")
    began = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    return began.get("GLIBC_TUNABLES", ""), os.environ.get("GLIBC_TUNABLES")


def no_data() -> None:
    """Fail before the first piece."""
    raise EvaluationError("no data")
