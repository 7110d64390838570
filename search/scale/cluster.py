"""A Ray cluster that trains and measures for a search, and the threads that wait for it.

The driver keeps the study. Each training and each measurement is a Ray task. Ray places the tasks,
and runs them again if a node is lost. A node needs our package, the data and the device that it
offers, if any; it never sees the database.

For a training the driver sends values: recipe, data by name and content, seed, threads and
architecture. It receives the figures and the weights. Ray gives a device to one task at a time.
The task also takes the usual lock, so that programs outside the cluster wait. The process of a
task keeps the device open for the next task.
"""

import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from nas_sv2.counts import counted
from nas_sv2.errors import ConfigError, DeviceError, EvaluationError, MeasurementError, NasError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluation import Trained
from nas_sv2.evaluate.fitting.evaluator import DataSet, EvaluatorChoice, Setting, Stops, Trainer
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice, check_same
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement, NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.plain_data import printable
from nas_sv2.resolution import Resolution
from nas_sv2.search.events.events import Event, OnEvent, TrialAsked
from nas_sv2.search.events.interrupts import sigint_ignored
from nas_sv2.search.scale.processes import Work
from nas_sv2.search.scale.worker_events import MergedEvents, ended_early, is_shown
from nas_sv2.space.units.architecture import Architecture
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

    def describe(self) -> str:
        """Describe the cluster in one line."""
        nodes = self.nodes()
        names = {name for node in nodes for name in node if name.startswith(OFFERED)}
        devices = ", ".join(sorted(name.removeprefix(OFFERED) for name in names))
        return (
            f"cluster   {self.address}: {counted(len(nodes), 'node')}, "
            f"{counted(self.total('CPU'), 'CPU')}, "
            f"{counted(self.total('GPU'), 'GPU')}" + (f"; devices {devices}" if devices else "")
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
        ValueError: If `address` is neither `auto` nor `HOST:PORT` with a port that can be.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ValueError("neither auto nor HOST:PORT")
    if not 0 < int(port) < 1 << 16:  # the socket would take it modulo 65536
        raise ValueError("a port is a number from 1 to 65535")
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


@dataclass(slots=True, eq=False)
class ClusterDevice:
    """A device on some node of a cluster; a `Device` and a `Profiler`.

    It is not frozen, because it keeps the fingerprints of the device.

    Attributes:
        name: Name of the target, on the node as here.
        cluster: The cluster.
    """

    name: str
    cluster: Cluster
    _known: dict[str, Fingerprint] = field(default_factory=dict)

    @classmethod
    def offered(cls, cluster: Cluster, name: str) -> "ClusterDevice | None":
        """The device of that name; None if no node offers it."""
        return cls(name, cluster) if cluster.is_able({OFFERED + name: 1.0}) else None

    def start(self) -> None:
        """Do nothing: a task starts the device."""

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        """The fingerprint of the device, requested once for each plan."""
        if plan.key not in self._known:
            self._known[plan.key] = self._ask(plan, "fingerprint", plan)
        return self._known[plan.key]

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        """Measure on the node.

        Raises:
            DeviceError: If no node offers the device any more, or it is another one than before.
            MeasurementError: If the device answers, but not with a latency.
        """
        found: list[Measurement] = self._ask(plan, "measure", payloads, plan, reference=reference)
        for measurement in found:
            known = self._known.setdefault(plan.key, measurement.fingerprint)
            check_same(self.name, known, measurement.fingerprint)
        return found

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        """The time of each operator of the model on the device."""
        found: list[NodeTime] = self._ask(plan, "profile", payload, plan, timeout_s)
        return found

    def close(self) -> None:
        """Do nothing: the processes of the tasks end with the driver."""

    def _ask(self, plan: MeasurePlan, method: str, *arguments: Any, **named: Any) -> Any:
        gpus = self._gpus(plan)
        needs = {OFFERED + self.name: 1.0} | ({"GPU": gpus} if gpus else {})
        measure = _measuring().options(
            num_cpus=0,
            num_gpus=gpus,
            resources={OFFERED + self.name: 1.0},
            max_retries=RETRIES,
            name=f"{method} on {self.name}",
        )
        task = measure.remote(self.name, versions(), method, arguments, named)
        return self.cluster.answer(task, needs, self.name, MeasurementError)

    def _gpus(self, plan: MeasurePlan) -> float:
        """1 if the device is the GPU of its node, which must not train meanwhile; otherwise 0."""
        has = any(
            node.get(OFFERED + self.name) and node.get("GPU") for node in self.cluster.nodes()
        )
        return 1.0 if plan.processor == "cuda" and has else 0.0


_devices: dict[tuple[str, str], ReconnectingDevice] = {}
"""The devices open in this process of a node, by name and the GPUs that it may see."""


@cache
def _measuring() -> Any:
    """`_asked` as a Ray task."""
    import ray

    return ray.remote(_asked)


def _asked(
    name: str, version: str, method: str, arguments: Sequence[Any], named: dict[str, Any]
) -> Any:
    """Call a method of the device, on the node."""

    def call() -> Any:
        return getattr(_device(name), method)(*arguments, **named)

    return tried(call, version)


def _device(name: str) -> ReconnectingDevice:
    """The device, open; its agent sees the GPUs that it could see at its start."""
    key = (name, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    if key not in _devices:
        while _devices:
            _devices.popitem()[1].close()
        _devices[key] = TargetBook.read().device(name)
    return _devices[key]


@dataclass(frozen=True)
class TrainingOrder:
    """The trainings of a search, as a node needs to know them.

    Attributes:
        choice: The evaluator.
        data: The data's spec; a path in it is absolute.
        content: Name of the data's content, which is the same on the node.
        skip_unreadable: Whether images that cannot be read are left out.
        seed: Seed of the trainings.
        threads: CPU threads of one training.
        device: A torch device, `cpu` or `cuda`.
        checkpoints: Folder from which a killed training is resumed, if the node shares it.
        version: The `versions()` of the driver.
    """

    choice: EvaluatorChoice
    data: str
    content: str
    skip_unreadable: bool
    seed: int
    threads: int
    device: str
    checkpoints: Path
    version: str

    @property
    def needs(self) -> dict[str, float]:
        """The amounts that a training takes of a node, by Ray resource."""
        gpus = {} if self.device == "cpu" else {"GPU": 1.0}
        return {"CPU": float(self.threads), **gpus}

    def trained(self, architecture: Architecture, stops: Stops | None) -> Trained:
        """Train the network, on the node.

        Raises:
            ConfigError: If the node has other data.
            NasError: If `Trainer.train` raises it.
        """
        recipe = self.choice.recipe
        data = _opened(self.data, recipe.resolution, self.skip_unreadable, recipe.numbers)
        if data.key != self.content:
            allowed = f"must have the content that the driver has, {self.content}"
            raise ConfigError("data", f"{self.data}@{data.key}", allowed)
        shared = os.path.isdir(self.checkpoints.parent)  # by a network file system
        setting = Setting(
            self.seed,
            self.threads,
            self.device,
            checkpoints=self.checkpoints if shared else None,
        )
        return self.choice.open(data, setting).train(architecture, stops)


@dataclass(frozen=True)
class ClusterTraining:
    """A `Trainer` whose trainings run on a cluster.

    Attributes:
        local: The same trainer in this process: it describes evaluations and trains nothing.
        order: The order that the nodes receive.
        cluster: The cluster.
    """

    local: Trainer
    order: TrainingOrder
    cluster: Cluster

    def __post_init__(self) -> None:
        """Refuse a cluster that has no node for a training.

        Raises:
            ConfigError: If there is none; the message has the needs of a training.
        """
        needs = self.order.needs
        if not self.cluster.is_able(needs):
            wanted = " and ".join(f"{amount:g} {name}s" for name, amount in needs.items())
            allowed = f"must be a cluster with a node of {wanted} for a training"
            raise ConfigError("ray", self.cluster.address, allowed)

    @property
    def recipe(self) -> Recipe:
        """The recipe; its digest is unique to this way to weights."""
        return self.local.recipe

    @property
    def data(self) -> DataSet:
        """The images."""
        return self.local.data

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return self.local.seed

    @property
    def place(self) -> str:
        """The processor, as evaluations record it; nodes record the same."""
        return self.local.place

    def adapt(self, architecture: Architecture) -> Architecture:
        """The form that is trained."""
        return self.local.adapt(architecture)

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """Train on a node, and return the evaluation and the weights.

        Raises:
            DeviceError: If a node cannot train: other data or versions, or no room to save.
            EvaluationError: If the training gives no accuracy, or its process is lost too often.
            KeyboardInterrupt: If the driver is to end.
        """
        needs = self.order.needs
        train = _training().options(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0.0),
            max_retries=RETRIES,
            name=f"train {architecture.digest[:8]}",
        )
        task = train.remote(self.order, architecture, stops)
        found: Trained = self.cluster.answer(task, needs, "training", EvaluationError)
        return found


@cache
def _training() -> Any:
    """`_trained` as a Ray task."""
    import ray

    return ray.remote(_trained)


def _trained(order: TrainingOrder, architecture: Architecture, stops: Stops | None) -> Trained:
    """Train on the node; see `TrainingOrder.trained`."""
    found: Trained = tried(partial(order.trained, architecture, stops), order.version)
    return found


@lru_cache(maxsize=1)
def _opened(
    spec: str, resolution: Resolution | None, skip_unreadable: bool, numbers: bool
) -> ImageData:
    """The data, opened once in this process."""
    return open_data(
        spec,
        resolution=resolution,
        skip_unreadable=skip_unreadable,
        numbers=numbers,
        # To Ray's log of this node; no terminal shows it (`log_to_driver`).
        notify=lambda line: print(f"{socket.gethostname()}: {printable(line)}"),
    )


def run_threads(
    work: Work, count: int, on_event: OnEvent, stopped: threading.Event
) -> list[NasError]:
    """Run `work` in `count` threads; give the errors that ended some of them early.

    A walk spends nearly all of its time waiting for its training or a device. A thread is enough
    for this, and one process is a single client of the cluster.

    Args:
        work: The work of a thread, with its number and its `on_event`.
        count: Number of threads.
        on_event: The user's function.
        stopped: Set here to end all threads.

    Raises:
        KeyboardInterrupt: If the user interrupts, or at SIGTERM, once the walks have ended.
    """
    shared = _SharedEvents(MergedEvents(on_event), threading.Lock(), stopped)
    with ThreadPoolExecutor(count, "walk") as pool:
        walks = [
            pool.submit(_walk, work, number, _ThreadEvents(shared, number))
            for number in range(count)
        ]
        try:
            _wait_for(walks)
        except BaseException:
            with sigint_ignored():
                stopped.set()
                wait(walks)
            raise
    return [error for walk in walks if (error := walk.result()) is not None]


def _wait_for(walks: list[Future[NasError | None]]) -> None:
    """Wait for all walks; raise a bug in one at once."""
    left = set(walks)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for walk in done:
            walk.result()


@dataclass(frozen=True)
class _SharedEvents:
    """The merged events of all threads, one event at a time."""

    events: MergedEvents
    lock: threading.Lock
    stopped: threading.Event


@dataclass(frozen=True)
class _ThreadEvents:
    """The `on_event` of one thread: gives the events that the user sees to the merged events."""

    shared: _SharedEvents
    number: int

    def __call__(self, event: Event) -> None:
        """Pass on an event.

        Raises:
            KeyboardInterrupt: If the walk is to end; it then queues its candidate again.
        """
        if not is_shown(event):
            return
        if self.shared.stopped.is_set() and isinstance(event, TrialAsked):
            raise KeyboardInterrupt
        with self.shared.lock:
            self.shared.events.pass_on(self.number, event)


def _walk(work: Work, number: int, thread: _ThreadEvents) -> NasError | None:
    """Run a walk, and give the error that ended it, if any."""
    try:
        work(number, thread)
    except NasError as error:
        if not thread.shared.stopped.is_set():
            thread(ended_early(number, error))
        return error
    except KeyboardInterrupt:  # raised by the driver
        return None
    finally:
        with thread.shared.lock:
            thread.shared.events.forget(number)
    return None
