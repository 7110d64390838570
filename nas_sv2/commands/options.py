"""Options and arguments that several commands share, and how a command prints for programs."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_sv2.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

Storage = Annotated[str, typer.Option(help="Database of studies and measurements, a URL.")]
DataPlace = Annotated[
    str | None, typer.Option("--data", help="Where the study's data lie now, if they were moved.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Plain data for programs.")]
STORAGE = "sqlite:///nas-sv2.db"

ARCH_HELP = "A reference name, a YAML or JSON file, or STUDY:NUMBER."


def print_json(data: object) -> None:
    """One line."""
    print(json.dumps(data))


def print_notes(notes: list[str]) -> None:
    """One fact a line."""
    for note in notes:
        print(note)


def next_command(storage: str, *words: str) -> str:
    """What to type next, on the same database; a password of its URL is not shown."""
    from nas_sv2.database.storage_url import without_password

    at = [] if storage == STORAGE else ["--storage", without_password(storage)]
    return shlex.join(["nas-sv2", *words, *at])


def counting_bar() -> "Progress":
    """A bar of things done and to do on standard error; silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def output_folder(path: Path) -> Path:
    """The folder that `--out` names, made before minutes of work, so that they are not lost.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "out", str(path), f"must be a writable folder ({error.strerror})"
        ) from None
    return path
