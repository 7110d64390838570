"""Runs several processes on one study, on this machine.

The driver starts them, shows their events and ends them; no data is lost with it. A killed worker
leaves its candidate to the others. Workers end with the driver, even if it is killed.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from nas_sv2.errors import InfeasibleError, NasError
from nas_sv2.process_pool import huge_pages, like_the_users
from nas_sv2.search.events.events import Notice, OnEvent
from nas_sv2.search.events.interrupts import sigint_ignored, sigterm_interrupts
from nas_sv2.search.scale.worker_events import (
    MergedEvents,
    SendEvent,
    WorkerEnded,
    ended_early,
)

Work = Callable[[int, OnEvent], None]
"""The work of a worker with its number and its `on_event`; it can be pickled."""

GRACE_S = 30.0
"""Seconds that a worker may take to end, since it queues its candidate again."""


def run_workers(work: Work, count: int, on_event: OnEvent) -> list[NasError]:
    """Run `work` in `count` processes; give the errors that ended some of them early.

    Raises:
        KeyboardInterrupt: If the user interrupts, or at SIGTERM, once the workers have ended.
    """
    context = multiprocessing.get_context("spawn")
    members: list[_Member] = []
    try:
        # The terminal sends an interrupt to all; the driver ends its workers.
        with sigint_ignored(), huge_pages():
            for number in range(count):
                reader, writer = context.Pipe(duplex=False)
                process = context.Process(target=_worker, args=(work, number, writer))
                process.start()
                writer.close()
                members.append(_Member(number, process, reader))
        return _watch(members, MergedEvents(on_event))
    except BaseException:
        _end(members)
        raise


@dataclass
class _Member:
    """A worker as its driver sees it.

    Attributes:
        number: Number of the worker, from 0.
        process: Its process.
        reader: Receives its events.
        error: The error that ended it, if any.
        over: Whether it reported its end.
    """

    number: int
    process: SpawnProcess
    reader: Connection
    error: NasError | None = None
    over: bool = False

    def hear(self, events: MergedEvents) -> bool:
        """Pass on one event of the worker; give False after the last."""
        try:
            event = self.reader.recv()
        except (EOFError, OSError):
            return False
        if isinstance(event, WorkerEnded):
            self.over, self.error = True, _error_of(event)
        else:
            events.pass_on(self.number, event)
        return True

    def conclude(self, events: MergedEvents) -> None:
        """Report the worker's end if it could not do so itself."""
        self.process.join()
        self.reader.close()
        events.forget(self.number)
        if self.over:
            return
        code = self.process.exitcode or 0
        if code == 0:  # told to end by us, who then heard no more of it
            return
        if code < 0:
            how = f"was killed ({signal.Signals(-code).name}); its candidate is asked again"
        else:
            how = "ended by a bug; its traceback stands on standard error"
        self.error = NasError(f"worker {self.number} {how}")
        events.on_event(Notice(str(self.error)))


def _watch(members: list[_Member], events: MergedEvents) -> list[NasError]:
    """Pass on events until all workers have ended; give the errors that ended them."""
    left = {member.reader: member for member in members}
    while left:
        for ready in wait(list(left)):
            assert isinstance(ready, Connection)
            member = left[ready]
            if member.hear(events):
                continue
            del left[ready]
            member.conclude(events)
            if member.over and member.error is not None and left:
                events.on_event(ended_early(member.number, member.error))
            if not member.over and (member.process.exitcode or 0) > 0:
                _end(left.values())  # a bug stops the search
    return [member.error for member in members if member.error is not None]


def _end(workers: Iterable[_Member]) -> None:
    """Ask the running workers to end, and kill those that do not."""
    members = list(workers)
    ends = time.monotonic() + GRACE_S
    with sigint_ignored():
        for member in members:
            member.process.terminate()
        for member in members:
            while member.process.is_alive() and time.monotonic() < ends:
                with suppress(EOFError, OSError):  # the worker must not wait for us to read
                    if member.reader.poll(0.1):
                        member.reader.recv()
                        continue
                member.process.join(0.1)
            if member.process.is_alive():
                member.process.kill()
            member.process.join()


def _worker(work: Work, number: int, writer: Connection) -> None:
    """Run the work in the worker's process."""
    like_the_users()
    threading.Thread(target=_end_with_driver, daemon=True).start()
    on_event = SendEvent(writer)
    with sigterm_interrupts():
        try:
            work(number, on_event)
        except NasError as error:
            on_event.send(WorkerEnded(error.exit_code, str(error)))
        except KeyboardInterrupt:
            on_event.send(WorkerEnded(NasError.exit_code, f"worker {number} was told to end"))
        else:
            on_event.send(WorkerEnded())


def _end_with_driver() -> None:
    """End this process in order once its driver is gone, and by force if that takes long."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


def _error_of(end: WorkerEnded) -> NasError | None:
    """Rebuild the error of a worker, since exceptions of several arguments cannot be sent."""
    if end.exit_code is None:
        return None
    if end.exit_code == InfeasibleError.exit_code:
        return InfeasibleError(end.message)
    error = NasError(end.message)
    error.exit_code = end.exit_code
    return error
