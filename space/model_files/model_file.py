"""A file for LiteRT or ncnn as a network: a device runs it as it is, and nothing is read here.

Its operators and its cost are therefore not known, and only a device can time it.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from nas_sv2.errors import ConfigError
from nas_sv2.files import read_bounded

FileRuntime = Literal["litert", "ncnn"]
RUNTIMES: dict[str, FileRuntime] = {".tflite": "litert", ".param": "ncnn"}
"""The runtime of a file by its ending; `.param` is the text of ncnn's two files."""
MOST_BYTES = (1 << 31) - 1
"""The limit of a file, which is that of a flatbuffer."""
TFLITE_MARK = b"TFL3"
"""Bytes 4 to 7 of a TensorFlow Lite file: its `file_identifier`."""
NCNN_MARK = b"7767517"
"""The first line of ncnn's text."""


@dataclass(frozen=True)
class ModelFile:
    """A file of a runtime as a network; equal files have equal `digest`s.

    Attributes:
        file: The path, as the user gave it.
        runtime: The runtime that reads it.
        body: Its content, that of ncnn's two files as `join_ncnn` gives it.
    """

    file: str
    runtime: FileRuntime
    body: bytes = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content."""
        return hashlib.sha256(self.body).hexdigest()[:16]

    def refuse(self) -> ConfigError:
        """Return the error that a question about operators gets."""
        allowed = (
            "must be a network whose operators are known here; this file can only be measured, "
            f"on a device that runs {self.runtime}"
        )
        return ConfigError("network", self.file, allowed)


def load_model_file(path: Path | str) -> ModelFile:
    """Read a `.tflite` file, or ncnn's `.param` with the `.bin` of the same name beside it.

    Raises:
        ConfigError: A file cannot be read, or is not of this kind.
    """
    file, place = str(path), Path(path)
    runtime, content = RUNTIMES[place.suffix.lower()], _content(place)
    if runtime == "litert":
        if content[4:8] != TFLITE_MARK:
            raise ConfigError("network", file, "must be a whole TensorFlow Lite file")
        return ModelFile(file, runtime, content)
    if content.split(maxsplit=1)[:1] != [NCNN_MARK]:
        raise ConfigError("network", file, "must be the text of an ncnn network")
    return ModelFile(file, runtime, join_ncnn(content, _content(place.with_suffix(".bin"))))


def join_ncnn(param: bytes, weights: bytes) -> bytes:
    """Join ncnn's two files, so that they travel as one."""
    return b"%d\n%b%b" % (len(param), param, weights)


def _content(path: Path) -> bytes:
    try:
        return read_bounded(path, MOST_BYTES)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError("network", str(path), f"must be a readable file ({reason})") from None
