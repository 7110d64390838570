"""What is set of a running trial and how it ended, written in one transaction.

Optuna writes each parameter, attribute and constraint by itself and reads the trial before; and it
reads the trial before and after it is told. Of a trial with 23 parameters and six limits that is a
hundred statements, and most of what the trial costs beside its training.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import (
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import Trial, TrialState
from sqlalchemy import Connection, Insert, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from nas_sv2.database.turns import SQLITE

Row = dict[str, Any]

TRIALS = TrialModel.__table__
_THIS = TRIALS.c.trial_id == bindparam("this")
_STATE = select(TRIALS.c.state).where(_THIS).with_for_update()
_END = update(TRIALS).where(_THIS)


@contextmanager
def at_once(trial: Trial) -> Iterator["Gathered"]:
    """Write at the end of the block what is set of `trial` in it; nothing if the block raises.

    Until then nobody else sees it. What is yielded can end the trial, too.

    The study must be one of `create_or_resume`. Optuna does not check here that a parameter is
    distributed as in earlier trials: a study is of one space.

    Raises:
        UpdateFinishedTrialError: Another worker has ended the trial; nothing is written.
        StorageInternalError: The database cannot be written.
    """
    storage = trial.storage
    assert isinstance(storage, _CachedStorage)
    gathered = Gathered(trial)
    trial.storage = cast(BaseStorage, gathered)
    try:
        yield gathered
    finally:
        trial.storage = storage
    try:
        with storage._backend.engine.begin() as connection:
            state = connection.execute(_STATE, {"this": trial._trial_id}).scalar_one()
            storage.check_trial_is_updatable(trial._trial_id, state)
            gathered.write(connection)
    except SQLAlchemyError as error:
        raise StorageInternalError("what was set of a trial cannot be written") from error


@dataclass
class Gathered:
    """As much of a storage as a running trial needs, which keeps what it is told.

    Attributes:
        trial: The trial.
        ended: How it ended, if it did.
    """

    trial: Trial
    ended: TrialState | None = None
    _params: list[Row] = field(default_factory=list)
    _values: list[Row] = field(default_factory=list)
    _user: dict[str, Any] = field(default_factory=dict)
    _system: dict[str, Any] = field(default_factory=dict)

    def end(self, state: TrialState, values: Sequence[float] | None = None) -> None:
        """As `Study.tell`: the trial ends so."""
        study = self.trial.study
        study.sampler.after_trial(study, self.trial._cached_frozen_trial, state, values)
        self.ended = state
        for objective, value in enumerate(values or ()):
            stored, kind = TrialValueModel.value_to_stored_repr(float(value))
            self._values.append({"objective": objective, "value": stored, "value_type": kind})

    def set_trial_param(
        self, trial_id: int, name: str, internal: float, distribution: BaseDistribution
    ) -> None:
        """Keep it; a trial sets each once."""
        kind = distribution_to_json(distribution)
        self._params.append(
            {"param_name": name, "param_value": internal, "distribution_json": kind}
        )

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep it."""
        self._user[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep it; a constraint is one."""
        self._system[key] = value

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """What the trial was asked with and what was set since."""
        return {**self.trial._cached_frozen_trial.system_attrs, **self._system}

    def write(self, connection: Connection) -> None:
        """Write it all.

        SQLite lets two workers take one trial from the queue. Both write the same parameters; as
        with Optuna the first's stay.
        """
        dialect, whose = connection.dialect.name, {"trial_id": self.trial._trial_id}
        for statement, rows in (
            (_first_stays(TrialParamModel, dialect), self._params),
            (_first_stays(TrialValueModel, dialect), self._values),
            (_latest_counts(TrialUserAttributeModel, dialect), _texts(self._user)),
            (_latest_counts(TrialSystemAttributeModel, dialect), _texts(self._system)),
        ):
            if rows:
                connection.execute(statement, [whose | row for row in rows])
        if self.ended is not None:
            now = datetime.now(UTC).replace(tzinfo=None)
            ended = {"state": self.ended, "datetime_complete": now}
            connection.execute(_END, {"this": self.trial._trial_id, **ended})


def _texts(attributes: dict[str, Any]) -> list[Row]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


@cache
def _first_stays(model: Any, dialect: str) -> Insert:
    return _insert(model, dialect).on_conflict_do_nothing()


@cache
def _latest_counts(model: Any, dialect: str) -> Insert:
    new = _insert(model, dialect)
    keys, latest = [model.trial_id, model.key], {"value_json": new.excluded.value_json}
    return new.on_conflict_do_update(index_elements=keys, set_=latest)


def _insert(model: Any, dialect: str) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(model) if dialect == SQLITE else postgresql.insert(model)
