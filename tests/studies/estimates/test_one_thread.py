import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from nas_sv2.studies.estimates.one_thread import on_one_thread


def threads() -> list[int]:
    """The threads of each library for matrices that is loaded."""
    libraries = ThreadpoolController().select(user_api="blas").info()
    return [library["num_threads"] for library in libraries]


@on_one_thread
def threads_in(size: int, *, times: int) -> tuple[list[int], float]:
    """The threads meanwhile, and a figure of a product of matrices."""
    ones = np.ones((size, size))
    return threads(), float((ones @ ones)[0, 0]) * times


def test_matrices_have_one_thread_meanwhile_and_as_many_as_before_afterwards() -> None:
    threads_in(2, times=1)  # the libraries are loaded now
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        within, figure = threads_in(300, times=2)
        assert figure == 600
        assert within and set(within) == {1}
        assert threads() == before
