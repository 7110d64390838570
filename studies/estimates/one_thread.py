"""Matrices on one thread of the library that multiplies them.

The matrices of a search have a few hundred rows at most. On a core that a training shares, threads
wait spinning for each other: an estimate of 200 networks took 0.16 s on one, 2.8 to 5.5 s on two.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def on_one_thread(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function multiply matrices on one thread, whatever the process is set to."""

    @functools.wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return called


@functools.cache
def _libraries() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # it brings a library of its own, which has to be found

    return ThreadpoolController()
