"""Runs several walks at once in this process, if a cluster makes the trainings.

A walk spends nearly all of its time waiting for its training or a device. A thread is enough for
this, and one process is a single client of the cluster.
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
    """Run `work` in `count` threads; give the errors that ended some of them early.

    Args:
        work: The work of a thread, with its number and its `on_event`.
        count: Number of threads.
        on_event: The user's function.
        stopped: Set here to end all threads.

    Raises:
        KeyboardInterrupt: If the user interrupts, or at SIGTERM, once the walks have ended.
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
    """Wait for all walks; raise a bug in one at once."""
    left = set(walks)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for walk in done:
            walk.result()


@dataclass(frozen=True)
class _Shared:
    """The merged events of all threads, one event at a time."""

    events: MergedEvents
    lock: threading.Lock
    stopped: threading.Event


@dataclass(frozen=True)
class _Thread:
    """Sends the events of one thread to the merged events; see `Sends`."""

    shared: _Shared
    number: int

    def send(self, obj: Any, /) -> None:
        """Pass on an event.

        Raises:
            KeyboardInterrupt: If the walk is to end; it then queues its candidate again.
        """
        if self.shared.stopped.is_set() and isinstance(obj, TrialAsked):
            raise KeyboardInterrupt
        with self.shared.lock:
            self.shared.events.pass_on(self.number, obj)


def _walk(work: Work, number: int, thread: _Thread) -> NasError | None:
    """Run a walk, and give the error that ended it, if any."""
    try:
        work(number, SendEvent(thread))
    except NasError as error:
        return error
    except KeyboardInterrupt:  # raised by the driver
        return None
    finally:
        with thread.shared.lock:
            thread.shared.events.forget(number)
    return None
