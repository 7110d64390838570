"""A Ray cluster: what its nodes offer, and how their answers are waited for.

The driver keeps the study. What it hands out are single trainings (`cluster_training.py`) and
single measurements (`cluster_device.py`), each a Ray task; Ray places them, and runs them again
where a node is lost. A node needs our package, the data and, where it has one, the device: it sees
nothing of the database.
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
"""With the name of a target, the Ray resource by which a node says that it has that device."""
RETRIES = 3
"""How often Ray runs a task again whose node or process was lost."""
POLL_S = 0.5
LOOK_S = 5.0
"""Between looks at the nodes while a task is waited for."""
KNOCK_S = 5.0
"""For an answer of the cluster's head."""
PATIENCE_S = 60.0
"""How long a node that nothing can be done without may be away: it is restarted, or replaced."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: As the user gave it.
        stopped: Set when those who wait are to give up what they wait for.
    """

    address: str
    stopped: threading.Event = field(default_factory=threading.Event)

    def nodes(self) -> list[Mapping[str, float]]:
        """What each living node has in all, by the name of the resource."""
        import ray

        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in known if node["Alive"]]

    def total(self, resource: str) -> int:
        """How much of a resource all nodes have together."""
        return int(sum(node.get(resource, 0.0) for node in self.nodes()))

    def share(self, count: int) -> int:
        """The CPUs that each of `count` tasks can have at the same time, each on one node."""
        largest = max((node.get("CPU", 0.0) for node in self.nodes()), default=0.0)
        return int(min(largest, self.total("CPU") // count))

    def describe(self) -> str:
        """For people, in one line."""
        nodes = self.nodes()
        names = {name for node in nodes for name in node if name.startswith(OFFERED)}
        devices = ", ".join(sorted(name.removeprefix(OFFERED) for name in names))
        return (
            f"cluster   {self.address}: {len(nodes)} nodes, {self.total('CPU')} CPUs, "
            f"{self.total('GPU')} GPUs" + (f"; devices {devices}" if devices else "")
        )

    def is_able(self, needs: Mapping[str, float]) -> bool:
        """Whether a single node has all that in all, free or not."""
        return any(
            all(node.get(name, 0.0) >= amount for name, amount in needs.items())
            for node in self.nodes()
        )

    def answer(
        self, task: Any, needs: Mapping[str, float], what: str, lost: type[NasError]
    ) -> Any:
        """What a task gives that calls `tried`.

        Args:
            task: Its reference.
            needs: By resource, what a node must have for it.
            what: What it is, for a message.
            lost: What is raised where its process was lost again and again.

        Raises:
            DeviceError: A node cannot do it; or no node has what it needs, for a minute.
            NasError: As the task raised it.
            KeyboardInterrupt: `stopped` is set.
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
    """The cluster at `address`; what of ours runs there ends with this process.

    Args:
        address: `auto` for the one that this machine is part of, else `HOST:PORT`.

    Raises:
        ConfigError: There is none, or Ray is not installed here.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("ray", address, "needs Ray: pip install 'nas-sv2[ray]'") from error
    try:
        _knock(address)
        # SIGTERM is ours again after this, see `sigterm_interrupts`.
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        allowed = f"must be auto or HOST:PORT of a cluster that runs, ray start --head ({error})"
        raise ConfigError("ray", address, allowed) from error
    try:
        yield Cluster(address)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See that somebody listens: Ray itself tries for minutes.

    Raises:
        OSError: Nobody does.
        ValueError: It is neither `auto` nor `HOST:PORT`.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ValueError("neither auto nor HOST:PORT")
    socket.create_connection((host, int(port)), KNOCK_S).close()


def tried(call: Callable[[], Any], version: str) -> Any:
    """On a node: what `call` gives, or the error in a form that can be sent.

    What is wrong with the node itself is no fault of a network: it is a DeviceError, which ends a
    search and leaves the candidate to the next.

    Args:
        call: What is to be done.
        version: Of our package, at the driver's.
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
    """Of what decides the figures of a training; equal on all nodes."""
    import torch

    return f"nas-sv2 {__version__}, torch {torch.__version__}, python {platform.python_version()}"
