"""The Optuna study behind a search: opened, checked, and never mixed with another's trials."""

import json
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import (
    DuplicatedStudyError,
    ExperimentalWarning,
    StorageInternalError,
)
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.exc import SQLAlchemyError

from nas_sv2.database.database import Database
from nas_sv2.database.engine import one_line
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.fitting.evaluation import content_of
from nas_sv2.studies.findings.attributes import CLAIMED, CONTENT, EVALUATOR_FOLDER, IDENTITY, KEY

NAMES = ("space", "data")
"""What is kept for people and for finding it; digest and content say what it is."""
SCORES = {
    "accuracy": "top-1 accuracy",
    "cross_entropy": "minus cross-entropy (nats)",
    "training_speed": "minus mean training loss (nats)",
}
"""What is maximised, by `Recipe.score`."""

Identity = Mapping[str, Any]


def create_or_resume(
    db: Database, name: str, identity: Identity, sampler: BaseSampler
) -> optuna.Study:
    """The study of that name, new or as it was left.

    Args:
        db: Where it is kept.
        name: The name of the study.
        identity: What every trial depends on; a study with another is refused. `targets` names
            the latency objectives.
        sampler: Chooses the candidates.

    Raises:
        ConfigError: A study of that name asks another question.
        StoreError: The database cannot be read or written.
    """
    backend = optuna_storage(db)
    metrics = [
        SCORES[identity.get("recipe_document", {}).get("score", "accuracy")],
        *(f"{name} latency (ms, {kind})" for name, kind in identity["targets"].items()),
    ]
    directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * (len(metrics) - 1)
    with store_errors(), db.alone_at(f"study {name}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            study = optuna.create_study(
                storage=backend, study_name=name, sampler=sampler, directions=directions
            )
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=backend, sampler=sampler)
            stored = study.user_attrs.get(IDENTITY)
            begun = _is_begun(backend, name) or _is_claimed(study)
            if begun or study.directions != directions:
                _check_identity(name, stored, identity)
                return study
            if stored is not None and _difference(stored, identity) is None:
                return study
        # New, or left before it was claimed: an infeasible budget, or a process killed just here.
        study.set_metric_names(metrics)
        study.set_user_attr(IDENTITY, {**identity, KEY: uuid.uuid4().hex})
        return study


def began_with(db: Database, name: str) -> Identity:
    """What the study of that name depends on; nothing where there is none with a trial.

    Raises:
        StoreError: The database cannot be read.
    """
    backend = optuna_storage(db)
    with store_errors():
        try:
            study = optuna.load_study(study_name=name, storage=backend)
        except KeyError:
            return {}
        identity: Identity = study.user_attrs.get(IDENTITY, {})
        return identity if _is_begun(backend, name) else {}


def _is_begun(backend: RDBStorage, name: str) -> bool:
    """Whether the study has a trial; reading them all takes seconds for thousands."""
    try:
        study_id = backend.get_study_id_from_name(name)
        backend.get_trial_id_from_study_id_trial_number(study_id, 0)
    except KeyError:
        return False
    return True


def claim(study: optuna.Study, key: str, db: Database) -> None:
    """From now on the question of a study stands; before, without a trial, another may replace it.

    Args:
        study: As `create_or_resume` gave it.
        key: What its key was then.
        db: Where it is kept.

    Raises:
        ConfigError: Another search has begun under its name since.
        StoreError: The database cannot be read or written.
    """
    name = study.study_name
    with store_errors(), db.alone_at(f"study {name}"):
        if study_key(study) != key:
            allowed = "must be another name: another search has just begun under this one"
            raise ConfigError("study", name, allowed)
        if not _is_claimed(study):
            study.set_user_attr(CLAIMED, key)


def _is_claimed(study: optuna.Study) -> bool:
    """Whether a search has got as far as to ask a trial of the question that the study has now."""
    attributes = study.user_attrs
    return CLAIMED in attributes and attributes[CLAIMED] == attributes[IDENTITY][KEY]


def study_key(study: optuna.Study) -> str:
    """What the records of this study are kept under; a later study of its name has another."""
    key: str = study.user_attrs[IDENTITY][KEY]
    return key


def load_study(db: Database, name: str) -> optuna.Study:
    """An existing study of ours, to be read.

    Raises:
        ConfigError: There is no such database, or no such study in it.
    """
    db.require()
    backend = optuna_storage(db)
    with store_errors():
        names = [summary.study_name for summary in optuna.get_all_study_summaries(backend)]
        if name not in names:
            known = ", ".join(sorted(names)) or "there is none yet"
            raise ConfigError("study", name, f"must be a study in {db.shown}: {known}")
        study = optuna.load_study(study_name=name, storage=backend)
        if KEY not in study.user_attrs.get(IDENTITY, {}):
            raise ConfigError("study", name, "must be a study that `nas-sv2 search` made")
        return study


def optuna_storage(db: Database) -> RDBStorage:
    """Return Optuna's storage in `db`; its engine is the one of the handle.

    Raises:
        ConfigError: The database cannot be opened.
        StoreError: It was made by an Optuna that this one does not understand.
    """
    return db.once(_make_storage)


def _make_storage(db: Database) -> RDBStorage:
    # Optuna takes a brace, as in a password, for a field to fill in.
    address = db.url.replace("{", "{{").replace("}", "}}")
    try:
        with store_errors():
            return db.adopt(
                lambda options: RDBStorage(address, engine_kwargs=options), "tables of Optuna"
            )
    except RuntimeError as error:  # how Optuna says that its tables are of another version
        raise StoreError(f"the studies cannot be read or written: {error}") from error


@contextmanager
def store_errors() -> Iterator[None]:
    """The errors of database and Optuna as ours."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(f"the studies cannot be read or written: {one_line(error)}") from error
    except StorageInternalError as error:
        cause = error.__cause__  # Optuna's own message guesses at it
        said = one_line(cause) if isinstance(cause, SQLAlchemyError) else error
        raise StoreError(f"the studies cannot be read or written: {said}") from error


def _check_identity(name: str, stored: Identity | None, wanted: Identity) -> None:
    if stored is None:
        raise ConfigError("study", name, "must be another name: this study is not nas-sv2's")
    if (difference := _difference(stored, wanted)) is not None:
        raise ConfigError(
            "study", name, f"must be another name: this one was begun with {difference}"
        )


def _difference(stored: Identity, wanted: Identity) -> str | None:
    """The first thing in which two questions differ, or None."""
    for key, value in wanted.items():
        if key in NAMES:
            continue
        both = stored.get(key), value
        theirs, ours = (json.dumps(_without_place(key, each), sort_keys=True) for each in both)
        if theirs != ours:
            said, here = (json.dumps(each, sort_keys=True) for each in both)
            return f"{key} {said}, not {here}"
    return None


def _without_place(key: str, value: Any) -> Any:
    """What is asked and not where it lies, which is kept beside it, or was by older versions."""
    if key == CONTENT and isinstance(value, str):
        return content_of(value)
    if key == "evaluator" and isinstance(value, Mapping):
        return {name: part for name, part in value.items() if name != EVALUATOR_FOLDER}
    return value
