"""Where the files are that people attach to a study in the dashboard: beside its database."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy.engine import make_url


@dataclass(frozen=True)
class ArtifactFolder:
    """Optuna's artifact store in a folder; an `ArtifactStore`, whose files are whole or not there.

    Attributes:
        path: The folder; made when the first file comes.
    """

    path: Path

    @classmethod
    def of_storage(cls, storage: str) -> "ArtifactFolder":
        """`FILE.artifacts` beside an SQLite file, else in the working folder."""
        database = make_url(storage).database
        is_file = storage.startswith("sqlite") and database not in (None, "", ":memory:")
        base = Path(database or "") if is_file else Path("nas-sv2.db")
        return cls(base.with_name(f"{base.name}.artifacts"))

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The file, to be read.

        Raises:
            ArtifactNotFound: There is none of that name.
        """
        return self._store.open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep the content under that name: written beside it first, and moved there whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        partial = f"{artifact_id}.{os.getpid()}"
        self._store.write(partial, content_body)
        os.replace(self.path / partial, self.path / artifact_id)

    def remove(self, artifact_id: str) -> None:
        """Delete the file; one that is gone already must not keep a study from being deleted."""
        with suppress(ArtifactNotFound):
            self._store.remove(artifact_id)

    @property
    def _store(self) -> FileSystemArtifactStore:
        return FileSystemArtifactStore(self.path)
