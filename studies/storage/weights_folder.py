"""The trained weights of a study's best networks, as safetensors files beside its database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from nas_sv2.database.database import Database
from nas_sv2.errors import StoreError
from nas_sv2.files import read_bounded, write_whole
from nas_sv2.space.runtimes.weights import MOST_WEIGHT_BYTES, Array, parse_weights

DATA = "data"
"""Name of the file beside the weights that says on what they were trained."""


@dataclass(frozen=True, slots=True)
class WeightsFolder:
    """The weights of a study, by the digest of the architecture."""

    path: Path

    @classmethod
    def of_study(cls, db: Database, study: str) -> "WeightsFolder":
        """Return `FILE.weights/KEY` beside an SQLite file, else in the working folder."""
        return cls(db.beside("weights") / study)

    @property
    def data(self) -> Path:
        """The file with the part of the data that an export needs, a `DataSample`."""
        return self.file(DATA)

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, from which killed trainings resume."""
        return self.path / "checkpoints"

    def save(self, digest: str, weights: Mapping[str, Array]) -> None:
        """Save weights; the file is complete or absent.

        Raises:
            StoreError: The file cannot be written.
        """
        file = self.file(digest)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # safetensors writes memory as it lies, without checking that it is contiguous.
            write_whole(file, save({name: np.ascontiguousarray(a) for name, a in weights.items()}))
        except (OSError, SafetensorError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise StoreError(f"weights cannot be saved in {self.path}: {why}") from error

    def find(self, digest: str) -> dict[str, Array] | None:
        """Load the weights, or return None if they were not kept, or the file is damaged.

        Raises:
            StoreError: The file cannot be read.
        """
        file = self.file(digest)
        try:
            return parse_weights(read_bounded(file, MOST_WEIGHT_BYTES))
        except (ValueError, FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{file} cannot be read: {error.strerror or error}") from error

    def why_none(self, digest: str) -> str:
        """Return why `find` gave None, in words."""
        if self.file(digest).exists():
            return "the file of its weights is damaged"
        return "its weights were not kept"

    def copy_from(self, other: "WeightsFolder", digests: Iterable[str]) -> None:
        """Copy weights of another study that were kept, and what they were trained on.

        Raises:
            StoreError: A file cannot be read or written.
        """
        try:
            for name in (DATA, *digests):
                file = other.file(name)
                if file.exists():
                    self.path.mkdir(parents=True, exist_ok=True)
                    write_whole(self.file(name), file.read_bytes())
        except OSError as error:
            raise StoreError(f"weights cannot be copied: {error}") from error

    def drop(self, digests: Iterable[str]) -> None:
        """Delete the weights of these networks, if they were kept.

        Raises:
            StoreError: A file cannot be deleted.
        """
        try:
            for digest in digests:
                self.file(digest).unlink(missing_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise StoreError(f"weights cannot be deleted in {self.path}: {why}") from error

    def file(self, digest: str) -> Path:
        """Return the path of the weights of a network."""
        return self.path / f"{digest}.safetensors"
