"""A study, read once: the facts behind its front, page, notes and handle; its trials in time."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from nas_sv2.database.database import Database
from nas_sv2.evaluate.recipes.scores import ScoreFacts, facts_of
from nas_sv2.studies.estimates.other_study import OtherStudy
from nas_sv2.studies.estimates.study_estimates import SURE, StudyEstimates, estimate_study
from nas_sv2.studies.findings.attributes import (
    AUDITED,
    BEGUN_FROM,
    DUPLICATE,
    ERROR,
    GIVEN_UP,
    IDENTITY,
    KEY,
    PRUNED,
    REJECTED,
    RELAXED,
    RETRY_OF,
    TIMED_AND_TRAINED,
    detector_in,
)
from nas_sv2.studies.findings.audit import Pruned, audit_guidelines
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.confirmation import Confirmation
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.pairwise import find_ties
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import StopAudit, audit_stops
from nas_sv2.studies.findings.timed_and_trained import (
    NOT_KNOWN,
    TimedAndTrained,
    describe_detector,
)
from nas_sv2.studies.storage.confirmation_store import confirmations_of
from nas_sv2.studies.storage.recipe_evidence import CertificateStore
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import Run, runs_of
from nas_sv2.studies.storage.study import (
    Identity,
    load_study,
    store_errors,
    study_key,
    trials_of,
)

Verdict = Literal["finished", "duplicate", "rejected", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class TimedTrial:
    """One trial in time.

    Attributes:
        number: The number of the trial.
        verdict: How it ended.
        why: The reason for that; empty if it finished.
        began: The start, UTC.
        at_s: Seconds of work of the study before it began: pauses are left out.
        seconds: How long it took.
        training_s: Seconds of it in training and validating; the rest is asking the sampler,
            latency, and what lies between. None where it was not trained.
        known: Whether the training was answered by an earlier study.
    """

    number: int
    verdict: Verdict
    why: str
    began: datetime
    at_s: float
    seconds: float
    training_s: float | None = None
    known: bool = False

    @property
    def timing_s(self) -> float:
        """Seconds that were not training."""
        return self.seconds - (self.training_s or 0.0)


@dataclass(frozen=True, slots=True)
class TrialTimes:
    """The time of a study.

    Attributes:
        steps: Its trials in the order in which they began.
        work_s: How long at least one trial ran.
        wall_s: From the first trial's begin to the last one's end.
    """

    steps: Sequence[TimedTrial]
    work_s: float
    wall_s: float

    @property
    def trials_s(self) -> float:
        """Seconds of all trials together: more than `work_s` if some ran side by side."""
        return sum(step.seconds for step in self.steps)

    def of(self, verdict: Verdict) -> list[TimedTrial]:
        """Return the trials of a verdict."""
        return [step for step in self.steps if step.verdict == verdict]

    @property
    def training_s(self) -> float:
        """Seconds of all trainings that were run for this study."""
        return sum(step.training_s or 0.0 for step in self.steps)

    @property
    def timing_s(self) -> float:
        """Seconds that finished trials spent on all but training and validating."""
        return sum(step.timing_s for step in self.of("finished"))

    @property
    def other_s(self) -> float:
        """Seconds of the trials that were rejected, known already, failed or interrupted."""
        return sum(step.seconds for step in self.steps if step.verdict != "finished")


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
        relaxed: The factor by which the audit widened each guideline's limit.
        begun_from: The study that it was begun from, or None.
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
    relaxed: Mapping[str, float]
    begun_from: OtherStudy | None

    @cached_property
    def estimates(self) -> StudyEstimates | None:
        """The expected scores of the candidates; None for too few trainings."""
        return estimate_study(self.records, self.certificate, self.begun_from)

    @cached_property
    def front(self) -> Front:
        """The front, followed by the other baselines."""
        estimates = {} if self.estimates is None else self.estimates.by_trial
        return Front(self.records, estimates, self.is_proxy, self.detector is not None)

    @cached_property
    def timed_and_trained(self) -> TimedAndTrained | None:
        """The timed and the trained networks; None if an older version began the study."""
        kept = self.identity.get(TIMED_AND_TRAINED)
        return None if kept is None else TimedAndTrained.read(kept)

    @property
    def is_proxy(self) -> bool:
        """Whether accuracies are known to be of another network than the timed one."""
        return self.timed_and_trained is not None and self.timed_and_trained.is_proxy

    @property
    def detector(self) -> str | None:
        """Head and size of images of the detectors, as `ssdlite 96x128`; None of classifiers."""
        return detector_in(self.identity)

    def describe_forms(self) -> str:
        """Say in one line what is timed and what is trained, or that it is not known."""
        if self.detector is not None:
            return describe_detector(self.detector)
        found = self.timed_and_trained
        if found is None:
            return f"timed and trained: {NOT_KNOWN}"
        return found.describe(self.figure)

    @property
    def best(self) -> int | None:
        """The trial of the front that is believed to be best, or None if the front is empty."""
        return self.front.best.number if self.front.members else None

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
    def figure(self) -> ScoreFacts:
        """The score that is shown first, of the first record; top-1 if there is none."""
        for record in self.records.values():
            return record.evaluation.figure.facts
        return facts_of("accuracy")

    @property
    def compared_by(self) -> str:
        """The score by which candidates are compared, as evaluations name it."""
        if self.estimates is not None:
            return self.estimates.scored_by
        return next(iter(self.records.values())).evaluation.scored_by

    @property
    def scored_by(self) -> str:
        """The same in words; of an error, the error itself."""
        said = facts_of(self.compared_by).title
        return said if self.estimates is None else f"expected {said}"

    @cached_property
    def ties(self) -> Sequence[tuple[int, int]]:
        """Neighbours on the front, worse and better, whose order is not sure."""
        if self.estimates is None:
            return find_ties(self.front, self.certificate)
        front = sorted(self.front.members, key=lambda entry: entry.believed)
        return [
            (worse.number, better.number)
            for worse, better in pairwise(front)
            if self.estimates.chance_better(better.number, worse.number) < SURE
        ]

    @cached_property
    def pruned(self) -> Sequence[Pruned]:
        """The pruning by guidelines and its audit."""
        return audit_guidelines(self.trials, self.front)

    @property
    def stops(self) -> StopAudit | None:
        """The effects of the stop rule, or None."""
        return audit_stops(self.front)

    @cached_property
    def times(self) -> TrialTimes:
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
        fault = "failed" if ERROR in trial.user_attrs else "interrupted"
        states = {TrialState.FAIL: fault, TrialState.RUNNING: "running"}
        return states.get(trial.state, "waiting")


def read_study(db: Database, name: str) -> StudyFacts:
    """Read a study once.

    Raises:
        ConfigError: The database or the study does not exist.
        StoreError: The database cannot be read.
    """
    study = load_study(db, name)
    trials = trials_of(study)
    with store_errors():
        attributes, metrics = study.user_attrs, study.metric_names or []
    key = study_key(study)
    records = RecordStore(db, key).all()
    kept = attributes.get(BEGUN_FROM, {})
    return StudyFacts(
        study=name,
        key=key,
        storage=db.shown,
        read_at=datetime.now(UTC),
        identity=attributes[IDENTITY],
        metrics=metrics,
        trials=trials,
        records=records,
        certificate=CertificateStore(db).find_for(attributes[IDENTITY], records),
        confirmations=confirmations_of(study),
        runs=runs_of(study),
        relaxed=attributes.get(RELAXED, {}),
        begun_from=OtherStudy.read(kept) if kept.get(KEY) == key else None,
    )


def times_of(trials: Iterable[FrozenTrial], records: Mapping[int, Record]) -> TrialTimes:
    """The time of a study's trials; one that waits, or is running, has none yet."""
    begun = sorted(
        (trial for trial in trials if trial.datetime_start and trial.datetime_complete),
        key=lambda trial: _span(trial)[0],
    )
    steps: list[TimedTrial] = []
    work_s, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for trial in begun:
        start, end = _span(trial)
        at_s = work_s - max(0.0, (until - start).total_seconds())
        steps.append(_step(trial, records.get(trial.number), start, end, at_s))
        if end > until:
            work_s += (end - max(start, until)).total_seconds()
            until = end
    wall_s = (until - steps[0].began).total_seconds() if steps else 0.0
    return TrialTimes(steps, work_s, wall_s)


def _span(trial: FrozenTrial) -> tuple[datetime, datetime]:
    """Return when a trial began and ended, UTC; no earlier, though a clock was set back.

    Optuna stores UTC, and gives the local time of the machine that reads.
    """
    start, end = trial.datetime_start, trial.datetime_complete
    assert start is not None and end is not None, "chosen so"
    began = start.astimezone(UTC)
    return began, max(began, end.astimezone(UTC))


def _step(
    trial: FrozenTrial, record: Record | None, start: datetime, end: datetime, at_s: float
) -> TimedTrial:
    verdict, why = _verdict(trial)
    seconds = (end - start).total_seconds()
    if record is None or verdict != "finished":
        return TimedTrial(trial.number, verdict, why, start, at_s, seconds)
    trained_s = record.evaluation.seconds
    # A training of this trial would not fit into it; one that it took up began before it.
    known = trained_s > seconds and RETRY_OF not in trial.user_attrs
    training_s = None if known else min(trained_s, seconds)
    return TimedTrial(trial.number, verdict, why, start, at_s, seconds, training_s, known)


def _verdict(trial: FrozenTrial) -> tuple[Verdict, str]:
    said = trial.user_attrs
    if trial.state.name == "FAIL":
        if ERROR not in said:
            return "interrupted", "asked again"
        why = str(said[ERROR])
        return "duplicate" if why.startswith(GIVEN_UP) else "failed", why
    if REJECTED in said:
        return "rejected", str(said[REJECTED])
    if DUPLICATE in said:
        return "duplicate", f"the network of trial {said[DUPLICATE]}"
    return "finished", ""
