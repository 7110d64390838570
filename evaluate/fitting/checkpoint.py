"""A training under way as a file, from which a later process goes on.

The file begins with a checksum of the rest and holds the name of the training that it belongs to:
one that is damaged, or another's, is reported and passed over, never used.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.evaluation import content_of
from nas_sv2.files import write_whole

CHECKSUM_BYTES = 32  # of SHA-256
ENDING = ".checkpoint"
FORM = 2  # of the state; raised when a later version could not go on from it


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of one training.

    Attributes:
        file: Where; named after what `identity` says, the version of torch left out.
        identity: What the training depends on, to the bit; of `data`, `SPEC@KEY`, the content.
        told: Is told, in a line, why a file was not used.
        instead: What happens then, or is to be done: how that line ends.
    """

    file: Path
    identity: Mapping[str, str]
    told: Callable[[str], None]
    instead: str = "the training begins anew"

    @classmethod
    def of(
        cls, folder: Path, identity: Mapping[str, str], told: Callable[[str], None]
    ) -> "Checkpoint":
        """The checkpoint in `folder` of the training that `identity` names."""
        file = folder / f"{_name(_named(identity))}{ENDING}"
        return cls(file, {**identity, "torch": str(torch.__version__)}, told)

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep `state`, tensors and plain data; the file is the new one or still the old one.

        Raises:
            StoreError: It cannot be written.
        """
        buffer = io.BytesIO()
        held = {"form": FORM, "identity": dict(self.identity), "state": dict(state)}
        torch.save(held, buffer)
        content = buffer.getvalue()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, hashlib.sha256(content).digest() + content)
        except OSError as error:
            raise StoreError(f"a checkpoint cannot be saved: {error}") from error

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was, or nothing that can be used.

        Raises:
            StoreError: There is a file, and it cannot be read at all.
        """
        try:
            stored = self.file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.file} cannot be read: {error}") from error
        checksum, content = stored[:CHECKSUM_BYTES], stored[CHECKSUM_BYTES:]
        if hashlib.sha256(content).digest() != checksum:
            self._pass_over("is damaged")
            return None
        read = torch.load(io.BytesIO(content), weights_only=True)  # whole, so what `save` wrote
        if read.get("form") != FORM:
            self._pass_over("is of another version of nas-sv2")
            return None
        saved, wanted = _named(read["identity"]), _named(self.identity)
        if saved != wanted:
            theirs = (
                f"{name} {read['identity'].get(name)}, not {ours}"
                for name, ours in self.identity.items()
                if saved.get(name) != wanted[name]
            )
            self._pass_over("is of another training: " + "; ".join(theirs))
            return None
        state: dict[str, Any] = read["state"]
        return state

    def drop(self) -> None:
        """Delete the file."""
        self.file.unlink(missing_ok=True)

    def _pass_over(self, why: str) -> None:
        self.told(f"checkpoint {self.file.name} {why}; {self.instead}")


def _named(identity: Mapping[str, str]) -> dict[str, str]:
    """What a training depends on, wherever its data lie."""
    return {
        name: content_of(value) if name == "data" else value for name, value in identity.items()
    }


def _name(identity: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:32]
