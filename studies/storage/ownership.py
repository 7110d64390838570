"""A study's key, under which its records and weights are kept, belongs to one study.

`optuna.copy_study` copies the attribute that holds the key. A copy gets a key of its own, with the
records and weights of its trials. Optuna's dashboard renames a study by copying it and deleting
the first. The copy then takes the key over.
"""

import shutil
import uuid

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, insert, select

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.studies.findings.attributes import (
    ARCHITECTURE,
    CLAIMED,
    DUPLICATE,
    IDENTITY,
    KEY,
    KEY_OF,
    REJECTED,
    key_of,
)
from nas_sv2.studies.storage.record_store import RecordRow
from nas_sv2.studies.storage.weights_folder import WeightsFolder


class StudyGone(NasError):
    """The study was deleted while a search or a confirmation was at it."""

    exit_code = 2

    def __init__(self, name: str = "") -> None:
        study = f"study {name}" if name else "the study"
        super().__init__(
            f"{study} was deleted meanwhile; its trainings are kept, and the same search under "
            "its name takes them over"
        )


def own_key(db: Database, storage: BaseStorage, study: optuna.Study) -> None:
    """Give a copied or renamed study its own key; other studies keep theirs.

    Args:
        db: The database.
        storage: Optuna's storage in it.
        study: A study of ours.

    Raises:
        StoreError: The database or the weights cannot be written.
    """
    number, attributes = storage.get_study_id_from_name(study.study_name), study.user_attrs
    owner, key = attributes.get(KEY_OF), attributes[IDENTITY][KEY]
    owner = owner if isinstance(owner, int) else None
    if owner == number:
        return
    others = numbers_with(storage, key) - {number}
    if owner is None and number < min(others, default=number + 1):
        return  # a study of an older version, and the first of this key
    with db.alone_at(f"key {key}"):
        if study.user_attrs[IDENTITY][KEY] != key:  # another process was faster
            return
        rows = _rows_of(db, key, study.get_trials(deepcopy=False))
        if owner is None or owner in others:
            _take_copies(db, study, key, rows)
        else:
            _keep_only(db, key, rows)
        study.set_user_attr(KEY_OF, number)


def check_records(db: Database, study: optuna.Study) -> None:
    """Refuse a study whose finished trials have no records here.

    Raises:
        ConfigError: It was copied from another database, without its records.
        StoreError: The database cannot be read.
    """
    key = study.user_attrs[IDENTITY][KEY]
    if db.has_table(RecordRow.__tablename__):
        with db.session("records cannot be read") as session:
            if session.scalar(select(RecordRow.id).where(RecordRow.study == key).limit(1)):
                return
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if any(map(_has_record, finished)):
        raise ConfigError(
            "study",
            study.study_name,
            "must have its records: it was copied from another database, without them; "
            "copy the file of the database, or search under another name",
        )


def name_of(storage: BaseStorage, number: int) -> str | None:
    """Return the present name of a study, or None if it was deleted.

    Args:
        storage: Optuna's storage, without a cache.
        number: The number by which it knows the study.
    """
    try:
        return storage.get_study_name_from_id(number)
    except KeyError:
        return None


def numbers_with(storage: BaseStorage, key: str) -> set[int]:
    """Return the numbers by which the storage knows the studies that have this key."""
    return {storage.get_study_id_from_name(name) for name in names_with(storage, key)}


def names_with(storage: BaseStorage, key: str) -> list[str]:
    """Return the names of the studies that have this key."""
    return [
        study.study_name for study in storage.get_all_studies() if key_of(study.user_attrs) == key
    ]


def keys_in_use(storage: BaseStorage) -> set[str]:
    """Return the keys of all studies."""
    found = (key_of(study.user_attrs) for study in storage.get_all_studies())
    return {key for key in found if isinstance(key, str)}


def _has_record(trial: FrozenTrial) -> bool:
    """Whether a record was saved for this trial."""
    done = trial.state == TrialState.COMPLETE
    return done and not {DUPLICATE, REJECTED} & trial.user_attrs.keys()


def _rows_of(db: Database, key: str, trials: list[FrozenTrial]) -> list[RecordRow]:
    """Return the records of a key that belong to these trials; others are of another study."""
    if not db.has_table(RecordRow.__tablename__):
        return []
    with db.session("records cannot be read") as session:
        query = select(RecordRow).where(RecordRow.study == key).order_by(RecordRow.id)
        rows = list(session.scalars(query))
        session.expunge_all()
    return [row for row in rows if row.trial < len(trials) and _fits(row, trials[row.trial])]


def _fits(row: RecordRow, trial: FrozenTrial) -> bool:
    """Whether the record is of the trial, which may be about to end."""
    if not trial.state.is_finished():
        return True
    return _has_record(trial) and trial.user_attrs.get(ARCHITECTURE) in (None, row.architecture)


def _take_copies(db: Database, study: optuna.Study, key: str, rows: list[RecordRow]) -> None:
    """Give a copy a new key, with copies of its records and of their weights."""
    own = uuid.uuid4().hex
    source, weights = (WeightsFolder.of_study(db, each) for each in (key, own))
    try:
        weights.copy_from(source, (row.architecture for row in rows))
    except StoreError:
        shutil.rmtree(weights.path, ignore_errors=True)
        raise
    failed = db.errors("records cannot be written")
    with failed, db.writing_alone(f"records of {own}") as connection:
        for row in rows:
            values = {"architecture": row.architecture, "trial": row.trial}
            values |= {"study": own, "document": row.document}
            connection.execute(insert(RecordRow).values(**values))
    study.set_user_attr(IDENTITY, {**study.user_attrs[IDENTITY], KEY: own})
    if CLAIMED in study.user_attrs:
        study.set_user_attr(CLAIMED, own)


def _keep_only(db: Database, key: str, rows: list[RecordRow]) -> None:
    """Delete the records of a key whose trials a renamed study lacks; their trainings stay."""
    kept = [row.id for row in rows]
    if db.has_table(RecordRow.__tablename__):
        with db.session("records cannot be written") as session:
            others = RecordRow.study == key, RecordRow.id.not_in(kept)
            session.execute(delete(RecordRow).where(*others))
