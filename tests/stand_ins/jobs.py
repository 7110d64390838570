"""What workers of tests do; functions that a new process can import."""

import os
import time

from doubles import V2, record_of

from nas_sv2.errors import ConfigError, InfeasibleError
from nas_sv2.search.events.events import Listener, Outcome


def tells(number: int, listener: Listener) -> None:
    """All events, of a trial each."""
    listener.began("nobody", ["hears this"])
    listener.asked(number, V2, None)
    listener.entered("training")
    listener.advanced(1, 2)
    listener.waits(f"worker {number} waits")
    record = record_of(0.5, 1.0)
    listener.ended(Outcome(number, "finished", "", record, 1.0, number + 1, 4, 60.0))


def ends(number: int, listener: Listener) -> None:
    """Each by another error."""
    if number == 0:
        raise InfeasibleError("no network")
    if number == 1:
        raise ConfigError("study", "s", "must be another name")


def breaks(number: int, listener: Listener) -> None:
    """The first by a bug, once the second has told its process; that one never ends."""
    if number == 0:
        time.sleep(1)
        raise ZeroDivisionError
    listener.waits(str(os.getpid()))
    while True:
        time.sleep(0.1)
