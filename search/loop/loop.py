"""The loop around the walk: ask, sample, find or assess, save, tell.

Saving comes before telling, so that a crash between the two loses no work. One `try`, in
`_settle`, turns exceptions into the states of trials.

Any number of processes may run a loop on the same study. A trial begins only where there is room
for it, so that the wanted number is reached and not exceeded, and no two are about one network.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas_sv2.database.processes import process_name
from nas_sv2.database.restarts import is_passing
from nas_sv2.errors import (
    DeviceError,
    EvaluationError,
    MeasurementError,
    NasError,
    Rejected,
    StoreError,
)
from nas_sv2.search.events.events import Listener, Outcome, Verdict
from nas_sv2.search.events.interrupts import was_interrupted
from nas_sv2.search.loop.claim import EXPIRES_S, Seat, Watch
from nas_sv2.search.loop.fruitless import Fruitless
from nas_sv2.search.loop.orphans import Unfinished, utc_offset_s
from nas_sv2.search.walk.audit_choice import MATURE, Audit
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.guidelines import Relaxed
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference, reference_name
from nas_sv2.studies.findings.attributes import (
    ARCHITECTURE,
    AUDITED,
    BASELINE,
    DUPLICATE,
    ERROR,
    FORESEEN,
    PRUNED,
    REJECTED,
    RELAXED,
    UTC_OFFSET,
    WORKER,
)
from nas_sv2.studies.findings.front import GrowingFront
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.history import read_history
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.trial_lease import TakenNetwork, TakenTrial, TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

DATABASE = (SQLAlchemyError, StorageInternalError, StoreError)  # how its errors reach us
OUTAGES = 5  # of the database, in a row; each was waited for
POLL_S = 0.2  # while other workers are at the last trials


class LostTrial(NasError):
    """The lease of the trial ran out and was taken over."""

    def __init__(self) -> None:
        super().__init__("this process stood still, and another worker took the candidate over")


@dataclass
class Loop:
    """One search on one study.

    Attributes:
        study: Asks and learns.
        space: What may be asked.
        walk: What is asked of a candidate.
        store: Where records go.
        weights: Where the weights of the front are kept.
        learns_from_pruned: See `SamplerChoice`.
        listener: Is told of everything.
        audit: Which pruned candidates go the whole way.
        expires_s: After this time without a sign of life a worker's candidate is asked again.
    """

    study: optuna.Study
    space: SearchSpace
    walk: Walk
    store: RecordStore
    weights: WeightsFolder
    learns_from_pruned: bool
    listener: Listener
    audit: Audit = field(default_factory=lambda: Audit(share=0.0))
    expires_s: float = EXPIRES_S
    _seconds: list[float] = field(default_factory=list)
    _notice: str = ""
    _trial_at: int | None = None
    _front: GrowingFront = field(default_factory=GrowingFront)
    _heeded: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Take no seat yet."""
        leases = TrialLeases(self.store.db, self.store.study)
        self._seat = Seat(leases, self.expires_s)
        self._unfinished = Unfinished(self.study, self._seat, Watch(self.expires_s))

    def run(self, trials: int, timeout_s: float | None = None) -> None:
        """Go on until the study has `trials` finished candidates, or no trial may begin any more.

        Raises:
            DeviceError: A target is gone; the candidate is asked again by the next run.
            InfeasibleError: Too many candidates were rejected, or known already.
            NasError: Trials failed, and none finished between; the message is the last one's.
            KeyboardInterrupt: The candidate is asked again by the next run.
        """
        started, prepared = time.monotonic(), False
        fruitless = Fruitless(self.space.name, trials)
        outages = 0
        with self._seat.kept(), self._nothing_left_undone():
            while timeout_s is None or time.monotonic() - started < timeout_s:
                try:
                    if not prepared:
                        self._prepare()
                        prepared = True
                    self._give_back()
                    if not self._seat.take(lambda others: self._is_room(trials - others)):
                        self._unfinished.recover()
                        if self._finished() >= trials:
                            return
                        time.sleep(POLL_S)
                        continue
                    verdict, error = self._trial(trials)
                except DATABASE as failed:
                    if was_interrupted(failed):
                        raise KeyboardInterrupt from failed
                    outages += 1
                    if outages == OUTAGES or not is_passing(failed):
                        raise
                    self.listener.waits(f"{failed}; going on once the database answers")
                    time.sleep(POLL_S)
                    continue
                outages = 0
                if verdict == "finished":
                    self._seat.done()
                if not isinstance(error, LostTrial):
                    fruitless.count(verdict, error)

    def _prepare(self) -> None:
        """Ask again what a dead process left running, and the baselines first."""
        read_history(self.study, self.store)
        self._widen(self._slack)
        with self.store.db.alone_at(f"baselines of {self.store.study}"):
            self._unfinished.recover()
            for name in self.space.baselines:
                architecture = reference(name)
                if self.store.find(architecture.digest) is None:
                    self._unfinished.enqueue(self.space.params_of(architecture), {})

    @contextmanager
    def _nothing_left_undone(self) -> Iterator[None]:
        """Whatever ends the search: the trial under way is asked again, or its lease stands still.

        Were its lease given back alone, others would find room for another trial in place of it;
        and one whose record was saved and not told would be a record too many.
        """
        try:
            yield
        except BaseException:
            with suppress(*DATABASE):
                self._give_back()
            raise
        finally:
            if self._trial_at is not None:
                self._seat.forsake()

    def _give_back(self) -> None:
        """Ask again what was under way when the database failed, or the lease was lost."""
        if self._trial_at is not None:
            self._unfinished.ask_again(self._trial_at, "interrupted")
            self._trial_at = None
            self._seat.leave()

    def _is_room(self, trials: int) -> bool:
        """Whether fewer than so many have finished.

        A record is saved before its trial is told, so that what has fewer records has fewer
        finished trials; Optuna's are read only where that does not decide.
        """
        return len(self.store.all()) < trials or self._finished() < trials

    def _finished(self) -> int:
        return len(self._told())

    def _told(self) -> set[int]:
        """The trials that finished with a candidate of their own."""
        return {
            trial.number
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if not {DUPLICATE, REJECTED} & trial.user_attrs.keys()
        }

    def _trial(self, wanted: int) -> tuple[Verdict, NasError | None]:
        began = time.monotonic()
        trial = self.study.ask()
        self._trial_at = trial.number
        try:
            trial.set_user_attr(WORKER, process_name())
            trial.set_user_attr(UTC_OFFSET, utc_offset_s())
            verdict, error, record = self._settle(trial)
        except (UpdateFinishedTrialError, ValueError) as late:  # Optuna's words for too late
            if was_interrupted(late):
                raise KeyboardInterrupt from late
            if not self._has_ended(trial.number):
                raise
            verdict, error, record = "failed", LostTrial(), None
        if not isinstance(error, LostTrial):
            self._trial_at = None
        seconds = time.monotonic() - began
        if verdict == "finished":
            self._seconds.append(seconds)
        finished = self.store.known
        mean_s = sum(self._seconds) / len(self._seconds) if self._seconds else None
        remaining_s = None if mean_s is None else mean_s * (wanted - finished)
        reason = str(error) if error else ""
        self.listener.ended(
            Outcome(
                trial.number,
                verdict,
                reason,
                record,
                seconds,
                finished,
                wanted,
                remaining_s,
                self._notice,
            )
        )
        self._notice = ""
        return verdict, error

    def _has_ended(self, number: int) -> bool:
        return self.study.get_trials(deepcopy=False)[number].state.is_finished()

    def _settle(self, trial: Trial) -> tuple[Verdict, NasError | None, Record | None]:
        try:
            architecture = self.space.sample(trial)
            if not self._seat.bind(trial.number, architecture.digest):
                raise LostTrial
            baseline = self._baseline(architecture)
            self.listener.asked(trial.number, architecture, baseline)
            known = self.store.find(architecture.digest)
            record = known[1] if known else self._walked(trial, architecture, baseline)
        except LostTrial as lost:
            return "failed", lost, None
        except TakenTrial:
            return "duplicate", NasError("another worker took it"), None
        except TakenNetwork as taken:
            self._fail(trial, str(taken))
            return "duplicate", NasError(str(taken)), None
        except Rejected as verdict:
            self._reject(trial, verdict)
            return "rejected", verdict, None
        except (MeasurementError, EvaluationError) as error:
            self._fail(trial, str(error))
            return "failed", error, None
        except (DeviceError, KeyboardInterrupt) as error:
            with suppress(*DATABASE):  # tried once more on the way out
                self._unfinished.ask_again(trial.number, f"interrupted: {error}")
            raise
        if known and known[0] != trial.number and known[0] in self._told():
            trial.set_user_attr(DUPLICATE, known[0])
            self._tell(trial, record)
            reason = NasError(f"the network of trial {known[0]}")
            return "duplicate", reason, record
        if not self.store.save(trial.number, record, self._seat.holds_within):
            return "failed", LostTrial(), None
        self._tell(trial, record)
        records = self.store.all()
        entries, beaten = self._front.update(records)
        self.weights.drop(record.architecture.digest for record in beaten)
        if len(records) >= MATURE and self.walk.guidelines.limits:
            self._learn_from_audit({entry.number for entry in entries if entry.on_front})
        return "finished", None, record

    def _walked(self, trial: Trial, architecture: Architecture, baseline: str | None) -> Record:
        """Walk a candidate; nothing is told of one that is another worker's by now."""
        try:
            record = self._assessed(trial, architecture, baseline)
        except (Rejected, MeasurementError, EvaluationError):
            self._check_seat()
            raise
        self._check_seat()
        return record

    def _check_seat(self) -> None:
        if not self._seat.holds():
            raise LostTrial

    def _assessed(self, trial: Trial, architecture: Architecture, baseline: str | None) -> Record:
        """Walk a candidate; one that a guideline prunes goes on where it is to be audited."""
        limits = self.walk.guidelines.limits
        try:
            return self.walk.assess(architecture, baseline)
        except Rejected as verdict:
            if verdict.constraint not in limits:
                raise
            trial.set_user_attr(ARCHITECTURE, architecture.digest)
            trial.set_user_attr(PRUNED, verdict.constraint)
            if not self.audit.takes(architecture.digest):
                raise
            # In terms of the limits as they were at first; another worker may have relaxed them
            # since ours were widened.
            inner = self.walk.guidelines
            slack = inner.slack if isinstance(inner, Relaxed) else {}
            beyond = {
                name: (1 + verdict.excesses[name]) * slack.get(name, 1.0)
                for name in limits
                if verdict.excesses[name] > 0
            }
        trial.set_user_attr(AUDITED, beyond)
        return self.walk.assess(architecture, unguided=True)

    def _learn_from_audit(self, on_front: set[int]) -> None:
        """Widen the limits that would have turned away what is on the front, and say so."""
        known = self._slack
        slack = dict(known)
        heeded = set()
        if new := on_front - self._heeded:
            trials = self.study.get_trials(deepcopy=False)
            # What has not finished another worker tells just now.
            heeded = {number for number in new if trials[number].state.is_finished()}
            for number in heeded:
                for name, ratio in trials[number].user_attrs.get(AUDITED, {}).items():
                    slack[name] = max(slack.get(name, 1.0), ratio)
        self._widen(slack)  # another worker may have relaxed them
        if slack != known:
            self.study.set_user_attr(RELAXED, slack)
            factors = ", ".join(f"{name} by {factor - 1:.1%}" for name, factor in slack.items())
            self._notice = f"the audit found pruned candidates on the front; relaxed: {factors}"
        self._heeded |= heeded

    @property
    def _slack(self) -> dict[str, float]:
        """By what limits of the guidelines are multiplied."""
        slack: dict[str, float] = self.study.user_attrs.get(RELAXED, {})
        return slack

    def _widen(self, slack: Mapping[str, float]) -> None:
        inner = self.walk.guidelines
        if isinstance(inner, Relaxed):
            inner = inner.inner
        self.walk = dataclasses.replace(self.walk, guidelines=Relaxed(inner, slack))

    def _baseline(self, architecture: Architecture) -> str | None:
        name = reference_name(architecture)
        return name if name in self.space.baselines else None

    def _tell(self, trial: Trial, record: Record) -> None:
        self._constrain(trial, record.excesses)
        trial.set_user_attr(ARCHITECTURE, record.architecture.digest)
        trial.set_user_attr(BASELINE, record.baseline)
        if record.foreseen is not None:
            trial.set_user_attr(FORESEEN, record.foreseen)
        self.study.tell(trial, record.told)

    def _reject(self, trial: Trial, verdict: Rejected) -> None:
        """Tell the limits, with the worst values seen as placeholders where values are needed."""
        records = [record.told for record in self.store.all().values()]
        self._constrain(trial, verdict.excesses)
        trial.set_user_attr(REJECTED, str(verdict))
        if self.learns_from_pruned or not records:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            accuracies, *times = zip(*records, strict=True)
            self.study.tell(trial, [min(accuracies), *map(max, times)])

    def _fail(self, trial: Trial, reason: str) -> None:
        self._constrain(trial, {})
        trial.set_user_attr(ERROR, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _constrain(self, trial: Trial, excesses: Mapping[str, float]) -> None:
        """Set the full set of limits: samplers want the same on every trial.

        A limit that was not come to counts as kept.
        """
        for name in self.walk.constraints:
            trial.set_constraint(name, excesses.get(name, 0.0))
