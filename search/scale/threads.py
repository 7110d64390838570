"""Several walks at once in this process, for those whose trainings are made on a cluster.

A walk waits for nearly all of its time: for its training, or for a device. A thread is enough for
that, and one process is a single client of the cluster.
"""

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import NasError
from nas_sv2.search.events.events import Listener
from nas_sv2.search.events.interrupts import sigint_ignored
from nas_sv2.search.scale.processes import Work
from nas_sv2.search.scale.worker_events import Relay, Teller


def run_walkers(
    work: Work, count: int, listener: Listener, stopped: threading.Event
) -> list[NasError]:
    """Let `count` threads do `work`; what ended some of them before their time.

    Args:
        work: What each does, given its number and whom to tell.
        count: How many.
        listener: Of the user.
        stopped: Set here when all are to end.

    Raises:
        KeyboardInterrupt: The user's, or a SIGTERM; the walks have ended then.
    """
    line = _Line(Relay(listener), threading.Lock(), stopped)
    with ThreadPoolExecutor(count, "walk") as pool:
        walks = [
            pool.submit(_walk, work, number, _Speaker(line, number)) for number in range(count)
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
class _Line:
    """Where all walks tell what they do, one at a time."""

    relay: Relay
    lock: threading.Lock
    stopped: threading.Event


@dataclass(frozen=True)
class _Speaker:
    """Where one does; see `Sends`."""

    line: _Line
    number: int

    def send(self, obj: Any, /) -> None:
        """Pass it on.

        Raises:
            KeyboardInterrupt: The walk is to end; it queues its candidate again.
        """
        what, arguments = obj
        if self.line.stopped.is_set() and what == "asked":
            raise KeyboardInterrupt
        with self.line.lock:
            self.line.relay.pass_on(self.number, what, arguments)


def _walk(work: Work, number: int, speaker: _Speaker) -> NasError | None:
    """A walk; what ended it."""
    try:
        work(number, Teller(speaker))
    except NasError as error:
        return error
    except KeyboardInterrupt:  # the driver's, which knows it
        return None
    finally:
        with speaker.line.lock:
            speaker.line.relay.gone(number)
    return None
