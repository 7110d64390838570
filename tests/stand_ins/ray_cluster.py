"""A Ray cluster of two nodes on this machine, each with processes of its own."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas_sv2.search.scale.cluster import OFFERED

DEVICE = "board"


def why_not() -> str | None:
    """Why no cluster can be started here; None where one can."""
    return None if find_spec("ray") else "Ray is not installed (pip install 'nas-sv2[ray]')"


def write_devices(config: Path) -> None:
    """The device that the second node has: this machine's python, measured briefly."""
    file = config / "nas-sv2" / "devices.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"[devices.{DEVICE}]\nkind = 'local'\npython = '{sys.executable}'\n"
        f"[devices.{DEVICE}.plan]\nloads = 1\nwarmup_runs = 3\nmin_runs = 10\nmax_runs = 20\n"
    )


@dataclass
class TwoNodes:
    """The head trains; the other trains too, and has the device.

    Attributes:
        cluster: Ray's.
        address: For `--ray`.
        second: The node with the device.
    """

    cluster: Any
    address: str
    second: Any
    more: list[Any] = field(default_factory=list)

    def add(self) -> None:
        """Another node with the device."""
        self.more.append(self.cluster.add_node(num_cpus=1, resources={OFFERED + DEVICE: 1}))

    def kill_second(self) -> None:
        """`kill -9` of all its processes."""
        self.cluster.remove_node(self.second, allow_graceful=False)


@contextmanager
def two_nodes(config: Path) -> Iterator[TwoNodes]:
    """A cluster whose nodes read the devices of `config`."""
    from ray.cluster_utils import Cluster

    write_devices(config)
    before = dict(os.environ)
    os.environ.update(XDG_CONFIG_HOME=str(config), RAY_USAGE_STATS_ENABLED="0")
    cluster: Any = Cluster()
    try:
        cluster.add_node(num_cpus=1, include_dashboard=False)
        second = cluster.add_node(num_cpus=1, resources={OFFERED + DEVICE: 1})
        yield TwoNodes(cluster, cluster.address, second)
    finally:
        os.environ.clear()
        os.environ.update(before)
        cluster.shutdown()


def processes_of(words: Sequence[str]) -> list[int]:
    """The processes whose command line has all of these words."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal():
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if all(word in line for word in words):
                    found.append(int(folder.name))
    return found


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
