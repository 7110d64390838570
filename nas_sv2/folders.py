"""The user's folders: home, and a private one for locks.

The user of a container may have neither HOME nor an entry in the list of users.
"""

import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nas_sv2.errors import ConfigError, StoreError

PROGRAM = "nas-sv2"


def expanded(field: str, path: str | Path) -> Path:
    """Return a path whose leading `~` or `~USER` is that user's home.

    Args:
        field: The parameter that the path was given for.
        path: The path, as given.

    Raises:
        ConfigError: The path begins with `~`, but there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        sentence = "must be given without ~, as that user has no home folder here"
        raise ConfigError(field, str(path), sentence) from None


def lock_folder() -> Path:
    """Return a folder of this user and machine alone, for locks; it is made if it is missing.

    It does not depend on TMPDIR or a login, so that all processes of the user find the same one.
    Only a user without a writable home gets one elsewhere.

    Raises:
        StoreError: No such folder can be made.
    """
    said = ""
    for folder in _lock_folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                if found.st_mode & 0o077:
                    folder.chmod(0o700)
                return folder
            said = f"{folder} belongs to another user"
        except OSError as error:
            said = f"{folder}: {error.strerror}"
    raise StoreError(f"no lock can be made: {said}; set XDG_STATE_HOME to a folder of yours")


def _lock_folders() -> Iterator[Path]:
    host = socket.gethostname().replace("/", "_")  # homes are shared among machines
    with contextlib.suppress(RuntimeError):  # no home, where none is named
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        yield Path(state, PROGRAM, f"locks-{host}")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, PROGRAM)
    yield Path(tempfile.gettempdir(), f"{PROGRAM}-{os.getuid()}")
