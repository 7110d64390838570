"""List the studies of a database, and delete studies with all their data."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from sqlalchemy import delete

from nas_sv2.database.database import Database
from nas_sv2.database.locks import hold_now
from nas_sv2.database.processes import is_alive
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.fitting.evaluation import Figure
from nas_sv2.studies.findings.attributes import (
    IDENTITY,
    KEY,
    OF_STUDY,
    TIMED_AND_TRAINED,
    check_attributes,
    key_of,
)
from nas_sv2.studies.findings.timed_and_trained import TimedAndTrained
from nas_sv2.studies.storage.record_store import RecordRow, RecordStore
from nas_sv2.studies.storage.study import (
    checked_key,
    find_study,
    limits_of,
    optuna_storage,
    store_errors,
    study_key,
)
from nas_sv2.studies.storage.trial_lease import TrialLease, TrialLeaseRow, TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

RENEWED_WITHIN_S = 25.0
"""Time in which a living worker renews its lease: every 10 s, with one failure allowed."""


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One study of a database.

    Attributes:
        name: The name of the study.
        targets: The names of its targets.
        budget: Its limits as users type them: `140M`, `cpu=25ms`.
        finished: Number of candidates that were measured and evaluated, with baselines.
        best: The best score of a training within the limits: top-1 accuracy, mean average
            precision of several labels, or mean absolute error. None if there is none. The front
            and `export` go by the expected score, which can be highest for another candidate.
        began: The start of its first trial (UTC), or None before it.
        fault: The reason for which nothing else is known of it; empty if it can be read.
        is_proxy: Whether accuracies are known to be of another network than the timed one.
    """

    name: str
    targets: Sequence[str]
    budget: Sequence[str]
    finished: int
    best: Figure | None
    began: datetime | None
    fault: str = ""
    is_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """The things that the deletion of a study removed.

    Attributes:
        name: The name of the study.
        trials: Number of trials of Optuna's study.
        records: Number of our records.
        artifacts: Ids of the files that were attached to the study and its trials.
        weights: The folder of its weights, or None if there was none.
    """

    name: str
    trials: int
    records: int
    artifacts: Sequence[str]
    weights: str | None


def list_studies(db: Database) -> list[StudySummary]:
    """List the studies that a search or a replay made, the oldest first.

    Raises:
        ConfigError: The database does not exist.
        StoreError: The database cannot be read.
    """
    db.require()
    with store_errors():
        found = optuna.get_all_study_summaries(optuna_storage(db))
    ours = [each for each in found if key_of(each.user_attrs) is not None]
    summaries = [_summary(each, db) for each in ours]
    never = datetime.max.replace(tzinfo=UTC)
    return sorted(summaries, key=lambda each: each.began or never)


def _summary(found: optuna.study.StudySummary, db: Database) -> StudySummary:
    began = None if found.datetime_start is None else found.datetime_start.astimezone(UTC)
    try:
        check_attributes(found.user_attrs, OF_STUDY, f"study {found.study_name}")
    except StoreError as error:
        return StudySummary(found.study_name, [], [], 0, None, began, str(error))
    identity: Mapping[str, Any] = found.user_attrs[IDENTITY]
    records = RecordStore(db, checked_key(identity[KEY])).all().values()
    forms = identity.get(TIMED_AND_TRAINED)
    figures = (record.evaluation.figure for record in records if record.feasible)
    return StudySummary(
        found.study_name,
        list(identity["targets"]),
        limits_of(identity.get("budget", {})),
        len(records),
        max(figures, key=lambda figure: figure.score, default=None),
        began,
        is_proxy=forms is not None and TimedAndTrained.read(forms).is_proxy,
    )


def workers_at(leases: TrialLeases) -> list[TrialLease]:
    """Return the leases of workers that are running on the study.

    A lease of another machine counts if it is renewed within 25 s.

    Raises:
        StoreError: The database cannot be read.
    """
    found = {lease.token: lease for lease in leases.all()}
    alive = {token: is_alive(lease.process) for token, lease in found.items()}
    unknown = {token: found[token].beats for token, each in alive.items() if each is None}
    ends = time.monotonic() + RENEWED_WITHIN_S
    renewed: set[str] = set()
    while unknown and not renewed and time.monotonic() < ends:
        time.sleep(1)
        now = {lease.token: lease.beats for lease in leases.all()}
        renewed = {token for token, beats in unknown.items() if now.get(token, beats) != beats}
        unknown = {token: beats for token, beats in unknown.items() if token in now}
    return [lease for token, lease in found.items() if alive.get(token) or token in renewed]


def check_unused(db: Database, name: str, key: str) -> None:
    """Refuse a study that a worker is running on.

    Raises:
        ConfigError: A worker is running on it.
        StoreError: The database cannot be read.
    """
    if workers := workers_at(TrialLeases(db, key)):
        host, pid, _ = workers[0].process.rsplit(":", 2)
        at = f"process {pid} on {host.partition('@')[0]}"
        raise ConfigError("study", name, f"must not be in use; {at} is at it")


def delete_study(db: Database, name: str) -> Deleted:
    """Delete a study: records, leases, weights and Optuna's study with its trials.

    Measurements and the candidates' trainings stay, because other studies use them. The study's
    confirmations go, with their longer trainings. The result names the attached files; their
    folder belongs to the caller.

    Raises:
        ConfigError: The study does not exist, or a search, confirmation or replay is at it.
        StoreError: The database cannot be read or written, or the weights cannot be removed.
    """
    study, backend = find_study(db, name), optuna_storage(db)
    with store_errors(), _alone_with(db, name), db.alone_at(f"study {name}"):
        key = study_key(study)
        check_unused(db, name, key)
        artifacts = _artifacts(study, backend)
        trials = len(study.get_trials(deepcopy=False))
        records = _forget(db, key)
        optuna.delete_study(study_name=name, storage=backend)
    weights = WeightsFolder.of_study(db, key).path
    was_there = os.path.isdir(weights)
    try:
        if was_there:
            shutil.rmtree(weights)
    except OSError as error:
        left = f"{error.filename} cannot be removed: {error.strerror}"
        raise StoreError(f"study {name} is deleted, but {left}") from error
    return Deleted(name, trials, records, artifacts, str(weights) if was_there else None)


@contextmanager
def _alone_with(db: Database, name: str) -> Iterator[None]:
    """Hold the locks of a confirmation of the study and of a replay to it.

    Raises:
        ConfigError: Another process holds one.
    """
    with ExitStack() as held:
        for work in ("confirm", "replay to"):
            held.enter_context(
                hold_now(
                    db.lock(f"{work} {name}"),
                    lambda holder: ConfigError("study", name, f"must not be in use by {holder}"),
                )
            )
        yield


def _artifacts(study: optuna.Study, backend: RDBStorage) -> list[str]:
    found = get_all_artifact_meta(study, storage=backend)
    for trial in study.get_trials(deepcopy=False):
        found += get_all_artifact_meta(trial, storage=backend)
    return [each.artifact_id for each in found]


def _forget(db: Database, key: str) -> int:
    """Delete our rows of a study, and return the number of its records."""
    with db.errors("the study cannot be deleted"), db.begin() as connection:
        connection.execute(delete(TrialLeaseRow).where(TrialLeaseRow.study == key))
        return connection.execute(delete(RecordRow).where(RecordRow.study == key)).rowcount
