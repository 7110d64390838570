"""Copies the trials of a study to another study, with latencies of another target.

The trials keep their numbers. A network is measured, then its record saved, then its trial added.
In this order, a kill between two steps neither loses nor doubles a trial.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.walk.budget import Budget
from nas_sv2.studies.findings.attributes import (
    ARCHITECTURE,
    AUDITED,
    BASELINE,
    DUPLICATE,
    ERROR,
    IDENTITY,
    NOT_REPLAYED,
    PRUNED,
    REJECTED,
    REPLAYED,
)
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import STOP_RULE
from nas_sv2.studies.storage.record_store import RecordStore

COPIED = (ARCHITECTURE, PRUNED, AUDITED, DUPLICATE, REJECTED, ERROR, BASELINE)


@dataclass(frozen=True)
class TrialCopy:
    """Copies the trials of one study to another.

    Attributes:
        first: The study that is copied.
        study: The new study; its identity names its guidelines.
        old: The records of the first study, by trial.
        store: The records of the new study.
        target: Measures the networks for the new study.
        budget: Limits of the new study.
        told: Called with a line for each network that cannot be measured.
    """

    first: optuna.Study
    study: optuna.Study
    old: Mapping[int, Record]
    store: RecordStore
    target: Target
    budget: Budget
    told: Callable[[str], None]

    def check(self) -> None:
        """Refuse a device other than before, and a study with a running search.

        Raises:
            ConfigError: If the device differs, or a trial is under way, whose number is taken.
        """
        under_way = (TrialState.RUNNING, TrialState.WAITING)
        if trials := self.study.get_trials(deepcopy=False, states=under_way):
            numbers = ", ".join(str(trial.number) for trial in trials)
            allowed = f"must be a study without a running search: trials {numbers} are under way"
            raise ConfigError("study", self.study.study_name, allowed)
        known = next(iter(self.store.all().values()), None)
        if known is None:
            return
        began = known.latencies[self.target.name].device
        here = self.target.estimate(known.architecture).device
        if began != here:
            allowed = f"must be another name: this one was begun on {began}; here is {here}"
            raise ConfigError("study", self.study.study_name, allowed)

    def run(self, advanced: Callable[[int, int], None]) -> None:
        """Add the trials that the new study lacks, in order, and records that came later."""
        advanced(0, len(self.old))
        done = 0
        for trial in self.first.get_trials(deepcopy=False):
            record = self.old.get(trial.number)
            later = record is not None and not self._is_told(record)
            if trial.number >= self._count() or later:
                self._add(trial, record)
            done += record is not None
            advanced(done, len(self.old))

    def _add(self, trial: FrozenTrial, record: Record | None) -> None:
        of = self._duplicated(trial)
        attributes = {name: trial.user_attrs[name] for name in COPIED if name in trial.user_attrs}
        attributes[REPLAYED] = f"{self.first.study_name}:{trial.number}"
        if record is None and of is None:
            self.study.add_trial(self._placeholder(trial, attributes))
            return
        try:
            here = self._measured(of or record)
        except MeasurementError as error:
            self.told(f"trial {trial.number} is left out: {error}")
            self.study.add_trial(
                create_trial(state=TrialState.FAIL, user_attrs={**attributes, ERROR: str(error)})
            )
            return
        if of is None:
            self.store.save(self._count(), here)
        self.study.add_trial(
            create_trial(
                values=list(here.objectives),
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
                constraints=self._constraints(here.excesses),
            )
        )

    def _measured(self, record: Record | None) -> Record:
        assert record is not None
        known = self.store.find(record.architecture.digest)
        if known is not None:  # saved by an ended process, or a duplicate
            return known[1]
        latency = self.target.estimate(record.architecture)
        excesses = {name: record.excesses.get(name, 0.0) for name in self._kept}
        if STOP_RULE in record.excesses:
            excesses[STOP_RULE] = record.excesses[STOP_RULE]
        excesses |= self.budget.latency_excesses({self.target.name: latency.ms})
        return dataclasses.replace(
            record, latencies={self.target.name: latency}, excesses=excesses
        )

    def _placeholder(self, trial: FrozenTrial, attributes: Mapping[str, Any]) -> FrozenTrial:
        """A trial that keeps the numbers equal: rejected as before, or without a verdict."""
        rejected = str(trial.user_attrs.get(REJECTED, ""))
        limit = rejected.partition(":")[0]
        if rejected and limit in self._constraints({}):
            return create_trial(
                state=TrialState.PRUNED,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=dict(attributes),
                constraints=self._constraints(trial.constraints),
            )
        why = rejected or f"{trial.state.name.lower()} in {self.first.study_name}"
        return create_trial(
            state=TrialState.FAIL, user_attrs={**attributes, NOT_REPLAYED: f"never trained: {why}"}
        )

    def _duplicated(self, trial: FrozenTrial) -> Record | None:
        """The record of the network that `trial` duplicates."""
        return self.old.get(trial.user_attrs.get(DUPLICATE, -1))

    def _constraints(self, excesses: Mapping[str, float]) -> dict[str, float]:
        """The excess over every limit, since samplers need all of them on each trial."""
        names = [*self._kept, *self.budget.latency_excesses({self.target.name: 0.0})]
        return {name: float(excesses.get(name, 0.0)) for name in names}

    @property
    def _kept(self) -> list[str]:
        """The limits that do not depend on the target."""
        return [
            *self.study.user_attrs[IDENTITY]["guidelines"],
            *self.budget.cost_excesses(flops=0, params=0),
        ]

    def _is_told(self, record: Record) -> bool:
        known = self.store.find(record.architecture.digest)
        return known is not None and known[0] < self._count()

    def _count(self) -> int:
        return len(self.study.get_trials(deepcopy=False))
