"""The training of a supernet: at every step the largest network, the smallest and some at random.

This is the sandwich rule with in-place distillation: the largest network learns from the labels,
and the others from its answers in the same step. See Yu & Huang, "Universally Slimmable Networks
and Improved Training Techniques", ICCV 2019. Yu et al. were the first to train whole networks in
this way ("BigNAS", ECCV 2020).

Optimiser, schedule, batch, images and augmentation are the recipe's.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas_sv2.errors import ConfigError, InfeasibleError, Rejected
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.course import Course, Progress, Step
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.label_loss import loss_against_labels
from nas_sv2.evaluate.fitting.learners import PRECISIONS, make_optimiser
from nas_sv2.evaluate.fitting.own_metric import try_score
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import LabelKind
from nas_sv2.evaluate.supernet.supernet import Supernet
from nas_sv2.space.choices.extremes import largest, smallest
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.guidelines import GuidelineLimits, admit
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

CHECKPOINT_SECONDS = 30.0  # what a kill may cost
CHECKPOINT = "supernet.checkpoint"
DRAWS = 2000  # tries to draw a network that keeps the guidelines; if 1 in 100 does, 1 in 10⁹ fails


@dataclass(frozen=True, eq=False)
class SupernetTraining:
    """Trains the shared weights of the networks of a space.

    Attributes:
        space: The space of the networks.
        recipe: The recipe; `hopeless_after` and `validate_each_epoch` have no effect here.
        data: The images.
        guidelines: Limits on random networks; without limits all are taken.
        random: Number of random networks a step.
        seed: Seed of weights, order, augmentation and networks.
        threads: As in `ProxyTraining`.
        progress: Called after each step with the steps done and the steps in all.
        checkpoints: Folder from which a killed training is resumed; None for none.
        notify: Called with a line if a training is resumed, or cannot be.
    """

    space: SearchSpace
    recipe: Recipe
    data: ImageData
    guidelines: GuidelineLimits
    random: int = 2
    seed: int = 0
    threads: int = 1
    progress: Progress = lambda done, steps: None
    checkpoints: Path | None = None
    notify: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        """Refuse a recipe that shared weights cannot be trained by."""
        check_supernet_recipe(self.recipe)
        try_score(self.recipe.score, self.data.val.labels, self.data.classes)
        if self.random < 0:
            raise ConfigError("networks", self.random, "must be a whole number from 0")
        self.training.adapt(largest(self.space))

    @cached_property
    def training(self) -> ProxyTraining:
        """The training of a single network: its form and its images."""
        return ProxyTraining(self.recipe, self.data, self.seed, self.threads)

    def fresh(self) -> Supernet:
        """The supernet before its training."""
        return Supernet(self.space, self.training.adapt, stream(self.seed, "weights"))

    def train(self) -> "TrainedSupernet":
        """Train from fresh weights, or resume the training of an earlier process.

        Raises:
            EvaluationError: If a loss is not finite; names step, learning rate and network.
            InfeasibleError: If the guidelines admit none of `DRAWS` random networks.
            StoreError: If a checkpoint cannot be read or written.
        """
        supernet = self.fresh()
        course = Course(
            _SandwichLearner(self, supernet),
            self.training.batches,
            self.recipe,
            stream(self.seed, "order"),
            self.checkpoint,
            CHECKPOINT_SECONDS,
            notify=self.notify,
            progress=self.progress,
        )
        with cpu_threads(self.threads), course.telling_of_interrupts():
            course.resume()
            for done in course.passes():
                course.keep(done)
        if (scale := self.training.scale) is not None:
            graph = lower(self.training.adapt(largest(self.space)))
            supernet.load(scale.folded(supernet.weights(), graph))
        images = sum(record.trained.images for record in course.records)
        loss = course.records[-1].trained.loss
        return TrainedSupernet(supernet, course.step, images, course.seconds, loss)

    def networks(self, step: int) -> list[Architecture]:
        """The networks that learn at `step`, the teacher first; the same for the same seed.

        Raises:
            InfeasibleError: If the guidelines admit none of `DRAWS` random networks.
        """
        draw = RandomSuggester(random.Random(f"{self.seed}:networks:{step}"))
        drawn = [self._admitted(draw) for _ in range(self.random)]
        return [largest(self.space), smallest(self.space), *drawn]

    def finish(self) -> None:
        """Delete the checkpoint, once the result is kept elsewhere."""
        if checkpoint := self.checkpoint:
            checkpoint.drop()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint of this training, if it has a folder."""
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
        return Checkpoint(self.checkpoints / CHECKPOINT, identity, self.notify)

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
            "guidelines off trains networks that do not"
        )


@dataclass(frozen=True, eq=False, slots=True)
class TrainedSupernet:
    """The result of a training.

    Attributes:
        supernet: The supernet with its weights.
        steps: Number of steps done.
        images: Number of images trained on, each counted once a step.
        seconds: Wall time.
        loss: Mean loss of the largest network over the last pass, nats; of numbers, its mean
            absolute error in standard deviations.
    """

    supernet: Supernet
    steps: int
    images: int
    seconds: float
    loss: float


def check_supernet_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that shared weights cannot be trained by.

    Raises:
        ConfigError: If the recipe is one; names the field.
    """
    if recipe.width_factor != 1:
        raise ConfigError("recipe.width_factor", recipe.width_factor, "must be 1 for a supernet")
    if recipe.seeds != 1:
        raise ConfigError("recipe.seeds", recipe.seeds, "must be 1: a supernet has one")
    if not recipe.norm_images:
        allowed = "must be above 0: a network of a supernet has no statistics of its own"
        raise ConfigError("recipe.norm_images", recipe.norm_images, allowed)
    if recipe.teacher is not None:
        allowed = "must be left out for a supernet, whose largest network teaches the others"
        raise ConfigError("recipe.teacher", recipe.teacher.model, allowed)
    for field, usual in (("class_weights", "none"), ("score_form", "fp32")):
        if getattr(recipe, field) != usual:
            allowed = f"must be {usual} for a supernet"
            raise ConfigError(f"recipe.{field}", getattr(recipe, field), allowed)
    if recipe.score == "training_speed":
        allowed = "must not be the speed of a training: a network of a supernet is not trained"
        raise ConfigError("recipe.score", recipe.score, allowed)


@dataclass(eq=False)
class _SandwichLearner:
    """Trains several networks of a supernet on each batch; a `Learner`."""

    how: SupernetTraining
    supernet: Supernet

    def __post_init__(self) -> None:
        self._optimiser = make_optimiser(self.supernet, self.how.recipe)
        for weight in self.supernet.parameters():
            weight.grad = torch.zeros_like(weight)  # fused optimisers want all or none

    def begin_pass(self) -> None:
        self.supernet.train()

    def learn(self, step: Step, inputs: Tensor, labels: Tensor) -> tuple[float, None]:
        """Train the networks of `step`; the loss is that of the largest one."""
        for group in self._optimiser.param_groups:
            group["lr"] = step.learning_rate
        self._optimiser.zero_grad(set_to_none=False)
        teacher, *others = self.how.networks(step.number)
        count = 1 + len(others)
        smoothing = self.how.recipe.label_smoothing
        answers, loss = self._answers(teacher, inputs, labels, smoothing)
        value = float(loss.detach())
        step.check_finite(value, "the loss of the largest network")
        torch.autograd.backward(loss / count)
        taught = _TAUGHT[self.how.data.kind](answers.detach().float())
        for network in others:
            _, loss = self._answers(network, inputs, taught, 0.0)
            step.check_finite(float(loss.detach()), f"the loss of network {network.digest[:8]}")
            torch.autograd.backward(loss / count)
        self._optimiser.step()
        return value, None

    def state(self) -> dict[str, Any]:
        return {"weights": self.supernet.weights(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.supernet.load(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _answers(
        self, network: Architecture, inputs: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """Return the answers of `network` and their loss against `targets`."""
        name, scale = self.how.recipe.precision, self.how.training.scale
        kind = self.how.data.kind
        with torch.autocast("cpu", PRECISIONS[name], enabled=name != "fp32"):
            answers = self.supernet(inputs, network)
            answers = answers if scale is None else scale.in_unit(answers)
            loss = loss_against_labels(kind, answers, targets, smoothing, scale=scale)
        return answers, loss


_TAUGHT: Mapping[LabelKind, Callable[[Tensor], Tensor]] = {
    "classes": lambda logits: logits.softmax(1),
    "labels": torch.sigmoid,
    "numbers": lambda answers: answers[:, 0],
}
"""The targets that the other networks learn from the answers of the largest."""
