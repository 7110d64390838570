"""Wait for a database with a passing fault, and raise every other fault."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from nas_sv2.database.restarts import is_passing
from nas_sv2.errors import NasError, StoreError, was_interrupted
from nas_sv2.studies.storage.study import store_error

DATABASE = (SQLAlchemyError, StorageInternalError, StoreError)  # the errors of a database
LONGEST_S = 300.0
"""Time that a database may fail in a row: a failover by hand takes minutes."""
POLL_S = 0.2, 2.0
"""Time between two attempts, at first and at most; it grows with the time of the outage."""


@dataclass
class Outages:
    """The outages of a database, one after the other.

    A fault that comes more than `LONGEST_S` after the last one begins another outage: the database
    answered in between, such as during a long training.

    Attributes:
        notify: Called with a line for each outage, and for each new reason of it.
    """

    notify: Callable[[str], None]
    _since: float | None = None
    _failed: float = 0.0
    _said: str = ""

    def over(self) -> None:
        """Note that the database took what was written."""
        self._since, self._said = None, ""

    def wait_out(self, failed: Exception) -> None:
        """Wait a little, after which the caller may try again.

        Args:
            failed: The error of the database.

        Raises:
            Exception: `failed`, if it does not pass or the outage took `LONGEST_S`.
            KeyboardInterrupt: The error hides one.
        """
        if was_interrupted(failed):
            raise KeyboardInterrupt from failed
        now = time.monotonic()
        if self._since is None or now - self._failed > LONGEST_S:
            self._since, self._said = now, ""
        self._failed = now
        if now - self._since >= LONGEST_S or not is_passing(failed):
            raise failed
        said = str(failed if isinstance(failed, NasError) else store_error(failed))
        if said != self._said:
            self.notify(f"{said}; going on once the database answers")
            self._said = said
        first, longest = POLL_S
        time.sleep(min(longest, max(first, (now - self._since) / 10)))
