"""SIGTERM, as schedulers and drivers of workers send it, taken as Ctrl-C."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_S = 0.05
"""After which an interrupt that Python dropped is sent again."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGTERM; further ones do not disturb what it ends.

    One that comes within a finaliser or the callback of a weak reference Python reports and drops;
    it is raised a moment later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    timers: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt):
            hook(what)
            return
        signal.signal(signal.SIGTERM, interrupt)
        timers.append(threading.Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM)))
        timers[-1].start()

    before, hook = signal.signal(signal.SIGTERM, interrupt), sys.unraisablehook
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
            timer.join()
        signal.signal(signal.SIGTERM, before)


@contextmanager
def sigint_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, and let processes that are started meanwhile ignore it for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
