"""Trainings of a search as tasks of a cluster, with the CPUs and GPUs that they need.

The driver sends values: recipe, data by name and content, seed, threads and architecture. It
receives the figures and the weights.
"""

import socket
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.open_data import open_data
from nas_sv2.evaluate.fitting.evaluation import Trained
from nas_sv2.evaluate.fitting.evaluator import EvaluatorChoice, Setting, Stops, Trainer
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.search.scale.cluster import RETRIES, Cluster, tried
from nas_sv2.space.units.architecture import Architecture


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
        data = _opened(self.data, self.choice.recipe.resolution, self.skip_unreadable)
        if data.key != self.content:
            allowed = f"must have the content that the driver has, {self.content}"
            raise ConfigError("data", f"{self.data}@{data.key}", allowed)
        shared = self.checkpoints.parent.is_dir()  # by a network file system
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
    def data(self) -> ImageData:
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
        train = _remote().options(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0.0),
            max_retries=RETRIES,
            name=f"train {architecture.digest[:8]}",
        )
        task = train.remote(self.order, architecture, stops)
        found: Trained = self.cluster.answer(task, needs, "training", EvaluationError)
        return found


@cache
def _remote() -> Any:
    """`_trained` as a Ray task."""
    import ray

    return ray.remote(_trained)


def _trained(order: TrainingOrder, architecture: Architecture, stops: Stops | None) -> Trained:
    """Train on the node; see `TrainingOrder.trained`."""
    found: Trained = tried(partial(order.trained, architecture, stops), order.version)
    return found


@lru_cache(maxsize=1)
def _opened(spec: str, resolution: int | None, skip_unreadable: bool) -> ImageData:
    """The data, opened once in this process."""
    return open_data(
        spec,
        resolution=resolution,
        skip_unreadable=skip_unreadable,
        notify=lambda line: print(f"{socket.gethostname()}: {line}"),
    )
