"""How text reaches the user: printable, readable in any encoding, and never with a traceback.

Names, paths, messages and notes may have been written by others. Everything that a command prints
passes `shown`: by `say` here, or by the console of `show/console.py`. `open_streams` makes the
standard streams take any text, and turns their faults into errors of the program.
"""

import codecs
import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

from nas_sv2.errors import OutputError

LONGEST = 4000
"""Characters of a line that are shown; a file of megabytes stays one line."""
_READABLE = "nas_sv2_readable"
_PLAIN = {
    **dict.fromkeys("–—−‐‑", "-"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”″", '"'),
    **{"±": "+/-", "≤": "<=", "≥": ">=", "×": "x", "·": "|", "…": "...", "→": "->"},
    **{"µ": "u", "μ": "u", "τ": "tau", "ρ": "rho", "°": "deg ", "†": "+", "²": "^2", "³": "^3"},
}


def shown(text: object) -> str:
    """Give a line that is safe to print.

    Characters that are not printable are escaped as in Python: those that move the cursor, paint,
    ring, reorder the line or end it. A line that is too long is cut, and says so.
    """
    line = str(text)
    safe = "".join(char if char.isprintable() else _escaped(char) for char in line[:LONGEST])
    more = len(line) - LONGEST
    return safe if more <= 0 else f"{safe}… ({more} more characters)"


def say(line: object = "", *, error: bool = False) -> None:
    """Print one line, made safe by `shown`, on standard output or standard error."""
    write_line(shown(line), error=error)


def say_text(text: str) -> None:
    """Print several lines, each made safe."""
    for line in text.removesuffix("\n").split("\n"):
        say(line)


def say_json(data: object, *, error: bool = False) -> None:
    """Print plain data as JSON on one line; characters beyond ASCII are escaped in it."""
    write_line(json.dumps(data), error=error)


def write_line(line: str, *, error: bool = False) -> None:
    """Print a line of ASCII, such as JSON, as it is."""
    print(line, file=sys.stderr if error else sys.stdout, flush=True)


@contextmanager
def open_streams() -> Iterator[None]:
    """Let the standard streams take any text while a command runs.

    A stream that was closed before the program began takes everything and keeps nothing.

    Raises:
        OutputError: A stream cannot be written, as on a full disk, or its reader has gone.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    out, err = _Stream(sys.stdout, "output"), _Stream(sys.stderr, "error")
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        yield


class _Stream:
    """A standard stream that writes characters its encoding lacks in a readable form."""

    def __init__(self, stream: TextIO | None, name: str) -> None:
        self._stream = io.StringIO() if stream is None else stream
        self._name = name

    def write(self, text: str) -> int:
        """Write a text."""
        encoding = self._stream.encoding or "utf-8"
        self._try(lambda: self._stream.write(text.encode(encoding, _READABLE).decode(encoding)))
        return len(text)

    def flush(self) -> None:
        """Hand everything that was written to the system."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        """Give everything else as the stream has it."""
        return getattr(self._stream, name)

    def _try(self, step: Callable[[], object]) -> None:
        """Take a step; after a fault the stream keeps nothing, so that there is one message."""
        try:
            step()
        except OSError as error:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            gone = isinstance(error, BrokenPipeError)
            message = "" if gone else f"standard {self._name} cannot be written: {error.strerror}"
            raise OutputError(message) from None


def _escaped(char: str) -> str:
    return " " if char == "\xa0" else char.encode("unicode_escape").decode()


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Write characters that an encoding lacks in ASCII; a handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_ascii, lacking)), error.end


def _ascii(char: str) -> str:
    if char in _PLAIN:
        return _PLAIN[char]
    letter = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return letter or char.encode("unicode_escape").decode()


codecs.register_error(_READABLE, _readable)
