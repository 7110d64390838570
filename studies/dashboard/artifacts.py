"""The files that belong to a trial: its configuration, its network, the curve of its training.

They follow from the record alone, and are made from it when they are asked for. So a search
uploads nothing, a killed one leaves nothing half-written, every trial of every study has them, on
any machine that reaches the database, and the networks (9 MB each at 140M) fill no disk.
"""

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from nas_sv2.database.database import Database
from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.package.load import ARCHITECTURE, TIMING

CURVE = "training-curve.png"
_NAMESPACE = uuid.UUID("5e0a3f0c-6a0f-4f0f-9a53-2f1d9f6f4e8b")  # drawn once; names what is ours


@dataclass(frozen=True)
class Artifact:
    """One file of a trial.

    Attributes:
        name: What it is called.
        mimetype: Of what kind it is.
        content: Makes its bytes.
    """

    name: str
    mimetype: str
    content: Callable[[], bytes]


def artifacts_of(record: Record) -> Sequence[Artifact]:
    """The files of a candidate; the curve where its training was written down."""
    architecture = record.architecture

    def network() -> bytes:
        return payload_of(architecture, CPU_PLAN).body

    def curve() -> bytes:
        from nas_sv2.studies.pages.training_curve import curve_png

        return curve_png(record.evaluation)

    files = [
        Artifact(ARCHITECTURE, "text/yaml", lambda: architecture_to_yaml(architecture).encode()),
        Artifact(TIMING, "application/octet-stream", network),
    ]
    return [*files, Artifact(CURVE, "image/png", curve)] if record.evaluation.history else files


def artifact_id(study: str, digest: str, name: str) -> str:
    """The same for the same file, so that none is there twice.

    Args:
        study: The key of the study.
        digest: Of the architecture.
        name: Of the file.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{study}/{digest}/{name}"))


@dataclass(frozen=True)
class ArtifactFolder:
    """Optuna's artifact store in a folder; an `ArtifactStore`, whose files are whole or not there.

    Attributes:
        path: The folder; made when the first file comes.
    """

    path: Path

    @classmethod
    def of_database(cls, db: Database) -> "ArtifactFolder":
        """`FILE.artifacts` beside an SQLite file, else in the working folder."""
        return cls(db.beside("artifacts"))

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
