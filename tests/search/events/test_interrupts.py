"""SIGTERM as Ctrl-C, wherever it comes."""

import os
import signal
import sys
import time

import pytest

from nas_sv2.search.events.interrupts import sigterm_interrupts


class Last:
    """Its finaliser sends the signal and waits for it: what is raised there is dropped."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)


def test_it_is_raised_once() -> None:
    with sigterm_interrupts():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)  # not disturbed any more


def test_one_that_python_drops_comes_again() -> None:
    hook, handler = sys.unraisablehook, signal.getsignal(signal.SIGTERM)
    with sigterm_interrupts(), pytest.raises(KeyboardInterrupt):
        Last()
        time.sleep(10)
    assert sys.unraisablehook is hook
    assert signal.getsignal(signal.SIGTERM) is handler


def test_none_comes_after_the_end() -> None:
    with sigterm_interrupts():
        Last()
    time.sleep(0.1)
