"""The files of a trial: its configuration, its network, the curve of its training.

They follow from the record alone and are made on request. A search therefore uploads nothing, and
a killed search leaves no incomplete files. Every trial has them, on any machine with access to the
database, and the networks (9 MB each at 140M) take no disk space.
"""

import io
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from nas_sv2.database.database import Database
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.files import write_whole
from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.package.folder import ARCHITECTURE, TIMING
from nas_sv2.studies.pages.picture_style import CAPTION_SIZE, COLOURS, DPI, new_figure
from nas_sv2.studies.storage.catalog import Deleted, delete_study


def curve_png(evaluation: Evaluation) -> bytes:
    """Draw `evaluation.history`, which must not be empty, as a PNG."""
    from matplotlib.ticker import MaxNLocator  # which takes long to load

    passes = range(1, len(evaluation.history) + 1)
    figure = new_figure(5.0, 3.6)
    top = figure.add_subplot()
    validated = [
        (at, each.figure.facts.drawn(each.figure.score))
        for at, each in zip(passes, evaluation.history, strict=True)
        if each.figure is not None
    ]
    shown = evaluation.figure.name + (" (%)" if evaluation.figure.facts.unit == "share" else "")
    losses = [each.train_loss for each in evaluation.history]
    lines = top.plot(
        [at for at, _ in validated],
        [drawn for _, drawn in validated],
        "o-",
        color=COLOURS[0],
        markersize=5,
        label=f"{shown}, validation images",
    )
    bottom = top.twinx()
    lines += bottom.plot(
        *(passes, losses, "s--"),
        color=COLOURS[1],
        markersize=3,
        label=f"training loss ({evaluation.train_loss_unit})",
    )
    top.set_xlabel("passes over the training images")
    top.set_ylabel(shown, color=COLOURS[0])
    bottom.set_ylabel(f"loss ({evaluation.train_loss_unit})", color=COLOURS[1])
    top.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    top.set_xlim(0.5, len(evaluation.history) + 0.5)
    top.grid(alpha=0.3)
    figure.legend(handles=lines, fontsize=CAPTION_SIZE, loc="outside lower center", ncols=2)
    said = f"recipe {evaluation.recipe}, seed {evaluation.seed}, {evaluation.data}"
    figure.suptitle(said.replace("$", r"\$"), fontsize=CAPTION_SIZE)
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI, format="png")
    return file.getvalue()


CURVE = "training-curve.png"
_NAMESPACE = uuid.UUID("5e0a3f0c-6a0f-4f0f-9a53-2f1d9f6f4e8b")  # random; identifies our files


@dataclass(frozen=True)
class Artifact:
    """One file of a trial.

    Attributes:
        name: Name of the file.
        mimetype: MIME type of the content.
        content: Function that makes the content.
    """

    name: str
    mimetype: str
    content: Callable[[], bytes]


def artifacts_of(record: Record) -> Sequence[Artifact]:
    """Return the files of a candidate; the curve only if the record has the training's history.

    The file that is timed is left out of a detector, which is exported whole.
    """
    architecture = record.architecture

    def network() -> bytes:
        return payload_of(architecture, CPU_PLAN).body

    def curve() -> bytes:

        return curve_png(record.evaluation)

    files = [
        Artifact(ARCHITECTURE, "text/yaml", lambda: architecture_to_yaml(architecture).encode())
    ]
    if not record.evaluation.is_detector:
        files.append(Artifact(TIMING, "application/octet-stream", network))
    return [*files, Artifact(CURVE, "image/png", curve)] if record.evaluation.history else files


def artifact_id(study: str, digest: str, name: str) -> str:
    """Return the id of a file; equal files have equal ids and are listed once.

    Args:
        study: Key of the study.
        digest: Digest of the architecture.
        name: Name of the file.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{study}/{digest}/{name}"))


def delete_whole(db: Database, name: str) -> Deleted:
    """Delete a study as `delete_study` does, and the files that were attached to it.

    Raises:
        ConfigError: The study does not exist, or a worker is running on it.
        StoreError: The database cannot be read or written.
    """
    deleted = delete_study(db, name)
    folder = ArtifactFolder.of_database(db)
    for identifier in deleted.artifacts:
        folder.remove(identifier)
    return deleted


@dataclass(frozen=True)
class ArtifactFolder:
    """Optuna's artifact store in a folder, as an `ArtifactStore` that writes whole files only.

    Attributes:
        path: Folder, created with the first file.
    """

    path: Path

    @classmethod
    def of_database(cls, db: Database) -> "ArtifactFolder":
        """Use `FILE.artifacts` next to an SQLite file, else in the working folder."""
        return cls(db.beside("artifacts"))

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open the file for reading.

        Raises:
            ArtifactNotFound: If there is no file with that id.
        """
        return self._store.open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write the content as a file of that name, whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / artifact_id, lambda file: shutil.copyfileobj(content_body, file))

    def remove(self, artifact_id: str) -> None:
        """Delete the file, if it exists: a missing file must not prevent deleting a study."""
        with suppress(ArtifactNotFound):
            self._store.remove(artifact_id)

    @property
    def _store(self) -> FileSystemArtifactStore:
        return FileSystemArtifactStore(self.path)
