"""The training of a supernet: at every step the largest network, the smallest and some at random.

The sandwich rule and in-place distillation of Yu & Huang ("Universally Slimmable Networks and
Improved Training Techniques", ICCV 2019): the largest network learns from the labels, and all
others from what it says in the same step. Whole networks were first trained so by Yu et al.
("BigNAS", ECCV 2020). Optimiser, schedule, batch, images and augmentation are the recipe's.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nas_sv2.errors import ConfigError, EvaluationError, InfeasibleError, Rejected
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.fit import PRECISIONS, Progress, optimiser_for
from nas_sv2.evaluate.fitting.schedule import one_cycle
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.supernet import Supernet
from nas_sv2.space.choices.extremes import largest, smallest
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.guidelines import GuidelineLimits, admit
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

CHECKPOINT_SECONDS = 30.0  # what a kill may cost
CHECKPOINT = "supernet.checkpoint"
DRAWS = 2000  # of which one has to keep the guidelines; with 1 in 100 inside, 1 in 10⁹ fails


@dataclass(frozen=True, eq=False)
class SupernetTraining:
    """Trains the shared weights of the networks of a space.

    Attributes:
        space: Whose networks.
        recipe: How. `hopeless_after` and `validate_each_epoch` mean nothing here.
        data: On what.
        guidelines: What random networks are held against; without limits all are taken.
        random: Random networks a step.
        seed: Of weights, order, augmentation and networks.
        threads: As in `ProxyTraining`.
        progress: Called after each step with the steps done and the steps in all.
        checkpoints: Folder of what a killed training goes on from; None for none.
        told: Is told, in a line, that a training goes on, or why it does not.
    """

    space: SearchSpace
    recipe: Recipe
    data: ImageData
    guidelines: GuidelineLimits
    random: int = 2
    seed: int = 0
    threads: int | None = None
    progress: Progress = lambda done, steps: None
    checkpoints: Path | None = None
    told: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        """Refuse a recipe that shared weights cannot be trained by."""
        check_supernet_recipe(self.recipe)
        if self.random < 0:
            raise ConfigError("--random", self.random, "a whole number from 0")
        self.training.adapt(largest(self.space))

    @cached_property
    def training(self) -> ProxyTraining:
        """What a network of the space is trained as, and on."""
        return ProxyTraining(self.recipe, self.data, self.seed, self.threads)

    def fresh(self) -> Supernet:
        """The supernet before its training."""
        return Supernet(self.space, self.training.adapt, stream(self.seed, "weights"))

    def train(self) -> "TrainedSupernet":
        """Train from fresh weights, or go on where a process before this one was killed.

        Raises:
            EvaluationError: A loss is not finite; names step, learning rate and network.
            InfeasibleError: The guidelines admit none of `DRAWS` random networks.
            StoreError: A checkpoint cannot be read or written.
        """
        with cpu_threads(self.training.thread_count):
            course = _Course(self, self.fresh())
            course.resume()
            course.run()
        return TrainedSupernet(
            course.supernet, course.step, course.images, course.seconds, course.loss
        )

    def networks(self, step: int) -> list[Architecture]:
        """What learns at `step`, the teacher first; the same for the same seed.

        Raises:
            InfeasibleError: The guidelines admit none of `DRAWS` random networks.
        """
        draw = RandomSuggester(random.Random(f"{self.seed}:networks:{step}"))
        drawn = [self._admitted(draw) for _ in range(self.random)]
        return [largest(self.space), smallest(self.space), *drawn]

    def finish(self) -> None:
        """Delete the checkpoint: what the training came to is kept elsewhere."""
        if checkpoint := self.checkpoint:
            checkpoint.drop()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Of this training, if it has a folder."""
        if self.checkpoints is None:
            return None
        identity = {
            "space": self.space.digest,
            "recipe": self.recipe.digest,
            "data": self.data.provenance,
            "guidelines": repr(dict(self.guidelines.limits)),
            "random": str(self.random),
            "seed": str(self.seed),
            "device": self.training.place,
            "torch": str(torch.__version__),
        }
        return Checkpoint(self.checkpoints / CHECKPOINT, identity, self.told)

    def _admitted(self, draw: RandomSuggester) -> Architecture:
        for _ in range(DRAWS):
            architecture = self.space.sample(draw)
            if not self.guidelines.limits:
                return architecture
            try:
                admit(self.guidelines.excesses(lower(architecture)))
            except Rejected:
                continue
            return architecture
        raise InfeasibleError(
            f"none of {DRAWS} sampled networks of space {self.space.name} keeps the guidelines; "
            "--guidelines off trains all"
        )


@dataclass(frozen=True, eq=False, slots=True)
class TrainedSupernet:
    """What a training came to.

    Attributes:
        supernet: With its weights.
        steps: Done.
        images: Trained on, each counted once a step.
        seconds: Wall time.
        loss: Of the largest network over the last pass, mean, nats.
    """

    supernet: Supernet
    steps: int
    images: int
    seconds: float
    loss: float


def check_supernet_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that shared weights cannot be trained by.

    Raises:
        ConfigError: Names the field.
    """
    if recipe.width_factor != 1:
        raise ConfigError("recipe width_factor", recipe.width_factor, "1 for a supernet")
    if recipe.seeds != 1:
        raise ConfigError("recipe seeds", recipe.seeds, "1: a supernet has one")
    if not recipe.norm_images:
        allowed = "some images: a network of a supernet has no statistics of its own"
        raise ConfigError("recipe norm_images", recipe.norm_images, allowed)
    if recipe.score == "training_speed":
        allowed = "accuracy or cross_entropy: a network of a supernet is not trained"
        raise ConfigError("recipe score", recipe.score, allowed)


@dataclass
class _Course:
    """A training under way; all that further steps depend on is in `_state`."""

    how: SupernetTraining
    supernet: Supernet
    step: int = 0
    images: int = 0
    _order: Tensor | None = None
    _losses: list[float] = field(default_factory=list)
    _earlier_s: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _saved: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self._optimiser = optimiser_for(self.supernet, self.how.recipe)
        for weight in self.supernet.parameters():
            weight.grad = torch.zeros_like(weight)  # fused optimisers want all or none
        self._generator = stream(self.how.seed, "order")
        self._batches = self.how.training.batches
        self.steps = self.how.recipe.epochs * len(self._batches)

    @property
    def seconds(self) -> float:
        """Spent on it, by this process and those before."""
        return self._earlier_s + time.perf_counter() - self._started

    @property
    def loss(self) -> float:
        """Of the largest network, mean over the last pass."""
        return sum(self._losses) / len(self._losses) if self._losses else math.nan

    def run(self) -> None:
        """Take all steps that are left."""
        self.supernet.train()
        while self.step < self.steps:
            number = self.step % len(self._batches)
            if number == 0 or self._order is None:
                self._order, self._losses = self._batches.order(self._generator), []
            self._step(*self._batches.take(self._order, number, self._generator))
            self.how.progress(self.step, self.steps)
            if time.perf_counter() - self._saved >= CHECKPOINT_SECONDS:
                self.save()

    def _step(self, inputs: Tensor, labels: Tensor) -> None:
        recipe = self.how.recipe
        rate = one_cycle(
            self.step, self.steps, recipe.learning_rate, recipe.warm_up, recipe.schedule
        )
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=False)
        teacher, *others = self.how.networks(self.step)
        logits = self._learn(teacher, inputs, labels, rate, 1 + len(others))
        said = logits.softmax(1)
        for network in others:
            self._learn(network, inputs, said, rate, 1 + len(others))
        self._optimiser.step()
        self.step += 1
        self.images += len(labels)

    def _learn(
        self, network: Architecture, inputs: Tensor, targets: Tensor, rate: float, count: int
    ) -> Tensor:
        """Add a network's share, one of `count`, to the gradient; its logits, float32."""
        recipe, teaches = self.how.recipe, targets.dim() == 1
        precision = PRECISIONS[recipe.precision]
        with torch.autocast("cpu", precision, enabled=recipe.precision != "fp32"):
            logits = self.supernet(inputs, network)
            smoothing = recipe.label_smoothing if teaches else 0.0
            loss = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        value = float(loss.detach())
        if not math.isfinite(value):
            which = "the largest network" if teaches else f"network {network.digest[:8]}"
            raise EvaluationError(
                f"the loss of {which} is {value} at step {self.step + 1} of {self.steps} "
                f"(learning rate {rate:.3g})"
            )
        torch.autograd.backward(loss / count)
        if teaches:
            self._losses.append(value)
        said: Tensor = logits.detach()
        return said.float()

    def save(self) -> None:
        """Keep all for a process after this one."""
        self._saved = time.perf_counter()
        if checkpoint := self.how.checkpoint:
            checkpoint.save(self._state())

    def resume(self) -> None:
        """Go on where a process before this one left it, if one has."""
        checkpoint = self.how.checkpoint
        state = checkpoint.load() if checkpoint else None
        if state is None:
            return
        self.supernet.load(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self.step, self.images, self._order = state["step"], state["images"], state["order"]
        self._losses, self._earlier_s = state["losses"], state["seconds"]
        self.how.told(
            f"going on at step {self.step} of {self.steps} of a training that was interrupted"
        )

    def _state(self) -> dict[str, Any]:
        return {
            "weights": self.supernet.weights(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "step": self.step,
            "images": self.images,
            "order": self._order,
            "losses": self._losses,
            "seconds": self.seconds,
        }
