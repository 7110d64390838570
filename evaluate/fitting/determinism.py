"""Makes trainings repeat: named streams of random numbers and a fixed number of threads."""

import contextlib
import hashlib
from collections.abc import Iterator

import joblib
import torch

from nas_sv2.counts import counted
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.main_memory import memory_bytes


def stream(seed: int, name: str) -> torch.Generator:
    """Make a CPU generator for one use, so that no use shifts the draws of another.

    The order of the images is then the same for networks with many weights and with few.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def former_threads() -> int:
    """The CPU threads of a study that was begun before their number was kept with it."""
    return min(core_count(), 2)


def core_count() -> int:
    """The cores that this process may use, by its affinity and its control group's quota."""
    count: int = joblib.cpu_count()
    return count


WORKER_BYTES = 1 << 30
"""Memory for a worker. One took 0.86 GiB with `animals` and candidates of 140 MFLOPs."""
MOST_PER_CORE = 16
"""Processes or threads asked for each core, beyond which the number is a slip of the pen."""


def check_workers(count: int | None, field: str = "workers") -> None:
    """Refuse a number of processes or threads that this machine cannot run.

    Raises:
        ConfigError: It is below 1, or above `MOST_PER_CORE` for each core.
    """
    cores = core_count()
    if count is not None and not 1 <= count <= MOST_PER_CORE * cores:
        most = f"{MOST_PER_CORE * cores}; this process may use {counted(cores, 'core')}"
        raise ConfigError(field, count, f"must be a whole number from 1 to {most}")


def useful_workers(asked: int | None, work: int, threads: int = 1) -> int:
    """The processes of `threads` that help: none without cores, memory or work."""
    bearable = min(core_count() // threads, memory_bytes() // WORKER_BYTES)
    return max(1, min(asked or bearable, bearable, work))


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
