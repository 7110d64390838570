"""Makes trainings repeat: named streams of random numbers and a fixed number of threads."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

import torch


def stream(seed: int, name: str) -> torch.Generator:
    """Make a CPU generator for one use, so that no use shifts the draws of another.

    The order of the images is then the same for networks with many weights and with few.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def default_threads() -> int:
    """The number of CPU threads by default: one for each core of this process, at most two.

    On two idle cores, two threads train ShuffleNet V2 1x at 28×28 1.3 times as fast as one. If
    other programs keep the cores busy, they run at a third of the speed, since torch's threads
    wait spinning. More were not tried: figures that repeat on other machines are worth more.
    """
    return min(core_count(), 2)


def core_count() -> int:
    """The cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether torch can train on a GPU here."""
    return torch.cuda.is_available()


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run torch's operators on `count` threads, and on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
