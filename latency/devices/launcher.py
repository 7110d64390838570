"""Starting a python3 on a device: the only difference between kinds of device.

`ssh`, `command` and `local` each turn a line of Python into a command of this machine. The
command runs the line on the device, with stdin and stdout connected.
"""

import re
from typing import Protocol

from nas_sv2.errors import ConfigError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Launcher(Protocol):
    """A way to start a python3 somewhere."""

    @property
    def key(self) -> str:
        """The identity of the machine; launchers of one key must not measure at the same time."""

    def command(self, code: str) -> tuple[str, ...]:
        """Return the command that runs `code` there; no shell of this machine reads it."""

    def advice(self, words: str) -> str:
        """Return the remedy for a failed start with these words on stderr; empty if unknown."""


def python_arguments(python: str, code: str) -> tuple[str, ...]:
    """Return the arguments that make `python` run `code` without buffering its output."""
    return (python, "-u", "-c", code)


def check_python(python: str) -> None:
    """Check that a text can be the name of a program.

    Raises:
        ConfigError: The text is empty, an option, or relies on a shell.
    """
    if not isinstance(python, str) or not python or _CONTROL.search(python):
        raise ConfigError("python", python, "must be the name or path of a python3")
    if python.startswith(("-", "~")):
        allowed = (
            "must be a name or path without ~: absolute, or relative to the home directory there"
        )
        raise ConfigError("python", python, allowed)
