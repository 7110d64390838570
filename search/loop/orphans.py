"""Candidates that were begun and not finished; the first worker to notice asks them again."""

import time
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas_sv2.database.processes import is_alive, process_name
from nas_sv2.search.loop.claim import TrialClaim, Watch
from nas_sv2.search.loop.telling import Teller
from nas_sv2.studies.findings.attributes import (
    DEATHS,
    ENDED_OFFSET,
    ERROR,
    RETRY_OF,
    UTC_OFFSET,
    WHY,
    WORKER,
)

FATAL = 3  # deaths after which the candidate is the cause: its training takes all the memory


@dataclass
class Orphans:
    """The queue of a study, and the candidates of dead workers.

    Attributes:
        study: The study.
        claim: The lease of this worker.
        watch: Finds leases that are not renewed.
        teller: Reports trials.
    """

    study: optuna.Study
    claim: TrialClaim
    watch: Watch
    teller: Teller

    def enqueue(self, params: dict[str, object], attributes: dict[str, object]) -> None:
        """Queue a candidate, unless it is queued or running already."""
        states = (TrialState.WAITING, TrialState.RUNNING)
        if params not in map(fixed_params, self.study.get_trials(deepcopy=False, states=states)):
            self.study.enqueue_trial(params, user_attrs=attributes)

    def ask_again(self, number: int, reason: str, *, died: bool = False) -> None:
        """Queue the candidate of a trial again and fail the trial, unless it has ended.

        A candidate at which `FATAL` workers died is not asked again.

        The new trial starts with no attributes of the old one: constraints cannot be set twice.
        The candidate is queued before the trial fails. After a crash between the two it is asked
        twice, and the store answers the second time.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            return
        if trial.user_attrs.get(UTC_OFFSET, utc_offset_s()) != utc_offset_s():
            with suppress(UpdateFinishedTrialError):  # its worker has just ended it
                self.teller.note(number, {ENDED_OFFSET: utc_offset_s()})
        deaths = trial.user_attrs.get(DEATHS, 0) + died
        if deaths == FATAL:
            fatal = f"{deaths} workers died or stood still at it; not asked again"
            self.teller.note(number, {ERROR: fatal})
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            return
        params = fixed_params(trial) | trial.params
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if params and params not in map(fixed_params, waiting):
            attributes = {RETRY_OF: trial.number, WHY: reason, DEATHS: deaths}
            self.study.enqueue_trial(params, user_attrs=attributes)
        self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def recover(self) -> None:
        """Ask the candidates of workers again that died, or stand still for too long.

        A death on this machine is known at once. Leases of other machines are watched while the
        database takes the renewals of our own. Several workers may call this at the same
        time: the one that gets the lease of the dead worker acts.

        Raises:
            StoreError: If the database cannot be read or written.
        """
        leases, now = self.claim.leases, self.claim.answers.elapsed_s
        # In this order: a worker takes its lease first, so each running trial has or had one.
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        known = leases.all()
        for lease in known:
            dead = is_alive(lease.process) is False
            stands = self.watch.stands_still(lease.token, lease.beats, now)
            if self.claim.is_ours(lease.token) or not (dead or stands):
                continue
            if token := leases.take_over(lease):
                if lease.trial is not None:
                    self.ask_again(lease.trial, f"its worker {_gone(dead)}", died=True)
                leases.let_go(token)
        leased = {lease.trial for lease in known}
        alone = all(self.claim.is_ours(lease.token) for lease in known)
        for trial in running:
            if trial.number in leased:
                self.watch.forget(trial.number)
            elif self._was_left(trial, alone) and (token := leases.take_for(trial.number)):
                self.ask_again(trial.number, "its worker died", died=True)
                leases.let_go(token)

    def _was_left(self, trial: FrozenTrial, alone: bool) -> bool:
        """Whether the worker of a running trial without a lease is gone.

        The worker died or lost its connection just after asking. Or it is a program from before
        there were leases, which may still run.

        Args:
            trial: The trial.
            alone: Whether no other worker has a lease that it may soon bind to the trial.
        """
        worker = trial.user_attrs.get(WORKER)
        alive = None if worker is None else is_alive(worker)
        if worker in (None, process_name()) and alone:  # ours, but the answer was lost
            return True
        return alive is False or (
            alive is None
            and self.watch.stands_still(trial.number, "running", self.claim.answers.elapsed_s)
        )


def utc_offset_s() -> float:
    """Seconds by which local time is ahead of UTC."""
    return time.localtime().tm_gmtoff


def fixed_params(trial: FrozenTrial) -> dict[str, object]:
    """The parameters of a queued trial's candidate."""
    fixed: dict[str, object] = trial.system_attrs.get("fixed_params", {})
    return fixed


def _gone(dead: bool) -> str:
    return "died" if dead else "stood still"
