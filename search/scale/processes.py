"""Several processes at one study, on this machine.

The driver starts them, shows what they tell and ends them; it holds nothing that would be lost
with it. A worker that is killed leaves its candidate to the others. Workers end with the driver,
however it ends.
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
from nas_sv2.search.events.events import Notice, OnEvent
from nas_sv2.search.events.interrupts import sigint_ignored, sigterm_interrupts
from nas_sv2.search.scale.worker_events import MergedEvents, SendEvent, WorkerEnded

Work = Callable[[int, OnEvent], None]
"""What a worker does, given its number and its `on_event`; a function that can be pickled."""

GRACE_S = 30.0
"""How long a worker may take to end: it queues its candidate again."""


def run_workers(work: Work, count: int, on_event: OnEvent) -> list[NasError]:
    """Let `count` processes do `work`; what ended some of them before its time.

    Raises:
        KeyboardInterrupt: The user's, or a SIGTERM; the workers have ended then.
    """
    context = multiprocessing.get_context("spawn")
    members: list[_Member] = []
    try:
        with sigint_ignored():  # the terminal sends it to all; the driver tells its workers
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
        number: From 0.
        process: Its process.
        reader: What it tells.
        error: What ended it.
        over: Whether it said that it is done.
    """

    number: int
    process: SpawnProcess
    reader: Connection
    error: NasError | None = None
    over: bool = False

    def hear(self, events: MergedEvents) -> bool:
        """Pass on what it sends; False if nothing will follow."""
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
        """Say how it ended if it could not do so itself."""
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
    """Pass on what they send until all have ended; the errors that ended them."""
    left = {member.reader: member for member in members}
    while left:
        for ready in wait(list(left)):
            assert isinstance(ready, Connection)
            member = left[ready]
            if member.hear(events):
                continue
            del left[ready]
            member.conclude(events)
            if not member.over and (member.process.exitcode or 0) > 0:
                _end(left.values())  # a bug stops the search
    return [member.error for member in members if member.error is not None]


def _end(workers: Iterable[_Member]) -> None:
    """End all that run: they are asked to, and killed where they do not."""
    members = list(workers)
    ends = time.monotonic() + GRACE_S
    with sigint_ignored():
        for member in members:
            member.process.terminate()
        for member in members:
            while member.process.is_alive() and time.monotonic() < ends:
                with suppress(EOFError, OSError):  # it must not wait for us to read
                    if member.reader.poll(0.1):
                        member.reader.recv()
                        continue
                member.process.join(0.1)
            if member.process.is_alive():
                member.process.kill()
            member.process.join()


def _worker(work: Work, number: int, writer: Connection) -> None:
    """The worker's process."""
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
    """End this process in order when its driver is gone, and at once where that takes long."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


def _error_of(end: WorkerEnded) -> NasError | None:
    """The error that ended a worker; exceptions of several arguments cannot be sent."""
    if end.exit_code is None:
        return None
    if end.exit_code == InfeasibleError.exit_code:
        return InfeasibleError(end.message)
    error = NasError(end.message)
    error.exit_code = end.exit_code
    return error
