"""A trial that is asked of a study, in one transaction.

Optuna reads what is new in the study to see whether a trial waits in the queue, makes the trial
and reads it back; then each attribute is written by itself. Of all that was done around a trial
this was a third.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from optuna import Study
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import StudyModel, TrialUserAttributeModel
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import DateTime, Insert, bindparam, func, insert, literal, select
from sqlalchemy.exc import SQLAlchemyError

from nas_sv2.studies.storage.trial_writes import TRIALS, at_once


def ask(study: Study, attributes: Mapping[str, Any]) -> Trial:
    """As `Study.ask`, and the trial has these user attributes.

    What waits in the queue is asked in Optuna's own way. The study must be one of
    `create_or_resume`, with a sampler that has nothing to do before a trial.

    Raises:
        StorageInternalError: The database cannot be written.
    """
    try:
        begun = _begun(study, attributes)
    except SQLAlchemyError as error:
        raise StorageInternalError("a trial cannot be asked") from error
    if begun is not None:
        return _trial(study, begun)
    trial = study.ask()
    with at_once(trial):
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
    return trial


def _begun(study: Study, attributes: Mapping[str, Any]) -> FrozenTrial | None:
    """A new trial of the study; None where one waits in the queue."""
    storage = study._storage
    assert isinstance(storage, _CachedStorage)
    now = datetime.now(UTC)
    with storage._backend.engine.begin() as connection:
        # As Optuna does: whoever has the study's row gives the next id, and the next number.
        ours = select(StudyModel.study_id).where(StudyModel.study_id == study._study_id)
        connection.execute(ours.with_for_update()).one()
        values = {"study": study._study_id, "now": now.replace(tzinfo=None)}
        row = connection.execute(_NEXT, values).one_or_none()
        if row is None:
            return None
        texts = [
            {"trial_id": row.trial_id, "key": name, "value_json": json.dumps(value)}
            for name, value in attributes.items()
        ]
        connection.execute(insert(TrialUserAttributeModel), texts)
    return FrozenTrial(
        number=row.number,
        state=TrialState.RUNNING,
        value=None,
        values=None,
        datetime_start=now.astimezone().replace(tzinfo=None),  # Optuna shows the wall's clock
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs=dict(attributes),
        system_attrs={},
        intermediate_values={},
        trial_id=row.trial_id,
    )


def _next() -> Insert:
    """Makes a trial whose number is how many there were, unless one waits."""
    study = bindparam("study", type_=TRIALS.c.study_id.type)
    waiting = func.count().filter(TRIALS.c.state == TrialState.WAITING)
    running = literal(TrialState.RUNNING, TRIALS.c.state.type)
    new = (
        select(study, func.count(), running, bindparam("now", type_=DateTime))
        .where(TRIALS.c.study_id == study)
        .having(waiting == 0)
    )
    columns = ["study_id", "number", "state", "datetime_start"]
    made = insert(TRIALS).from_select(columns, new)
    return made.returning(TRIALS.c.trial_id, TRIALS.c.number)


_NEXT = _next()


@dataclass(frozen=True, slots=True)
class _Known:
    """As much of a storage as Optuna asks for a trial that has just begun."""

    begun: FrozenTrial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """What is written of it."""
        return copy.deepcopy(self.begun)


def _trial(study: Study, begun: FrozenTrial) -> Trial:
    """The trial for whoever works on it."""
    storage = cast(_CachedStorage, study._storage)
    with storage._lock:
        storage._add_trials_to_cache(study._study_id, [begun])
    study._thread_local.cached_all_trials = None  # the sampler reads them once a trial
    knowing = copy.copy(study)
    knowing._storage = cast(BaseStorage, _Known(begun))
    trial = Trial(knowing, begun._trial_id)
    trial.study, trial.storage = study, storage
    return trial
