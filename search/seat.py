"""A worker's place at a study: its lease, which a thread renews as long as the worker lives."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nas_sv2.errors import StoreError
from nas_sv2.studies.trial_lease import TrialLeases

EXPIRES_S = 60.0
"""How long a lease may stand still: a server that is started anew may stop it for seconds."""
RENEWALS = 6
"""In that time; a few may fail."""


@dataclass
class Seat:
    """The lease of this process, one at a time.

    Attributes:
        leases: Of the study.
        expires_s: After this time without a renewal another may take it.
    """

    leases: TrialLeases
    expires_s: float = EXPIRES_S
    _token: str | None = None
    _renewed: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease, whichever it is, until the end; then give it back."""
        self._over.clear()
        thread = threading.Thread(target=self._renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self.leave()

    def take(self, room: Callable[[int], bool]) -> bool:
        """Have a lease, the old one or one that there is room for beside so many others."""
        if self._token is None:
            self._token = self.leases.take(room)
            self._renewed = time.monotonic()
        return self._token is not None

    def bind(self, trial: int, architecture: str) -> bool:
        """Say what the lease is about; False where it ran out and is another's.

        Raises:
            TakenTrial: Another worker has this trial.
            TakenNetwork: Another worker is at this network.
        """
        if self._token is None or not self.leases.bind(self._token, trial, architecture):
            return False
        self._renewed = time.monotonic()
        return True

    def holds(self) -> bool:
        """Whether the lease is still ours: a process that stood still may have lost it."""
        token = self._token
        if token is None:
            return False
        if time.monotonic() - self._renewed < self.expires_s / 2:
            return True
        return self.leases.renew(token)

    def leave(self) -> None:
        """Give the lease back."""
        token, self._token = self._token, None
        if token is not None:
            self.leases.let_go(token)

    def is_ours(self, token: str) -> bool:
        """Whether this is the lease."""
        return token == self._token

    def _renew(self) -> None:
        while not self._over.wait(self.expires_s / RENEWALS):
            token = self._token
            if token is None:
                continue
            try:
                if self.leases.renew(token):
                    self._renewed = time.monotonic()
            except StoreError:
                pass  # the server is away, or another writes for long; the next may succeed


@dataclass
class Watch:
    """Tells what has stood still for long enough, by this process's monotonic clock."""

    expires_s: float = EXPIRES_S
    _seen: dict[object, tuple[object, float]] = field(default_factory=dict)

    def stands_still(self, key: object, value: object) -> bool:
        """Whether `key` was never seen with another `value` for that long."""
        now = time.monotonic()
        known = self._seen.get(key)
        if known is None or known[0] != value:
            self._seen[key] = (value, now)
            return False
        return now - known[1] >= self.expires_s

    def forget(self, key: object) -> None:
        """Begin anew with `key`."""
        self._seen.pop(key, None)
