"""Several walks at once in this process, for those whose trainings are made on a cluster.

A walk waits for nearly all of its time: for its training, or for a device. A thread is enough for
that, and one process is a single client of the cluster.
"""

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import NasError
from nas_sv2.search.events.events import OnEvent, TrialAsked
from nas_sv2.search.events.interrupts import sigint_ignored
from nas_sv2.search.scale.processes import Work
from nas_sv2.search.scale.worker_events import MergedEvents, SendEvent


def run_threads(
    work: Work, count: int, on_event: OnEvent, stopped: threading.Event
) -> list[NasError]:
    """Let `count` threads do `work`; what ended some of them before their time.

    Args:
        work: What each does, given its number and its `on_event`.
        count: How many.
        on_event: The function of the user.
        stopped: Set here when all are to end.

    Raises:
        KeyboardInterrupt: The user's, or a SIGTERM; the walks have ended then.
    """
    shared = _Shared(MergedEvents(on_event), threading.Lock(), stopped)
    with ThreadPoolExecutor(count, "walk") as pool:
        walks = [
            pool.submit(_walk, work, number, _Thread(shared, number)) for number in range(count)
        ]
        try:
            _check(walks)
        except BaseException:
            with sigint_ignored():
                stopped.set()
                wait(walks)
            raise
    return [error for walk in walks if (error := walk.result()) is not None]


def _check(walks: list[Future[NasError | None]]) -> None:
    """Wait for all; a bug in one is raised at once."""
    left = set(walks)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for walk in done:
            walk.result()


@dataclass(frozen=True)
class _Shared:
    """What all threads share: their merged events, one event at a time."""

    events: MergedEvents
    lock: threading.Lock
    stopped: threading.Event


@dataclass(frozen=True)
class _Thread:
    """The way of one thread to the merged events; see `Sends`."""

    shared: _Shared
    number: int

    def send(self, obj: Any, /) -> None:
        """Pass it on.

        Raises:
            KeyboardInterrupt: The walk is to end; it queues its candidate again.
        """
        if self.shared.stopped.is_set() and isinstance(obj, TrialAsked):
            raise KeyboardInterrupt
        with self.shared.lock:
            self.shared.events.pass_on(self.number, obj)


def _walk(work: Work, number: int, thread: _Thread) -> NasError | None:
    """A walk; what ended it."""
    try:
        work(number, SendEvent(thread))
    except NasError as error:
        return error
    except KeyboardInterrupt:  # the driver's, which knows it
        return None
    finally:
        with thread.shared.lock:
            thread.shared.events.forget(number)
    return None
