"""A device behind the user's own command: adb, docker, a scheduler.

The command starts a python3, 3.8 or later, with the arguments that replace the template's
placeholder. It connects the python3's stdin and stdout byte for byte, and ends with it. No
shell of this machine sees the words.
"""

import shlex
from dataclasses import dataclass

from nas_sv2.errors import ConfigError
from nas_sv2.latency.devices.launcher import check_python, python_arguments

ARGV, REMOTE = "{argv}", "{remote}"
WORDS = (
    "must be a list of words, among them {argv}, replaced by python3 and "
    "its arguments one by one, or "
    "{remote}, replaced by all of them quoted for one shell, as in "
    "['adb', 'shell', '{remote}'] and ['docker', 'exec', '-i', 'box', '{argv}']"
)


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """A command with a placeholder for the python3 that it starts.

    Attributes:
        words: The template. `{argv}` is a separate word; `{remote}` may be part of a word.
        python: Name or path of the python3 on the device.

    Raises:
        ConfigError: A word is not valid, or the number of placeholders is not one.
    """

    words: tuple[str, ...]
    python: str = "python3"

    def __post_init__(self) -> None:
        """Check that the template has exactly one placeholder."""
        words = self.words
        good = isinstance(words, tuple) and all(isinstance(word, str) for word in words)
        if not good or not words or not words[0] or any("\0" in word for word in words):
            raise ConfigError("command", words, WORDS)
        places = sum(word == ARGV for word in words) + sum(word.count(REMOTE) for word in words)
        if places != 1 or words[0] == ARGV or REMOTE in words[0]:
            raise ConfigError("command", shlex.join(words), WORDS)
        check_python(self.python)

    @property
    def key(self) -> str:
        """The template: only the user knows which machine it reaches."""
        return f"command {shlex.join(self.words)}"

    def command(self, code: str) -> tuple[str, ...]:
        """Return the words with the placeholder replaced."""
        arguments = python_arguments(self.python, code)
        filled: list[str] = []
        for word in self.words:
            filled += arguments if word == ARGV else [word.replace(REMOTE, shlex.join(arguments))]
        return tuple(filled)

    def advice(self, words: str) -> str:
        """Return an empty string: the faults of a user's command are not known."""
        return ""


def command_words(text: str) -> list[str]:
    """Split a command line into words as a shell would, without running a shell.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError("command", text, f"must be a command line ({error})") from error
