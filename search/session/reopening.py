"""What stands on the database, opened anew where that goes away meanwhile, as the loop goes on."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from sqlalchemy import Engine

from nas_sv2.database.engine import open_engine
from nas_sv2.database.restarts import is_passing
from nas_sv2.errors import ConfigError
from nas_sv2.search.events.interrupts import was_interrupted
from nas_sv2.search.loop.loop import DATABASE, OUTAGES, POLL_S
from nas_sv2.studies.storage.study import store_errors

T = TypeVar("T")


@contextmanager
def opened(
    storage: str,
    open_all: Callable[[Engine, ExitStack], T],
    told: Callable[[str], None],
    *,
    answered: bool,
) -> Iterator[T]:
    """What `open_all` opens; closed at the end, and before it is opened anew.

    A database that has not answered yet is not waited for: its URL is to be corrected.

    Args:
        storage: The URL of the database.
        open_all: Opens, given the engine; what is to be closed goes onto the stack.
        told: Is told of a database that went away.
        answered: Whether the database has answered before: the driver's, of a worker.

    Raises:
        ConfigError: It cannot be opened.
        StoreError: It failed so often in a row as ends the loop too, or in a way that stays.
    """
    outages = 0
    while True:
        with ExitStack() as things:
            try:
                with store_errors():
                    engine = open_engine(storage, answered=answered)
                    things.callback(engine.dispose)
                    answered = True
                    found = open_all(engine, things)
            except (*DATABASE, ConfigError) as failed:  # of a new engine's first connection
                if was_interrupted(failed):
                    raise KeyboardInterrupt from failed
                outages += 1
                if not answered or outages == OUTAGES or not is_passing(failed):
                    raise
                told(f"{failed}; going on once the database answers")
                time.sleep(POLL_S)
                continue
            yield found
            return
