"""The trained weights of a study's front, as safetensors files beside its database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from nas_sv2.database.database import Database
from nas_sv2.errors import StoreError
from nas_sv2.files import write_whole
from nas_sv2.space.runtimes.weights import Array


@dataclass(frozen=True, slots=True)
class WeightsFolder:
    """Weights by the digest of the architecture that was asked about."""

    path: Path

    @classmethod
    def of_study(cls, db: Database, study: str) -> "WeightsFolder":
        """`FILE.weights/KEY` beside an SQLite file, else in the working folder."""
        return cls(db.beside("weights") / study)

    @property
    def checkpoints(self) -> Path:
        """Folder of what a training that was killed goes on from."""
        return self.path / "checkpoints"

    def save(self, digest: str, weights: Mapping[str, Array]) -> None:
        """Keep `weights`; the file is whole or not there.

        Raises:
            StoreError: The file cannot be written.
        """
        file = self._file(digest)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # safetensors writes memory as it lies, and asks nobody whether that is in order.
            write_whole(file, save({name: np.ascontiguousarray(a) for name, a in weights.items()}))
        except (OSError, SafetensorError) as error:
            raise StoreError(f"weights cannot be saved: {error}") from error

    def find(self, digest: str) -> dict[str, Array] | None:
        """The weights, or None where they were not kept.

        Raises:
            StoreError: The file cannot be read.
        """
        file = self._file(digest)
        if not file.exists():
            return None
        try:
            weights: dict[str, Array] = load_file(file)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{file} cannot be read: {error}") from error
        return weights

    def drop(self, digests: Iterable[str]) -> None:
        """Delete the weights of these: those of hundreds of candidates would fill a disk."""
        for digest in digests:
            self._file(digest).unlink(missing_ok=True)

    def _file(self, digest: str) -> Path:
        return self.path / f"{digest}.safetensors"
