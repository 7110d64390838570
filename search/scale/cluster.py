"""A Ray cluster: the resources of its nodes, and the wait for their answers.

The driver keeps the study. Each training (`cluster_training.py`) and each measurement
(`cluster_device.py`) is a Ray task. Ray places the tasks, and runs them again if a node is lost.
A node needs our package, the data and the device that it offers, if any; it never sees the
database.
"""

import logging
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nas_sv2.errors import ConfigError, DeviceError, EvaluationError, MeasurementError, NasError
from nas_sv2.version import __version__

OFFERED = "nas-sv2:"
"""Prefix of a Ray resource: with the name of a target, a node offers that device."""
RETRIES = 3
"""How often Ray repeats a task whose node or process is lost."""
POLL_S = 0.5
LOOK_S = 5.0
"""Seconds between two looks at the nodes during the wait for a task."""
KNOCK_S = 5.0
"""Seconds that the cluster's head has to answer."""
PATIENCE_S = 60.0
"""Seconds that a task waits for a lost node, which may be restarted or replaced."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: The address that the user gave.
        stopped: Set to end every wait for a task.
    """

    address: str
    stopped: threading.Event = field(default_factory=threading.Event)

    def nodes(self) -> list[Mapping[str, float]]:
        """The amounts of each living node, free or not, by the name of the resource."""
        import ray

        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in known if node["Alive"]]

    def total(self, resource: str) -> int:
        """The amount of a resource over all nodes."""
        return int(sum(node.get(resource, 0.0) for node in self.nodes()))

    def share(self, count: int) -> int:
        """The CPUs for each of `count` simultaneous tasks, each of which runs on one node."""
        largest = max((node.get("CPU", 0.0) for node in self.nodes()), default=0.0)
        return int(min(largest, self.total("CPU") // count))

    def describe(self) -> str:
        """Describe the cluster in one line."""
        nodes = self.nodes()
        names = {name for node in nodes for name in node if name.startswith(OFFERED)}
        devices = ", ".join(sorted(name.removeprefix(OFFERED) for name in names))
        return (
            f"cluster   {self.address}: {len(nodes)} nodes, {self.total('CPU')} CPUs, "
            f"{self.total('GPU')} GPUs" + (f"; devices {devices}" if devices else "")
        )

    def is_able(self, needs: Mapping[str, float]) -> bool:
        """Whether a single node has all of `needs`, free or not."""
        return any(
            all(node.get(name, 0.0) >= amount for name, amount in needs.items())
            for node in self.nodes()
        )

    def answer(
        self, task: Any, needs: Mapping[str, float], what: str, lost: type[NasError]
    ) -> Any:
        """Wait for a task that calls `tried`, and return its result.

        Args:
            task: Reference of the task.
            needs: Amounts that a node must have for the task, by resource.
            what: Name of the task, for messages.
            lost: Error to raise if the process of the task is lost too often.

        Raises:
            DeviceError: If a node cannot do it, or no node has the `needs` for a minute.
            NasError: If the task raised it.
            KeyboardInterrupt: If `stopped` is set.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        looked = able = time.monotonic()
        while not ray.wait([task], timeout=POLL_S)[0]:
            now = time.monotonic()
            if self.stopped.is_set():
                ray.cancel(task)
                raise KeyboardInterrupt
            if now - looked < LOOK_S:
                continue
            looked = now
            if self.is_able(needs):
                able = now
            elif now - able > PATIENCE_S:
                ray.cancel(task)
                wanted = ", ".join(f"{amount:g} of {name}" for name, amount in needs.items())
                raise DeviceError(f"{what}: no node of {self.address} has {wanted} any more")
        try:
            found = ray.get(task)
        except RayTaskError as error:
            if isinstance(error.cause, ImportError):
                advice = f"install nas-sv2 {__version__} on every node"
                raise DeviceError(f"{what}: a node has {error.cause}; {advice}") from error
            raise
        except RayError as error:
            reason = str(error).strip().partition("\n")[0]
            raise lost(f"{what}: lost {RETRIES + 1} times: {reason}") from error
        if isinstance(found, NasError):
            raise found
        return found


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to the cluster at `address`; our tasks there end with this process.

    Args:
        address: `auto` for the cluster that this machine is part of, otherwise `HOST:PORT`.

    Raises:
        ConfigError: If there is no such cluster, or Ray is not installed here.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("ray", address, "needs Ray: pip install 'nas-sv2[ray]'") from error
    try:
        _knock(address)
        # Ray sets a handler of SIGTERM; `sigterm_interrupts` sets ours again afterwards.
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        allowed = f"must be auto or HOST:PORT of a cluster that runs, ray start --head ({error})"
        raise ConfigError("ray", address, allowed) from error
    try:
        yield Cluster(address)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Check that a process listens at `address`, since Ray itself tries for minutes.

    Raises:
        OSError: If none does.
        ValueError: If `address` is neither `auto` nor `HOST:PORT`.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ValueError("neither auto nor HOST:PORT")
    socket.create_connection((host, int(port)), KNOCK_S).close()


def tried(call: Callable[[], Any], version: str) -> Any:
    """Return, on a node, the result of `call` or its error in a form that can be sent.

    A fault of the node is a DeviceError: it ends the search, and the candidate is not blamed.

    Args:
        call: The work to do.
        version: The `versions()` of the driver.
    """
    host = socket.gethostname()
    if version != versions():
        return DeviceError(f"node {host} has {versions()}, the driver {version}; make them equal")
    try:
        return call()
    except (MeasurementError, EvaluationError) as error:
        return (MeasurementError if isinstance(error, MeasurementError) else EvaluationError)(
            f"{error} (node {host})"
        )
    except NasError as error:
        return DeviceError(f"node {host}: {error}")


def versions() -> str:
    """The versions on which the figures of a training depend; they are equal on all nodes."""
    import torch

    return f"nas-sv2 {__version__}, torch {torch.__version__}, python {platform.python_version()}"
