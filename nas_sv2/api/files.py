"""Files and folders to write, refused before minutes of work if they cannot be written."""

from pathlib import Path

from nas_sv2.errors import ConfigError


def writable_folder(path: Path) -> None:
    """Make a folder.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        allowed = f"must be a writable folder ({error.strerror})"
        raise ConfigError("out", str(path), allowed) from None


def writable_file(path: Path) -> None:
    """Try to write to a file, which is made.

    Raises:
        ConfigError: It cannot be written.
    """
    check_folder(path)
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        allowed = f"must be a writable file ({error.strerror})"
        raise ConfigError("out", str(path), allowed) from None


def check_folder(path: Path) -> None:
    """Refuse a file whose folder does not exist, or that is a folder.

    Raises:
        ConfigError: It is so.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError("out", str(path), "must name a file in a folder that exists")
