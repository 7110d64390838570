"""Makes trainings repeat: named streams of random numbers and a fixed number of threads."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

import torch

from nas_sv2.errors import ConfigError


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


MOST_PER_CORE = 16
"""Processes or threads asked for each core, beyond which the number is a slip of the pen."""


def check_workers(count: int | None, field: str = "workers") -> None:
    """Refuse a number of processes or threads that this machine cannot run.

    Raises:
        ConfigError: It is below 1, or above `MOST_PER_CORE` for each core.
    """
    cores = core_count()
    if count is not None and not 1 <= count <= MOST_PER_CORE * cores:
        most = f"{MOST_PER_CORE * cores}; this process may use {cores} cores"
        raise ConfigError(field, count, f"must be a whole number from 1 to {most}")


def useful_workers(asked: int | None, work: int) -> int:
    """The processes that help: as many as asked, but none without a core or without work."""
    return max(1, min(asked or core_count(), core_count(), work))


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
