"""Reports a trial to the sampler: its limits, its attributes and its end.

Optuna writes them one by one. If a worker dies between two, the trial stays running and is asked
again.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from optuna import create_trial
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from nas_sv2.database.database import Database
from nas_sv2.errors import EvaluationError, Rejected
from nas_sv2.studies.findings.attributes import (
    ARCHITECTURE,
    BASELINE,
    ERROR,
    FORESEEN,
    REJECTED,
)
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.ownership import name_of
from nas_sv2.studies.storage.study import optuna_storage


def queued_params(system_attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a trial was queued with; empty if it was not queued."""
    found: dict[str, Any] = system_attributes.get("fixed_params", {})
    return found


@dataclass(frozen=True)
class Teller:
    """Reports trials of one study.

    It calls Optuna's storage. `Trial.set_constraint` and `Study.tell` would read the whole trial
    again for each value, which takes most of the time of a trial.

    Attributes:
        storage: Optuna's storage.
        study: The number by which the storage knows the study.
        constraints: The names of all limits, since samplers need the same ones on every trial.
    """

    storage: BaseStorage
    study: int
    constraints: Sequence[str] = ()

    @classmethod
    def of(cls, db: Database, name: str, constraints: Sequence[str]) -> Self:
        """Return the teller of the study of this name."""
        storage = optuna_storage(db)
        return cls(storage, storage.get_study_id_from_name(name), constraints)

    @property
    def is_gone(self) -> bool:
        """Whether the study was deleted."""
        return name_of(self.storage, self.study) is None

    def tell_record(self, number: int, record: Record) -> None:
        """Report the record of a candidate.

        Raises:
            EvaluationError: An objective or a limit's excess is not a finite number.
        """
        attributes: dict[str, Any] = {ARCHITECTURE: record.architecture.digest}
        attributes |= {BASELINE: record.baseline} if record.baseline else {}
        attributes |= {} if record.foreseen is None else {FORESEEN: record.foreseen}
        self._end(
            number, TrialState.COMPLETE, attributes, record.excesses, record.sampler_objectives
        )

    def tell_rejected(self, number: int, verdict: Rejected, seen: Collection[Record]) -> None:
        """Report the limits that a candidate broke.

        Args:
            number: The number of the trial.
            verdict: The broken limits.
            seen: The records so far, if the sampler learns from complete trials alone. Their
                worst values become those of this trial. Empty if the sampler learns from pruned
                trials.
        """
        attributes = {REJECTED: str(verdict)}
        if not seen:
            self._end(number, TrialState.PRUNED, attributes, verdict.excesses)
            return
        scores, *times = zip(*(record.sampler_objectives for record in seen), strict=True)
        worst = [min(scores), *map(max, times)]
        self._end(number, TrialState.COMPLETE, attributes, verdict.excesses, worst)

    def tell_failed(self, number: int, reason: str) -> None:
        """Report that a candidate gave no values, with the reason."""
        self._end(number, TrialState.FAIL, {ERROR: reason}, {})

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a running trial, which may be another worker's.

        Raises:
            UpdateFinishedTrialError: The trial has ended.
        """
        trial = self._id(number)
        for name, value in attributes.items():
            self.storage.set_trial_user_attr(trial, name, value)

    def queued(self, number: int) -> dict[str, Any]:
        """Return the parameters with which a trial was queued; empty if it was not.

        They are asked alone: `Study.get_trials` would read all trials that run.
        """
        attributes = self.storage.get_trial_system_attrs(self._id(number))
        return queued_params(attributes)

    def _end(
        self,
        number: int,
        state: TrialState,
        attributes: Mapping[str, Any],
        excesses: Mapping[str, float],
        values: Iterable[float] | None = None,
    ) -> None:
        """Write a trial's end; a limit that was not checked counts as kept."""
        found = None if values is None else [float(value) for value in values]
        limits = {name: float(excesses.get(name, 0.0)) for name in self.constraints}
        if not all(map(math.isfinite, [*(found or ()), *limits.values()])):
            raise EvaluationError(
                f"trial {number} has figures that are not finite: {found}, {limits}"
            )
        trial = self._id(number)
        for name, value in attributes.items():
            self.storage.set_trial_user_attr(trial, name, value)
        for name, value in create_trial(
            state=TrialState.FAIL, constraints=limits
        ).system_attrs.items():
            self.storage.set_trial_system_attr(trial, name, value)
        self.storage.set_trial_state_values(trial, state, found)

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study, number)
