"""A worker's lease on a trial, which a thread renews as long as the worker lives.

It uses two clocks, neither of them the time of day. The age of the own lease counts a laptop's
sleep too, since other workers may take the lease over meanwhile. The age of another worker's lease
counts only time in which the database takes our own writes. During an outage no lease expires.

Candidates that were begun and not finished are orphans. The first worker to notice asks them
again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from nas_sv2.database.processes import is_alive, process_name
from nas_sv2.errors import DatabaseGone, StoreError
from nas_sv2.search.loop.telling import Teller, queued_params
from nas_sv2.studies.findings.attributes import (
    DEATHS,
    ERROR,
    RETRY_OF,
    WHY,
    WORKER,
)
from nas_sv2.studies.storage.trial_lease import TrialLeases

EXPIRES_S = 60.0
"""Seconds without a renewal before a lease expires; a restart of the server takes some."""
RENEWALS = 6
"""Renewals in that time; a few may fail."""
_AWAKE_OR_ASLEEP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops its monotonic clock while the machine sleeps; macOS does not stop its own."""


def now_s() -> float:
    """Seconds on a clock that is never set and that runs while the machine sleeps."""
    return time.clock_gettime(_AWAKE_OR_ASLEEP)


@dataclass
class Answers:
    """A clock that runs while the database takes the writes of this process.

    Attributes:
        longest_s: Seconds that it runs on after a write. Longer gaps may be an outage, or a time
            in which this process stood still.
        elapsed_s: The time that it shows, s.
    """

    longest_s: float
    elapsed_s: float = 0.0
    _last: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def came(self) -> None:
        """Note that the database took a write."""
        with self._lock:
            now = now_s()
            if self._last is not None:
                self.elapsed_s += min(now - self._last, self.longest_s)
            self._last = now


@dataclass
class TrialClaim:
    """The lease of this process, one at a time.

    Attributes:
        leases: Leases of the study.
        expires_s: Seconds without a renewal after which another worker may take the lease.
        is_gone: Returns whether the study was deleted; called with each renewal.
        gone: Set once it was, or its database.
    """

    leases: TrialLeases
    expires_s: float = EXPIRES_S
    is_gone: Callable[[], bool] = lambda: False
    gone: threading.Event = field(default_factory=threading.Event)
    _token: str | None = None
    _is_done: bool = False
    _renewed: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Begin without an answer of the database."""
        self.answers = Answers(longest_s=2 * self.expires_s / RENEWALS)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the current lease until the end; then give it back."""
        self._over.clear()
        thread = threading.Thread(target=self._renew, daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            self.leases.db.hurry()  # the thread may be waiting for the database
            raise
        finally:
            self._over.set()
            thread.join()
            self.release()

    def take(self, room: Callable[[int], bool]) -> bool:
        """Keep the lease, or take one if `room` says that there is room beside the others."""
        if self._token is None or self._is_done:
            began = now_s()
            self._token = self.leases.take(room, in_place_of=self._token)
            self._renewed, self._is_done = began, False
            self.answers.came()
        return self._token is not None

    def done(self) -> None:
        """Note that the trial of the lease has finished; the next `take` gives it back."""
        self._is_done = True

    def bind(self, trial: int, architecture: str) -> bool:
        """Bind the lease to a trial and a network; give False if another worker took it over.

        Raises:
            TakenTrial: If another worker has this trial.
            TakenNetwork: If another worker has this network.
        """
        began = now_s()
        if self._token is None or not self.leases.bind(self._token, trial, architecture):
            return False
        self._renewed = began
        return True

    def holds(self) -> bool:
        """Whether the lease is still ours; a process that stood still may have lost it."""
        token = self._token
        if token is None:
            return False
        if now_s() - self._renewed < self.expires_s / 2:
            return True
        return self._beat(token)

    def holds_within(self, connection: Connection) -> bool:
        """Whether the database says so, and until the transaction of `connection` ends.

        On SQLite the transaction must be one that writes.
        """
        return self._token is not None and self.leases.is_held(connection, self._token)

    def release(self) -> None:
        """Give the lease back at once."""
        token, self._token, self._is_done = self._token, None, False
        if token is not None:
            self.leases.let_go(token)

    def abandon(self) -> None:
        """Stop renewing the lease, so that another worker asks its trial again."""
        self._token, self._is_done = None, False

    def is_ours(self, token: str) -> bool:
        """Whether `token` is that of the lease."""
        return token == self._token

    def _renew(self) -> None:
        while not self._over.wait(self.expires_s / RENEWALS):
            token = self._token
            if token is None:
                continue
            with suppress(StoreError):  # the server is away, or another process writes for long
                try:
                    self._beat(token)
                    is_gone = self.is_gone()
                except DatabaseGone:
                    is_gone = True
                if is_gone:
                    self.gone.set()

    def _beat(self, token: str) -> bool:
        """Renew the lease once; give False if it is not ours any more."""
        began = now_s()  # the machine may sleep between the renewal and the next line
        ours = self.leases.renew(token)
        self.answers.came()
        if ours:
            self._renewed = began
        return ours


@dataclass
class Watch:
    """Finds values that have not changed for a given time."""

    expires_s: float = EXPIRES_S
    _seen: dict[object, tuple[object, float]] = field(default_factory=dict)

    def stands_still(self, key: object, value: object, now: float) -> bool:
        """Whether `value` of `key` has not changed for that time; `now` is in seconds."""
        known = self._seen.get(key)
        if known is None or known[0] != value:
            self._seen[key] = (value, now)
            return False
        return now - known[1] >= self.expires_s

    def forget(self, key: object) -> None:
        """Forget the value of `key`."""
        self._seen.pop(key, None)


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

    def enqueue(self, params: dict[str, object], *, once: bool = False) -> None:
        """Queue a candidate, unless it is queued or running already; `once`, if it ever was."""
        states = None if once else (TrialState.WAITING, TrialState.RUNNING)
        if params not in map(fixed_params, self.study.get_trials(deepcopy=False, states=states)):
            self.study.enqueue_trial(params)

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


def fixed_params(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a queued trial's candidate."""
    return queued_params(trial.system_attrs)


def _gone(dead: bool) -> str:
    return "died" if dead else "stood still"
