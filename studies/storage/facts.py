"""A study, read once: the facts behind its front, page, notes and handle."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from optuna.trial import FrozenTrial, TrialState

from nas_sv2.database.database import Database
from nas_sv2.studies.findings.attributes import (
    AUDITED,
    DUPLICATE,
    IDENTITY,
    PRUNED,
    REJECTED,
    RELAXED,
)
from nas_sv2.studies.findings.audit import Pruned, audit_guidelines
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.confirmation import Confirmation
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.pairwise import find_ties
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import StopAudit, audit_stops
from nas_sv2.studies.findings.trial_times import Times, times_of
from nas_sv2.studies.storage.certificate_store import CertificateStore
from nas_sv2.studies.storage.confirmation_store import confirmations_of
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import Run, runs_of
from nas_sv2.studies.storage.study import SCORES, Identity, load_study, store_errors, study_key


@dataclass(frozen=True)
class StudyFacts:
    """The facts about a study.

    Attributes:
        study: The name of the study.
        key: The key of its records.
        storage: The URL of its database, without a password.
        read_at: The time of reading (UTC).
        identity: The settings that all its trials depend on.
        metrics: The names of its objectives.
        trials: The trials of Optuna's study.
        records: The records of finished trials, by trial.
        certificate: The certificate of the recipe on the data, or None.
        confirmations: The confirmations, the newest last.
        runs: The starts of the search, the oldest first.
        pruned: The pruning by guidelines and its audit.
        relaxed: The factor by which the audit widened each guideline's limit.
    """

    study: str
    key: str
    storage: str
    read_at: datetime
    identity: Identity
    metrics: Sequence[str]
    trials: Sequence[FrozenTrial]
    records: Mapping[int, Record]
    certificate: Certificate | None
    confirmations: Sequence[Confirmation]
    runs: Sequence[Run]
    pruned: Sequence[Pruned]
    relaxed: Mapping[str, float]

    @cached_property
    def front(self) -> Front:
        """The front, followed by the other baselines."""
        return Front(self.records)

    @property
    def best(self) -> int | None:
        """The trial of the front with the highest score, or None if the front is empty."""
        members = self.front.members
        if not members:
            return None
        return max(members, key=lambda entry: entry.record.evaluation.score).number

    @property
    def baselines(self) -> dict[int, Record]:
        """The hand-designed networks, by trial."""
        return {number: record for number, record in self.records.items() if record.baseline}

    @property
    def targets(self) -> list[str]:
        """The names of the targets."""
        if not self.records:
            return list(self.identity["targets"])
        return list(next(iter(self.records.values())).latencies)

    @property
    def scored_by(self) -> str:
        """The score by which candidates are compared, in words."""
        return SCORES[next(iter(self.records.values())).evaluation.scored_by]

    @cached_property
    def ties(self) -> Sequence[tuple[int, int]]:
        """Neighbours on the front, worse and better, that the recipe cannot distinguish."""
        return find_ties(self.records, self.certificate)

    @property
    def stops(self) -> StopAudit | None:
        """The effects of the stop rule, or None."""
        return audit_stops(self.records)

    @cached_property
    def times(self) -> Times:
        """The times of the trials."""
        return times_of(self.trials, self.records)

    @property
    def audited(self) -> dict[int, str]:
        """Trials that a guideline had pruned and the audit continued, with the guideline."""
        return {
            trial.number: str(trial.user_attrs[PRUNED])
            for trial in self.trials
            if trial.number in self.records and AUDITED in trial.user_attrs
        }

    @property
    def rejected(self) -> dict[str, int]:
        """The number of candidates that each limit rejected, the largest first."""
        said = (trial.user_attrs.get(REJECTED) for trial in self.trials)
        return dict(Counter(str(each).partition(":")[0] for each in said if each).most_common())

    @property
    def progress(self) -> dict[str, int]:
        """The number of trials in each state that occurs."""
        return dict(Counter(map(self._state, self.trials)))

    def _state(self, trial: FrozenTrial) -> str:
        if trial.number in self.records:
            return "finished"
        if DUPLICATE in trial.user_attrs:
            return "duplicate"
        if REJECTED in trial.user_attrs:
            return "rejected"
        states = {TrialState.FAIL: "failed", TrialState.RUNNING: "running"}
        return states.get(trial.state, "waiting")


def read_study(db: Database, name: str) -> StudyFacts:
    """Read a study once.

    Raises:
        ConfigError: The database or the study does not exist.
        StoreError: The database cannot be read.
    """
    study = load_study(db, name)
    with store_errors():
        trials = study.get_trials(deepcopy=False)
        attributes, metrics = study.user_attrs, study.metric_names or []
    records = RecordStore(db, study_key(study)).all()
    return StudyFacts(
        study=name,
        key=study_key(study),
        storage=db.shown,
        read_at=datetime.now(UTC),
        identity=attributes[IDENTITY],
        metrics=metrics,
        trials=trials,
        records=records,
        certificate=CertificateStore(db).find_for(attributes[IDENTITY], records),
        confirmations=confirmations_of(study),
        runs=runs_of(study),
        pruned=audit_guidelines(trials, records),
        relaxed=attributes.get(RELAXED, {}),
    )
