"""What workers of tests do; functions that a new process can import."""

import os
import time

from doubles import V2, record_of
from pieces import tunables

from nas_sv2.errors import ConfigError, InfeasibleError
from nas_sv2.search.events.events import (
    Notice,
    OnEvent,
    SearchDescribed,
    StageAdvanced,
    StageEntered,
    TrialAsked,
    TrialFinished,
)


def tells(number: int, on_event: OnEvent) -> None:
    """All events, of a trial each."""
    on_event(SearchDescribed("nobody", ("hears this",)))
    on_event(TrialAsked(number, V2, None, 146_000_000))
    on_event(StageEntered("training"))
    on_event(StageAdvanced(1, 2))
    on_event(Notice(f"worker {number} waits"))
    record = record_of(0.5, 1.0)
    on_event(TrialFinished(number, "finished", "", record, 1.0, number + 1, 4))


def tells_tunables(number: int, on_event: OnEvent) -> None:
    """Glibc's settings, as it was started and as what it starts has them."""
    on_event(Notice(str(tunables(number))))


def ends(number: int, on_event: OnEvent) -> None:
    """Each by another error."""
    if number == 0:
        raise InfeasibleError("no network")
    if number == 1:
        raise ConfigError("study", "s", "must be another name")


def breaks(number: int, on_event: OnEvent) -> None:
    """The first by a bug, once the second has told its process; that one never ends."""
    if number == 0:
        time.sleep(1)
        raise ZeroDivisionError
    on_event(Notice(str(os.getpid())))
    while True:
        time.sleep(0.1)
