"""Find and remove the leftovers of studies that Optuna's dashboard or command deleted."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.artifacts import get_all_artifact_meta
from sqlalchemy import delete, func, select

from nas_sv2.database.database import Database
from nas_sv2.errors import StoreError
from nas_sv2.files import bytes_below
from nas_sv2.studies.findings.attributes import key_of
from nas_sv2.studies.storage.ownership import keys_in_use
from nas_sv2.studies.storage.record_store import RecordRow
from nas_sv2.studies.storage.study import is_key, optuna_storage, store_errors
from nas_sv2.studies.storage.trial_lease import TrialLeaseRow

TABLES = (RecordRow, TrialLeaseRow)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Things of studies that the database does not have any more.

    Attributes:
        keys: The keys of the studies.
        records: Number of their records.
        weights: Folders of their weights and checkpoints.
        artifacts: Files that were attached to their trials.
        size_bytes: Size of all folders and files.
    """

    keys: Sequence[str]
    records: int
    weights: Sequence[Path]
    artifacts: Sequence[Path]
    size_bytes: int

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.keys or self.weights or self.artifacts)


def find_leftovers(db: Database) -> Leftovers:
    """Find what deleted studies left in the database and beside it.

    Raises:
        ConfigError: The database does not exist.
        StoreError: It cannot be read, or the key of a study is damaged, so that nobody can say
            what the study left.
    """
    db.require()
    storage = optuna_storage(db)
    # Read before the keys in use: a search that begins meanwhile has left nothing.
    counts = _records_by_key(db)
    weights, artifacts = _entries(db.beside("weights")), _entries(db.beside("artifacts"))
    with store_errors():
        for study in storage.get_all_studies():
            if (key := key_of(study.user_attrs)) is not None and not is_key(key):
                raise StoreError(
                    f"study {study.study_name}: its key is damaged; nothing is removed"
                )
        used, attached = keys_in_use(storage), _attached(storage)
    counts = {key: count for key, count in counts.items() if key not in used}
    if db.file is None:  # the folders are those of other databases too
        weights, artifacts = [path for path in weights if path.name in counts], []
    weights = [path for path in weights if is_key(path.name) and path.name not in used]
    artifacts = [path for path in artifacts if path.name not in attached]
    size = sum(bytes_below(path) for path in (*weights, *artifacts))
    return Leftovers(sorted(counts), sum(counts.values()), weights, artifacts, size)


def remove_leftovers(db: Database, found: Leftovers) -> None:
    """Remove what `find_leftovers` found.

    Raises:
        StoreError: The database cannot be written, or a file cannot be removed.
    """
    with db.session("records cannot be deleted") as session:
        for table in TABLES:
            if db.has_table(table.__tablename__):
                session.execute(delete(table).where(table.study.in_(found.keys)))
    try:
        for path in found.weights:
            shutil.rmtree(path)
        for path in found.artifacts:
            path.unlink()
    except OSError as error:
        raise StoreError(f"{error.filename} cannot be removed: {error.strerror}") from error


def _records_by_key(db: Database) -> dict[str, int]:
    """Return the number of records of each key; 0 if it has leases alone."""
    found: dict[str, int] = {}
    with db.session("records cannot be read") as session:
        for table in TABLES:
            if not db.has_table(table.__tablename__):
                continue
            counted = select(table.study, func.count()).group_by(table.study)
            for key, count in session.execute(counted):
                found[key] = found.get(key, 0) + (count if table is RecordRow else 0)
    return found


def _attached(storage: optuna.storages.BaseStorage) -> set[str]:
    """Return the ids of all files that are attached to a study or a trial."""
    found: set[str] = set()
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        metas = get_all_artifact_meta(study, storage=storage)
        for trial in study.get_trials(deepcopy=False):
            metas += get_all_artifact_meta(trial, storage=storage)
        found |= {meta.artifact_id for meta in metas}
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}") from error
