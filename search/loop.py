"""The loop around the walk: ask, sample, find or assess, save, tell.

Saving comes before telling, so that a crash between the two loses no work. One `try`, in
`_settle`, turns exceptions into the states of trials.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_sv2.errors import (
    ConfigError,
    DeviceError,
    EvaluationError,
    InfeasibleError,
    MeasurementError,
    NasError,
    Rejected,
)
from nas_sv2.search.events import Listener, Outcome, Verdict
from nas_sv2.search.walk import Walk
from nas_sv2.search.worker import is_alive, worker_name
from nas_sv2.space import Architecture, SearchSpace
from nas_sv2.space.reference import reference, reference_name
from nas_sv2.studies.front import front_of
from nas_sv2.studies.record import Record
from nas_sv2.studies.record_store import RecordStore
from nas_sv2.studies.weights_folder import WeightsFolder

WORKER, DUPLICATE, REJECTED, ERROR = "worker", "duplicate_of", "rejected_by", "error"
"""Trial attributes."""

FAILURES_IN_A_ROW = 3  # the third equal fault in a row is no accident
REJECTIONS_IN_A_ROW = 2000  # as many as are sampled before the search to see that it can succeed
DUPLICATES_IN_A_ROW = 200  # a sampler that learns repeats itself, but not for so long


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
    """

    study: optuna.Study
    space: SearchSpace
    walk: Walk
    store: RecordStore
    weights: WeightsFolder
    learns_from_pruned: bool
    listener: Listener
    _seconds: list[float] = field(default_factory=list)

    def run(self, trials: int, timeout_s: float | None = None) -> None:
        """Go on until the study has `trials` finished candidates, or no trial may begin any more.

        Raises:
            DeviceError: A target is gone; the candidate is asked again by the next run.
            InfeasibleError: Too many candidates in a row were rejected, or known already.
            NasError: Trials failed one after the other; the message is the last one's.
            KeyboardInterrupt: The candidate is asked again by the next run.
        """
        started = time.monotonic()
        self._prepare()
        failures = rejections = duplicates = 0
        while self._finished() < trials:
            if timeout_s is not None and time.monotonic() - started >= timeout_s:
                return
            verdict, error = self._trial(trials)
            failures = failures + 1 if verdict == "failed" else 0
            rejections = rejections + 1 if verdict == "rejected" else 0
            duplicates = duplicates + 1 if verdict == "duplicate" else 0
            if error is not None and failures == FAILURES_IN_A_ROW:
                raise error
            if rejections == REJECTIONS_IN_A_ROW:
                raise InfeasibleError(f"{rejections} candidates in a row were rejected; {error}")
            if duplicates == DUPLICATES_IN_A_ROW:
                raise InfeasibleError(
                    f"{duplicates} candidates in a row were known already: space "
                    f"{self.space.name} hardly has {trials} networks within the limits"
                )

    def _prepare(self) -> None:
        """Ask the baselines first, and again what a dead process left running."""
        for name in self.space.baselines:
            params = self.space.params_of(reference(name))
            self.study.enqueue_trial(params, skip_if_exists=True)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get(WORKER)
            alive = False if worker is None else is_alive(worker)
            if alive:
                raise ConfigError(
                    "--study", self.study.study_name, "a study that no other process is working on"
                )
            if alive is False:
                params = _fixed_params(trial) | trial.params
                self._ask_again(trial.number, params, "its process died")

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
        trial.set_user_attr(WORKER, worker_name())
        verdict, error, record = self._settle(trial)
        seconds = time.monotonic() - began
        if verdict == "finished":
            self._seconds.append(seconds)
        finished = self._finished()
        mean_s = sum(self._seconds) / len(self._seconds) if self._seconds else None
        remaining_s = None if mean_s is None else mean_s * (wanted - finished)
        reason = str(error) if error else ""
        self.listener.ended(
            Outcome(trial.number, verdict, reason, record, seconds, finished, wanted, remaining_s)
        )
        return verdict, error

    def _settle(self, trial: Trial) -> tuple[Verdict, NasError | None, Record | None]:
        try:
            architecture = self.space.sample(trial)
            baseline = self._baseline(architecture)
            self.listener.asked(trial.number, architecture, baseline)
            known = self.store.find(architecture.digest)
            record = known[1] if known else self.walk.assess(architecture, baseline)
        except Rejected as verdict:
            self._reject(trial, verdict)
            return "rejected", verdict, None
        except (MeasurementError, EvaluationError) as error:
            self._fail(trial, str(error))
            return "failed", error, None
        except (DeviceError, KeyboardInterrupt) as error:
            self._ask_again(trial.number, trial.params, f"interrupted: {error}")
            raise
        if known and known[0] != trial.number and known[0] in self._told():
            trial.set_user_attr(DUPLICATE, known[0])
            self._tell(trial, record)
            reason = NasError(f"the network of trial {known[0]}")
            return "duplicate", reason, record
        self.store.save(trial.number, record)
        self._tell(trial, record)
        self._keep_weights_of_front()
        return "finished", None, record

    def _baseline(self, architecture: Architecture) -> str | None:
        name = reference_name(architecture)
        return name if name in self.space.baselines else None

    def _tell(self, trial: Trial, record: Record) -> None:
        self._constrain(trial, record.excesses)
        trial.set_user_attr("architecture", record.architecture.digest)
        trial.set_user_attr("baseline", record.baseline)
        self.study.tell(trial, record.objectives)

    def _reject(self, trial: Trial, verdict: Rejected) -> None:
        self._constrain(trial, verdict.excesses)
        trial.set_user_attr(REJECTED, str(verdict))
        if self.learns_from_pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, self._worst_values())

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

    def _worst_values(self) -> list[float]:
        """Placeholders for a rejected candidate, within the range of what was seen."""
        records = [record.objectives for record in self.store.all().values()]
        if not records:
            return [0.0, *(0.0 for _ in self.walk.targets)]
        accuracies, *times = zip(*records, strict=True)
        return [min(accuracies), *map(max, times)]

    def _ask_again(self, number: int, params: dict[str, object], reason: str) -> None:
        """Fail the trial and put its candidate first in the queue.

        The new trial starts with no attributes of the old one: constraints cannot be set twice.
        """
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        queued = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if params and params not in map(_fixed_params, queued):
            self.study.enqueue_trial(params, user_attrs={"retry_of": number, "why": reason})

    def _keep_weights_of_front(self) -> None:
        entries = front_of(self.store.all())
        self.weights.keep_only(entry.record.architecture.digest for entry in entries)


def _fixed_params(trial: FrozenTrial) -> dict[str, object]:
    fixed: dict[str, object] = trial.system_attrs.get("fixed_params", {})
    return fixed
