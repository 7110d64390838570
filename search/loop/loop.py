"""The loop around the walk: ask, sample, find or assess, save, tell.

Saving comes before telling, so that a crash between the two loses no work. One `try`, in
`_settle`, turns exceptions into the states of trials.

Any number of processes may run a loop on the same study. A trial begins only if there is room for
it, so that the wanted number is reached and not exceeded. No two trials have the same network.
"""

import gc
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from nas_sv2.database.processes import process_name
from nas_sv2.errors import (
    ConfigError,
    DeviceError,
    EvaluationError,
    InfeasibleError,
    MeasurementError,
    NasError,
    Rejected,
    StoreError,
    was_interrupted,
)
from nas_sv2.plain_data import printable
from nas_sv2.search.events.events import (
    Notice,
    OnEvent,
    TrialAsked,
    TrialFinished,
    Verdict,
    ignore,
    notify,
)
from nas_sv2.search.loop.claim import (
    EXPIRES_S,
    Orphans,
    TrialClaim,
    Watch,
    fixed_params,
)
from nas_sv2.search.loop.kept_weights import too_far
from nas_sv2.search.loop.outages import DATABASE, Outages
from nas_sv2.search.loop.telling import Teller
from nas_sv2.search.walk.audit import MATURE, Audit, RelaxedLimits
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import Checked, Replay
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.attributes import (
    ARCHITECTURE,
    AUDITED,
    DUPLICATE,
    PRUNED,
    REJECTED,
    WORKER,
)
from nas_sv2.studies.findings.front import GrowingFront
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.ownership import StudyGone, name_of, names_with
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import load_study, store_errors
from nas_sv2.studies.storage.trial_lease import TakenNetwork, TakenTrial, TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

ENDED = (KeyError, StaleDataError, IntegrityError)  # errors of Optuna if the study was deleted
POLL_S = 0.2  # seconds between looks while other workers finish the last trials

# Trials since the last finished one, after which the search ends.
FAILURES = 3  # failed trials; three without a success between are not chance
REJECTIONS = 2000  # as many as the check of feasibility samples before the search
DUPLICATES = 200  # a sampler that learns repeats networks, but not so often


class LostTrial(NasError):
    """The lease of the trial expired, and another worker took it over."""

    def __init__(self) -> None:
        super().__init__("this process stood still, and another worker took the candidate over")


class QueuedOutside(NasError):
    """Somebody queued a candidate with a value or a name that the space lacks."""

    def __init__(self, why: str) -> None:
        super().__init__(f"it was queued outside the space: {why}")


@dataclass
class Loop:
    """One search on one study.

    Attributes:
        study: Asks for candidates and learns from them.
        space: The space of the candidates.
        walk: Assesses a candidate.
        store: The records.
        weights: The weights of the front and of candidates near it.
        learns_from_pruned: See `SamplerChoice`.
        on_event: Called with every event.
        audit: Chooses the pruned candidates that are assessed anyway.
        limits: The guidelines of the walk, which the audit relaxes; None without an audit.
        expires_s: Seconds without a renewal after which a worker's candidate is asked again.
        gone: Set once the study or its database was deleted, to end a training under way.
        starts: Parameters of the candidates that are asked after the baselines, once.
    """

    study: optuna.Study
    space: SearchSpace
    walk: Walk
    store: RecordStore
    weights: WeightsFolder
    learns_from_pruned: bool
    on_event: OnEvent = ignore
    audit: Audit = field(default_factory=lambda: Audit(share=0.0))
    limits: RelaxedLimits | None = None
    expires_s: float = EXPIRES_S
    gone: threading.Event = field(default_factory=threading.Event)
    starts: Sequence[dict[str, object]] = ()
    _notice: str = ""
    _undropped: str = ""
    _trial_at: int | None = None
    _front: GrowingFront = field(default_factory=GrowingFront)
    _since_finished: Counter[Verdict] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Lease no trial yet."""
        leases = TrialLeases(self.store.db, self.store.study)
        self._claim = TrialClaim(leases, self.expires_s, self._is_gone, self.gone)
        self._teller = Teller.of(self.store.db, self.study.study_name, self.walk.constraints)
        self._orphans = Orphans(self.study, self._claim, Watch(self.expires_s), self._teller)

    def run(self, trials: int, timeout_s: float | None = None) -> None:
        """Run until the study has `trials` finished candidates, or the time is up.

        Raises:
            DeviceError: If a target is gone; the next run asks the candidate again.
            InfeasibleError: If too many candidates in a row are rejected or known.
            NasError: If too many trials in a row fail; it is the last one's error.
            StudyGone: If the study was deleted meanwhile.
            DatabaseGone: If the database was deleted, moved or replaced meanwhile.
            KeyboardInterrupt: If interrupted; the next run asks the candidate again.
        """
        self._since_finished.clear()
        started, prepared, outages = time.monotonic(), False, Outages(notify(self.on_event))
        with self._claim.renewing(), self._asking_again_at_the_end():
            while timeout_s is None or time.monotonic() - started < timeout_s:
                try:
                    if not prepared:
                        self._prepare()
                        prepared = True
                    self._give_back()
                    if not self._claim.take(lambda others: self._is_room(trials - others)):
                        if self._is_over(trials):
                            return
                        outages.over()
                        continue
                    verdict, error = self._trial(trials)
                except ENDED as ended:
                    if not self.follow():
                        raise ended
                    prepared = False
                    continue
                except DATABASE as failed:
                    outages.wait_out(failed)
                    continue
                outages.over()
                self._count(verdict, error, trials)

    def follow(self) -> bool:
        """Go on with the study under its new name, if the dashboard renamed it.

        Returns:
            Whether it was renamed: it was copied, and the first was deleted.

        Raises:
            StudyGone: If it was deleted.
        """
        if not self._teller.is_gone:
            return False
        db, before, self._trial_at = self.store.db, self.study.study_name, None
        self._claim.release()
        names = names_with(self._teller.storage, self.store.study)
        if not names:
            raise StudyGone(before)
        renamed = load_study(db, names[-1])
        renamed.sampler = self.study.sampler
        self.study, self._front = renamed, GrowingFront()
        self.store.reread()
        self._teller = Teller.of(db, names[-1], self.walk.constraints)
        self._orphans = Orphans(renamed, self._claim, Watch(self.expires_s), self._teller)
        if self.limits is not None:
            self.limits.study = renamed
        self.on_event(Notice(f"study {before} is {names[-1]} now; the search goes on there"))
        return True

    @property
    def study_name(self) -> str:
        """The present name of the study."""
        name = name_of(self._teller.storage, self._teller.study)
        return self.study.study_name if name is None else name

    def _is_gone(self) -> bool:
        with store_errors():
            gone = self._teller.is_gone
            return gone and not names_with(self._teller.storage, self.store.study)

    def _prepare(self) -> None:
        """Queue the candidates that dead processes left running, the baselines and the starts."""
        self._read_history()
        if self.limits is not None:
            self.limits.read()
        with self.store.db.alone_at(f"baselines of {self.store.study}"):
            self._orphans.recover()
            for name in self.space.baselines:
                architecture = self.space.baseline(name)
                if self.store.find(architecture.digest) is None:
                    self._orphans.enqueue(self.space.params_of(architecture))
            for params in self.starts:
                if self.store.find(self.space.sample(Replay(params)).digest) is None:
                    self._orphans.enqueue(params, once=True)

    def _read_history(self) -> None:
        """Read all trials and records once; later reads are of new ones only.

        Thousands of trials make a million objects and no garbage. The collector is off meanwhile,
        since it would take a third of the time.
        """
        was_on = gc.isenabled()
        gc.disable()
        try:
            self.study.get_trials(deepcopy=False)
            self.store.all()
        finally:
            if was_on:
                gc.enable()

    @contextmanager
    def _asking_again_at_the_end(self) -> Iterator[None]:
        """Ask the trial under way again at any end of the search, or let its lease expire.

        If the lease alone were given back, others would begin another trial in its place. A trial
        with a saved record that was not reported would then be one too many.
        """
        try:
            yield
        except StudyGone:
            self._trial_at = None
            raise
        except BaseException:
            with suppress(*DATABASE, *ENDED):
                self._give_back()
            raise
        finally:
            if self._trial_at is not None:
                self._claim.abandon()

    def _give_back(self) -> None:
        """Ask the trial under way again, after a fault of the database or a lost lease."""
        if self._trial_at is not None:
            self._orphans.ask_again(self._trial_at, "interrupted")
            self._trial_at = None
            self._claim.release()

    def _is_over(self, trials: int) -> bool:
        """Whether enough trials have finished; if not, ask those of dead workers again."""
        self._orphans.recover()
        if self._finished() >= trials:
            return True
        time.sleep(POLL_S)
        return False

    @property
    def waiting_starts(self) -> int:
        """Number of candidates to start with that were not asked yet."""
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return sum(fixed_params(trial) in self.starts for trial in waiting)

    def _is_room(self, trials: int) -> bool:
        """Whether fewer than `trials` trials have finished.

        A record is saved before its trial ends, so a study never has fewer records than finished
        trials. Optuna's trials are read only if the records do not decide.
        """
        return len(self.store.all()) < trials or self._finished() < trials

    def _finished(self) -> int:
        return len(self._told())

    def _told(self) -> set[int]:
        """The trials that finished with a new candidate."""
        return {
            trial.number
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if not {DUPLICATE, REJECTED} & trial.user_attrs.keys()
        }

    def _trial(self, wanted: int) -> tuple[Verdict, NasError | None]:
        """Run one trial and report it; give its verdict and the error behind it, if any."""
        began = time.monotonic()
        trial = self.study.ask()
        self._trial_at = trial.number
        try:
            trial.set_user_attr(WORKER, process_name())
            verdict, error, record = self._settle(trial)
        except (UpdateFinishedTrialError, ValueError) as late:  # the trial has ended already
            if was_interrupted(late):
                raise KeyboardInterrupt from late
            if not self._has_ended(trial.number):
                raise
            verdict, error, record = "failed", LostTrial(), None
        if not isinstance(error, LostTrial):
            self._trial_at = None
        seconds = time.monotonic() - began
        finished, reason = self.store.known, str(error) if error else ""
        report = partial(TrialFinished, trial.number, verdict, reason, record, seconds)
        self.on_event(report(finished, wanted, notice=self._notice))
        self._notice = ""
        return verdict, error

    def _has_ended(self, number: int) -> bool:
        return self.study.get_trials(deepcopy=False)[number].state.is_finished()

    def _count(self, verdict: Verdict, error: NasError | None, trials: int) -> None:
        """Count the trials since the last finished one.

        Raises:
            InfeasibleError: If too many candidates in a row are rejected or known.
            NasError: If too many trials in a row fail; it is the last one's error.
        """
        if verdict == "finished":
            self._claim.done()
            self._since_finished.clear()
            return
        if isinstance(error, LostTrial | QueuedOutside):
            return
        counts = self._since_finished
        counts[verdict] += 1
        if counts["failed"] == FAILURES and error is not None:
            raise error
        if counts["rejected"] == REJECTIONS or counts["duplicate"] == DUPLICATES:
            raise InfeasibleError(
                f"no new network in {counts['rejected']} rejected candidates and "
                f"{counts['duplicate']} known ones: space {self.space.name} hardly has "
                f"{trials} networks within the limits; the last: {error}"
            )

    def _settle(self, trial: Trial) -> tuple[Verdict, NasError | None, Record | None]:
        """Find or assess the candidate of a trial, and report its end to the study."""
        number = trial.number
        try:
            architecture = self._sample(trial)
            if not self._claim.bind(trial.number, architecture.digest):
                raise LostTrial
            baseline = self._baseline(architecture)
            flops = cost_of(self.walk.counted(architecture)).flops
            self.on_event(TrialAsked(trial.number, architecture, baseline, flops))
            known = self.store.find(architecture.digest)
            record = known[1] if known else self._walked(trial, architecture, baseline)
        except LostTrial as lost:
            return "failed", lost, None
        except TakenTrial:
            return "duplicate", NasError("another worker took it"), None
        except TakenNetwork as taken:
            self._teller.tell_failed(number, str(taken))
            return "duplicate", NasError(str(taken)), None
        except QueuedOutside as error:
            self._teller.tell_failed(number, str(error))
            return "failed", error, None
        except Rejected as verdict:
            seen = [] if self.learns_from_pruned else self.store.all().values()
            self._teller.tell_rejected(number, verdict, seen)
            return "rejected", verdict, None
        except (MeasurementError, EvaluationError, ConfigError) as error:
            self._teller.tell_failed(number, str(error))
            return "failed", error, None
        except (DeviceError, KeyboardInterrupt) as error:
            with suppress(*DATABASE):  # repeated when the search ends
                self._orphans.ask_again(trial.number, f"interrupted: {error}")
            raise
        if known and known[0] != trial.number and known[0] in self._told():
            self._teller.note(number, {DUPLICATE: known[0]})
            self._teller.tell_record(number, record)
            return "duplicate", NasError(f"the network of trial {known[0]}"), record
        return self._keep(trial, record)

    def _sample(self, trial: Trial) -> Architecture:
        """Return the network of a trial.

        Raises:
            QueuedOutside: If somebody queued it with a value or a name that the space lacks.
        """
        queued = self._teller.queued(trial.number)
        try:
            architecture = self.space.sample(Checked(trial, queued))
        except ConfigError as error:
            raise QueuedOutside(str(error)) from error
        known = trial.params
        if unknown := [name for name in queued if name not in known]:
            near = ", ".join(get_close_matches(unknown[0], known, cutoff=0.0))
            raise QueuedOutside(
                f"{printable(unknown[0], 80)!r} must be a choice of the space, such as {near}"
            )
        return architecture

    def _keep(
        self, trial: Trial, record: Record
    ) -> tuple[Verdict, NasError | None, Record | None]:
        """Save a record, report it to the study, and update the front and the audit."""
        if not self.store.save(trial.number, record, self._claim.holds_within):
            return "failed", LostTrial(), None
        self._teller.tell_record(trial.number, record)
        records = self.store.all()
        self._drop_weights(too_far(records))
        entries = self._front.update(records)
        if len(records) >= MATURE and self.limits is not None:
            self._learn_from_audit(entry.number for entry in entries if entry.on_front)
        return "finished", None, record

    def _drop_weights(self, digests: Sequence[str]) -> None:
        """Delete weights that are not to be kept; a search that cannot says so and continues."""
        try:
            self.weights.drop(digests)
        except StoreError as error:
            if str(error) != self._undropped:
                self._undropped = str(error)
                self.on_event(Notice(str(error)))

    def _walked(self, trial: Trial, architecture: Architecture, baseline: str | None) -> Record:
        """Walk a candidate; refuse it if another worker has it by now."""
        try:
            record = self._assessed(trial, architecture, baseline)
        except (Rejected, MeasurementError, EvaluationError):
            self._check_claim()
            raise
        self._check_claim()
        return record

    def _check_claim(self) -> None:
        if not self._claim.holds():
            raise LostTrial

    def _assessed(self, trial: Trial, architecture: Architecture, baseline: str | None) -> Record:
        """Walk a candidate, past the guidelines if it is to be audited."""
        try:
            return self.walk.assess(architecture, baseline)
        except Rejected as verdict:
            if verdict.constraint not in self.walk.guidelines.limits:
                raise
            pruned = {ARCHITECTURE: architecture.digest, PRUNED: verdict.constraint}
            self._teller.note(trial.number, pruned)
            if self.limits is None or not self.audit.takes(architecture.digest):
                raise
            exceeded = self.limits.exceeded(verdict.excesses)
        self._teller.note(trial.number, {AUDITED: exceeded})
        return self.walk.assess(architecture, unguided=True)

    def _learn_from_audit(self, on_front: Iterable[int]) -> None:
        """Relax the guidelines by the audited candidates on the front."""
        assert self.limits is not None
        exceeded: dict[int, Mapping[str, float]] = {}
        if new := self.limits.unheard(on_front):
            trials = self.study.get_trials(deepcopy=False)
            # A record without a finished trial is being reported by another worker.
            exceeded = {
                number: trials[number].user_attrs.get(AUDITED, {})
                for number in new
                if trials[number].state.is_finished()
            }
        self._notice = self.limits.learn(exceeded) or self._notice

    def _baseline(self, architecture: Architecture) -> str | None:
        named = (
            name for name in self.space.baselines if self.space.baseline(name) == architecture
        )
        return next(named, None)
