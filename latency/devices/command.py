"""A device behind a command of the user's: adb, docker, a scheduler.

The contract: the command starts a python3, 3.8 or later, with the arguments that the template
leaves a place for, connects its stdin and stdout byte for byte, and ends when it ends. No shell of
this machine sees the words.
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
    """A command with a place for the python3 that it is to start.

    Attributes:
        words: The template. `{argv}` is a word of its own; `{remote}` may be a part of one.
        python: Name or path of the python3 there.

    Raises:
        ConfigError: A word is none, or there is not exactly one place; names the field.
    """

    words: tuple[str, ...]
    python: str = "python3"

    def __post_init__(self) -> None:
        """Refuse what has no place, or two."""
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
        """The template: what it leads to is known to the user alone."""
        return f"command {shlex.join(self.words)}"

    def command(self, code: str) -> tuple[str, ...]:
        """The words, the place filled."""
        arguments = python_arguments(self.python, code)
        filled: list[str] = []
        for word in self.words:
            filled += arguments if word == ARGV else [word.replace(REMOTE, shlex.join(arguments))]
        return tuple(filled)

    def advice(self, words: str) -> str:
        """Nothing: the command's own words are all that is known."""
        return ""


def command_words(text: str) -> list[str]:
    """The words of a command line, split as a shell does, once, and never given to one.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError("command", text, f"must be a command line ({error})") from error
