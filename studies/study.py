"""The Optuna study behind a search: opened, checked, and never mixed with another's trials."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.latency.store import BUSY_TIMEOUT_MS, one_line

DEFAULT_STORAGE = "sqlite:///nas-sv2.db"
IDENTITY = "nas_sv2"
"""The study attribute that says what its trials have in common."""

Identity = Mapping[str, Any]

optuna.logging.set_verbosity(optuna.logging.WARNING)


def create_or_resume(
    storage: str, name: str, identity: Identity, sampler: BaseSampler
) -> optuna.Study:
    """The study of that name, new or as it was left.

    Args:
        storage: A database URL.
        name: The name of the study.
        identity: What every trial depends on; a study with another is refused. `targets` names
            the latency objectives.
        sampler: Chooses the candidates.

    Raises:
        ConfigError: A study of that name asks another question.
        StoreError: The database cannot be read or written.
    """
    metrics = ["top-1 accuracy", *(f"{target} latency (ms)" for target in identity["targets"])]
    directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * (len(metrics) - 1)
    try:
        study = optuna.create_study(
            storage=open_storage(storage),
            study_name=name,
            sampler=sampler,
            directions=directions,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(metrics)
        study.set_user_attr(IDENTITY, dict(identity))
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=open_storage(storage), sampler=sampler)
        _check_identity(name, study.user_attrs.get(IDENTITY), identity)
    except SQLAlchemyError as error:
        raise StoreError(f"study {name} cannot be opened: {one_line(error)}") from error
    return study


def load_study(storage: str, name: str) -> optuna.Study:
    """An existing study of ours, to be read.

    Raises:
        ConfigError: There is no such database, or no such study in it.
    """
    require_database(storage)
    backend = open_storage(storage)
    names = [summary.study_name for summary in optuna.get_all_study_summaries(backend)]
    if name not in names:
        known = ", ".join(sorted(names)) or "there is none yet"
        raise ConfigError("study", name, f"a study in {storage}: {known}")
    study = optuna.load_study(study_name=name, storage=backend)
    if IDENTITY not in study.user_attrs:
        raise ConfigError("study", name, "a study that `nas-sv2 search` made")
    return study


def require_database(storage: str) -> None:
    """Refuse an SQLite file that is not there: reading must not create one.

    Raises:
        ConfigError: The file does not exist.
    """
    if storage.startswith("sqlite"):
        file = make_url(storage).database
        if file and not Path(file).exists():
            raise ConfigError("--storage", storage, "the database of a search; no such file")


def open_storage(url: str) -> RDBStorage:
    """Optuna's tables; SQLite waits for other writers as long as our own tables do."""
    options: dict[str, Any] = {}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": BUSY_TIMEOUT_MS / 1000}
    return RDBStorage(url, engine_kwargs=options)


def _check_identity(name: str, stored: Identity | None, wanted: Identity) -> None:
    if stored is None:
        raise ConfigError("--study", name, "another name: this study is not nas-sv2's")
    for key, value in wanted.items():
        if json.dumps(stored.get(key), sort_keys=True) != json.dumps(value, sort_keys=True):
            theirs, ours = json.dumps(stored.get(key)), json.dumps(value)
            raise ConfigError(
                "--study",
                name,
                f"another name: this one was begun with {key} {theirs}, not {ours}",
            )
