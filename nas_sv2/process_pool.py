"""Pieces of work in several processes, which end with the process that started them.

`concurrent.futures` leaves its processes behind if their parent is killed: each waits for ever for
a next piece. Ctrl-C would reach them too, with a traceback from each.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from nas_sv2.errors import EvaluationError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
SET_HERE = "NAS_SV2_HUGE_PAGES"
"""Says that `TUNABLES` is ours and not the user's."""


def in_processes(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    count: int,
    what: str,
    begin: Callable[[], None] | None = None,
) -> Generator[tuple[Piece, Result], None, None]:
    """Do pieces of work, `count` at a time, and yield each with its result as it comes.

    Processes are spawned, because a fork of a process with threads of torch may deadlock. An error
    or an interrupt ends all of them at once.

    Args:
        work: Does one piece; can be pickled, like pieces and results.
        pieces: The pieces, in the order in which they are begun.
        count: Number of processes.
        what: The work of a process in words, for messages.
        begin: Called once in each process before its first piece.

    Raises:
        EvaluationError: A process was killed.
    """
    if not pieces:
        return
    others = multiprocessing.active_children()
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, spawning, _begin, (begin,)) as pool:
        with huge_pages():  # a process is started as a piece is submitted
            running = {pool.submit(_done, work, piece): piece for piece in pieces}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BrokenProcessPool as error:
            killed = f"a process that {what} was killed (for lack of memory?)"
            raise EvaluationError(f"{killed}; run it again to continue") from error
        except BaseException:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def huge_pages() -> Iterator[None]:
    """Let processes that are started meanwhile have the kernel's huge pages for their heaps.

    Two trainings at once then take about a tenth less time (docs/lab, the throughput of a
    training). Each process calls `like_the_users` first. Settings of glibc by the user stay.
    """
    if TUNABLES not in os.environ:
        os.environ[TUNABLES] = HUGE_PAGES
        os.environ[SET_HERE] = "1"
    try:
        yield
    finally:
        like_the_users()


def like_the_users() -> None:
    """Give this process the user's environment again, so that what it starts is timed as usual."""
    if os.environ.pop(SET_HERE, None):
        del os.environ[TUNABLES]


def _begin(begin: Callable[[], None] | None) -> None:
    """Leave Ctrl-C to the parent process, and end when the parent ends."""
    like_the_users()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "run by a pool"

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _beginning[:] = [] if begin is None else [begin]


_beginning: list[Callable[[], None]] = []
"""The call before the first piece of this process."""


def _done(work: Callable[[Piece], Result], piece: Piece) -> Result:
    """Do a piece; an error of the beginning comes with it, and would break the pool before it."""
    for begin in _beginning:
        begin()
    _beginning.clear()
    return work(piece)
