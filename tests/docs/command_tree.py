"""The command line as a tree that lines of the documentation are held against."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from nas_sv2.cli import app

PLACEHOLDERS = {"...", "…", "[OPTIONS]", "COMMAND", "--help"}


@cache
def root() -> Any:
    """Return the program as one command; typer gives the class no public name."""
    return typer.main.get_command(app)


def children(command: Any) -> dict[str, Any]:
    """Return the commands below a group; a command has none."""
    return dict(getattr(command, "commands", {}))


def every(command: Any) -> Iterator[Any]:
    """Yield a command and all below it."""
    yield command
    for child in children(command).values():
        yield from every(child)


def spellings(command: Any) -> set[str]:
    """Return every spelling of every option of a command."""
    known = {"--help"}
    for parameter in command.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        known |= {name for name in names if name.startswith("-")}
    return known


def every_option() -> set[str]:
    """Return every spelling of every option of the program."""
    return set().union(*(spellings(command) for command in every(root())))


def found(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the first words name, and the words after it.

    Raises:
        LookupError: There is no such command.
    """
    command, rest = root(), list(words)
    while rest and children(command) and rest[0] not in PLACEHOLDERS and rest[0][0] != "-":
        if rest[0] not in children(command):
            raise LookupError(f"no command {' '.join(words)!r}")
        command = children(command)[rest.pop(0)]
    return command, rest


def fault_of(words: list[str], *, whole: bool) -> str:
    """Say why the words are not a command of the program; nothing if they are one.

    With `whole` the line must also give each argument and option that is required, and values
    that are read; without it a line may be cut short, as a mention in a sentence is.
    """
    try:
        command, rest = found(words)
    except LookupError as error:
        return str(error)
    unknown = [
        word
        for word in rest
        if re.match(r"--?[a-z]", word) and word.split("=")[0] not in spellings(command)
    ]
    if unknown:
        return f"{' '.join(words)!r} has no option {unknown}"
    if not whole or PLACEHOLDERS & set(rest):
        return ""
    if children(command):
        return "" if "--version" in rest else f"{' '.join(words)!r} is a group, not a command"
    try:
        command.make_context("nas-sv2", list(rest))
    except Exception as error:  # the class of a usage error differs between releases of typer
        return f"{' '.join(words)!r}: {error}"
    return ""
