"""The file of a training under way, from which a later process resumes it.

The file begins with a checksum of the rest, and holds the name of its training. A file that is
damaged, or belongs to another training, is reported and never used.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.evaluation import data_key
from nas_sv2.files import read_bounded, write_whole

MOST_BYTES = 1 << 33  # of a checkpoint: weights, averages and the optimiser's state
CHECKSUM_BYTES = 32  # of SHA-256
ENDING = ".checkpoint"
FORM = 2  # version of the state; raised when a later program cannot resume from it


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of one training.

    Attributes:
        file: Path of the file; its name follows from `identity` without the version of torch.
        identity: All that the training's bits depend on; of `data`, `SPEC@KEY`, the content.
        notify: Called with a line if a file cannot be used.
        instead: End of that line: the consequence, or the advice.
    """

    file: Path
    identity: Mapping[str, str]
    notify: Callable[[str], None]
    instead: str = "the training starts again"

    @classmethod
    def of(
        cls, folder: Path, identity: Mapping[str, str], notify: Callable[[str], None]
    ) -> "Checkpoint":
        """The checkpoint in `folder` of the training that `identity` names."""
        file = folder / f"{checkpoint_name(identity)}{ENDING}"
        return cls(file, {**identity, "torch": str(torch.__version__)}, notify)

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep `state`, tensors and plain data; a kill leaves the old file or the new one.

        Raises:
            StoreError: If the file cannot be written.
        """
        buffer = io.BytesIO()
        held = {"form": FORM, "identity": dict(self.identity), "state": dict(state)}
        torch.save(held, buffer)
        content = buffer.getvalue()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, hashlib.sha256(content).digest() + content)
        except OSError as error:
            why = error.strerror or error
            raise StoreError(
                f"a checkpoint cannot be saved in {self.file.parent}: {why}"
            ) from error

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last; None if there is no usable file.

        Raises:
            StoreError: If there is a file that cannot be read.
        """
        try:
            stored = read_bounded(self.file, MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.file} cannot be read: {error}") from error
        checksum, content = stored[:CHECKSUM_BYTES], stored[CHECKSUM_BYTES:]
        if hashlib.sha256(content).digest() != checksum:
            self._pass_over("is damaged")
            return None
        read = torch.load(io.BytesIO(content), weights_only=True)  # unchanged since `save`
        if read.get("form") != FORM:
            self._pass_over("is of another version of nas-sv2")
            return None
        saved, wanted = _named(read["identity"]), _named(self.identity)
        if saved != wanted:
            theirs = (
                f"{name} {read['identity'].get(name)}, not {self.identity.get(name)}"
                for name in wanted | saved
                if saved.get(name) != wanted.get(name)
            )
            self._pass_over("is of another training: " + "; ".join(theirs))
            return None
        state: dict[str, Any] = read["state"]
        return state

    def drop(self) -> None:
        """Delete the file."""
        self.file.unlink(missing_ok=True)

    def _pass_over(self, why: str) -> None:
        self.notify(f"checkpoint {self.file.name} {why}; {self.instead}")


def _named(identity: Mapping[str, str]) -> dict[str, str]:
    """The identity of a training, without the place of its data."""
    return {name: data_key(value) if name == "data" else value for name, value in identity.items()}


def checkpoint_name(identity: Mapping[str, str]) -> str:
    """Name the checkpoint of a training by all that its bits depend on."""
    named = sorted(_named(identity).items())
    return hashlib.sha256(repr(named).encode()).hexdigest()[:32]
