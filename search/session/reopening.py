"""Opening what stands on the database again if that goes away meanwhile, as the loop does."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from nas_sv2.database.database import Database
from nas_sv2.database.restarts import is_passing
from nas_sv2.errors import ConfigError
from nas_sv2.search.events.interrupts import was_interrupted
from nas_sv2.search.loop.loop import DATABASE, OUTAGES, POLL_S
from nas_sv2.studies.storage.study import store_errors

T = TypeVar("T")


@contextmanager
def reopening(
    db: Database, open_all: Callable[[ExitStack], T], notify: Callable[[str], None]
) -> Iterator[T]:
    """Hold what `open_all` opens; closed at the end, and before it is opened again.

    A database that has not answered yet is not waited for: its URL is to be corrected.

    Args:
        db: The database.
        open_all: Opens; what is to be closed goes onto the stack.
        notify: Is called when the database went away.

    Raises:
        ConfigError: It cannot be opened.
        StoreError: It failed so often in a row as ends the loop too, or in a way that stays.
    """
    outages = 0
    while True:
        with ExitStack() as things:
            try:
                with store_errors():
                    found = open_all(things)
            except (*DATABASE, ConfigError) as failed:  # of a new engine's first connection
                if was_interrupted(failed):
                    raise KeyboardInterrupt from failed
                outages += 1
                if not db.answered or outages == OUTAGES or not is_passing(failed):
                    raise
                notify(f"{failed}; going on once the database answers")
                time.sleep(POLL_S)
                continue
            yield found
            return
