"""Trainings of a search as tasks of a cluster, with the CPUs and GPUs that they need.

What leaves the driver is a value: recipe, data by name and content, seed, threads, architecture.
What comes back are the figures and the weights.
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
    """All that a node has to know of the trainings of a search.

    Attributes:
        choice: What says how good a candidate is.
        data: The data's spec, with an absolute path where it has one.
        content: What names its content: the node's has to be the same.
        skip_unreadable: As the search was asked.
        seed: Of the trainings.
        threads: CPU threads of one.
        device: A torch device, `cpu` or `cuda`.
        checkpoints: Folder of what a killed training goes on from, where the node has it.
        version: What the driver runs.
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
        """By Ray's resource, what a training takes of a node."""
        gpus = {} if self.device == "cpu" else {"GPU": 1.0}
        return {"CPU": float(self.threads), **gpus}

    def trained(self, architecture: Architecture, stops: Stops | None) -> Trained:
        """On the node: the network after its training.

        Raises:
            ConfigError: The node has other data.
            NasError: As `Trainer.train`.
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
    """A `Trainer` whose trainings are made on a cluster.

    Attributes:
        local: The same trainer here, which says what evaluations depend on and trains nothing.
        order: What the nodes are told.
        cluster: Where.
    """

    local: Trainer
    order: TrainingOrder
    cluster: Cluster

    def __post_init__(self) -> None:
        """Refuse a cluster that has no node for a training.

        Raises:
            ConfigError: Names what a training needs.
        """
        needs = self.order.needs
        if not self.cluster.is_able(needs):
            wanted = " and ".join(f"{amount:g} {name}s" for name, amount in needs.items())
            allowed = f"must be a cluster with a node of {wanted} for a training"
            raise ConfigError("ray", self.cluster.address, allowed)

    @property
    def recipe(self) -> Recipe:
        """How; its digest is that of no other way to weights."""
        return self.local.recipe

    @property
    def data(self) -> ImageData:
        """On what."""
        return self.local.data

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.local.seed

    @property
    def place(self) -> str:
        """Where, as evaluations record it; a node says the same."""
        return self.local.place

    def adapt(self, architecture: Architecture) -> Architecture:
        """The form that is trained."""
        return self.local.adapt(architecture)

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """The network with its weights, and how good it is.

        Raises:
            DeviceError: A node cannot train: other data, other versions, no memory to save to.
            EvaluationError: The training gave no accuracy, or was lost again and again.
            KeyboardInterrupt: The driver is to end.
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
    """`_trained`, as Ray calls it."""
    import ray

    return ray.remote(_trained)


def _trained(order: TrainingOrder, architecture: Architecture, stops: Stops | None) -> Trained:
    """On the node: see `TrainingOrder.trained`."""
    found: Trained = tried(partial(order.trained, architecture, stops), order.version)
    return found


@lru_cache(maxsize=1)
def _opened(spec: str, resolution: int | None, skip_unreadable: bool) -> ImageData:
    """The data of this process's trainings."""
    return open_data(
        spec,
        resolution=resolution,
        skip_unreadable=skip_unreadable,
        told=lambda line: print(f"{socket.gethostname()}: {line}"),
    )
