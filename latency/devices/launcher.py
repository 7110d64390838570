"""How a python3 is started on a device: the only thing in which kinds of device differ.

`ssh`, `command` and `local` are each a way to turn a line of Python into a command of this
machine that runs it there, with stdin and stdout connected.
"""

import re
from typing import Protocol

from nas_sv2.errors import ConfigError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Launcher(Protocol):
    """A way to start a python3 somewhere."""

    @property
    def key(self) -> str:
        """Names the machine; two launchers of one key must not measure at the same time."""

    def command(self, code: str) -> tuple[str, ...]:
        """The command that runs `code` there; its arguments go to no shell of this machine."""

    def advice(self, words: str) -> str:
        """What to do about a start that failed with these words on stderr; empty if unknown."""


def python_arguments(python: str, code: str) -> tuple[str, ...]:
    """The arguments that make `python` run `code` without buffering its output."""
    return (python, "-u", "-c", code)


def check_python(python: str) -> None:
    """Refuse what is not the name of a program.

    Raises:
        ConfigError: It is empty, an option, or relies on a shell.
    """
    if not isinstance(python, str) or not python or _CONTROL.search(python):
        raise ConfigError("python", python, "must be the name or path of a python3")
    if python.startswith(("-", "~")):
        allowed = (
            "must be a name or path without ~: absolute, or relative to the home directory there"
        )
        raise ConfigError("python", python, allowed)
