"""Networks as they learn: optimiser, precision, averaged weights, and an end at chance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from nas_sv2.evaluate.data.image_data import kind_of
from nas_sv2.evaluate.fitting.batches import Supply
from nas_sv2.evaluate.fitting.course import Learner, Step
from nas_sv2.evaluate.fitting.label_loss import loss_against_labels
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.start import rate_of
from nas_sv2.evaluate.fitting.teaching import Teaching
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import LabelKind

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LOOK_BACK = 50_000 / 1_281_167  # share of the steps
AVERAGED_EVERY = 32  # steps between two updates, if the average looks back over more
# ShuffleNet V2 0.5x was at chance for its first 15 to 30 steps, on animals and on coloured noise,
# and 40 % to 95 % right in the end. To end a shorter training early saves nothing.
FACTOR = "rate_factor"  # of a group of parameters: its rate over that of the step
PATIENCE = 50  # steps before which no training is given up


@dataclass(slots=True)
class ChanceCheck:
    """Judges whether a network has learnt nothing of the images it trains on.

    It watches from half of the recipe's share of the steps to the whole of it. A network has
    learnt nothing if two things hold. Its answers are no more often right than the commonest
    class is, up to two standard errors. And its loss is within 1 % of the loss of the class
    shares alone, or above. The second spares a network on lopsided data, which may know much
    before it first names a rare class.

    Attributes:
        chance: Share of the commonest class.
        ignorance: Loss of the class shares as the answer to everything, nats.
        first: Step from which it watches, counted from 0.
        last: Step at which it decides; -1 for never.
    """

    chance: float
    ignorance: float
    first: int
    last: int
    right: float = 0.0
    loss: float = 0.0
    seen: int = 0

    @classmethod
    def of(cls, labels: torch.Tensor, recipe: Recipe, steps: int) -> "ChanceCheck":
        """Make the check of a training of `steps` on `labels`; it is for classes alone."""
        if kind_of(labels) != "classes":
            return cls(1.0, 0.0, 0, -1)
        shares = torch.bincount(labels).double() / len(labels)
        smoothing = recipe.label_smoothing
        targets = (1 - smoothing) * shares + smoothing / len(shares)
        last = math.ceil(recipe.hopeless_after * steps) - 1
        entropy = float(torch.special.entr(targets).sum())
        if last + 1 < PATIENCE or recipe.class_weights != "none":
            last = -1  # never: with weights the commonest class may be named too seldom at first
        return cls(float(shares.max()), entropy, last // 2, last)

    def judge(
        self, step: int, loss: float, logits: torch.Tensor, labels: torch.Tensor
    ) -> str | None:
        """Return a reason to stop, in words, if `step` decides and nothing was learnt."""
        if not self.first <= step <= self.last:
            return None
        self.right += float((logits.detach().argmax(1) == labels).sum())
        self.loss += loss * len(labels)
        self.seen += len(labels)
        if step < self.last:
            return None
        right = self.right / self.seen
        error = math.sqrt(self.chance * (1 - self.chance) / self.seen)
        if right > self.chance + 2 * error or self.loss / self.seen < 0.99 * self.ignorance:
            return None
        return (
            f"no better than chance after {step + 1} steps: {right:.1%} of the training images "
            f"right, {self.chance:.1%} by chance"
        )


def make_optimiser(
    module: nn.Module, recipe: Recipe, rates: Mapping[str, float] = MappingProxyType({})
) -> torch.optim.Optimizer:
    """Make SGD or AdamW for a module; kernels decay, biases and batch norms do not.

    Parameters that need no gradient are left out. A group holds the factor of its
    learning rate, of `rates` by part.

    The fused form makes the same steps in half the time: 3 ms against 6 ms of a step of 100 ms
    (ShuffleNet V2 1x, batch 64, two cores).
    """
    learning: dict[tuple[float, float], list[nn.Parameter]] = {}
    for factor in dict.fromkeys((1.0, *rates.values())):
        learning |= {(factor, recipe.weight_decay): [], (factor, 0.0): []}
    for name, parameter in module.named_parameters():
        decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
        if parameter.requires_grad:
            learning[rate_of(name.removeprefix("module."), rates), decay].append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": decay, FACTOR: factor}
        for (factor, decay), parameters in learning.items()
        if parameters
    ]
    if recipe.optimiser == "adamw":
        betas = (recipe.momentum, 0.999)
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=betas, fused=True)
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=True,
    )


def balanced_weights(labels: Tensor) -> Tensor:
    """Return the weight of each class, float32 (classes,): 1 on average over the images.

    It is images / (classes · images of the class), over the classes that have images.
    """
    counts = torch.bincount(labels).float()
    there = counts > 0
    return torch.where(there, len(labels) / (there.sum() * counts.clamp(min=1)), 0.0)


@dataclass(eq=False)
class NetworkLearner:
    """One network that learns in place; a `Learner`.

    Attributes:
        module: The network, on the device of the batches.
        recipe: Optimiser, precision, smoothing, and the share of steps before it gives up.
        chance: Ends a training that has learnt nothing.
        rates: Factors of the learning rate, by part of the network.
        teaching: A teacher whose answers are learnt too; None for none.
        class_weights: Weights of the classes in the loss, (classes,); None for equal ones.
        kind: The kind of the labels.
        scale: The scale of labels that are numbers; else None.
    """

    module: nn.Module
    recipe: Recipe
    chance: ChanceCheck
    rates: Mapping[str, float] = field(default_factory=dict)
    teaching: Teaching | None = None
    class_weights: Tensor | None = None
    kind: LabelKind = "classes"
    scale: LabelScale | None = None

    @classmethod
    def of(
        cls,
        module: nn.Module,
        batches: Supply,
        recipe: Recipe,
        rates: Mapping[str, float] = MappingProxyType({}),
        teaching: Teaching | None = None,
    ) -> "NetworkLearner":
        """Make the learner of a training of `module` on `batches`."""
        steps = recipe.epochs * len(batches)
        chance = ChanceCheck.of(batches.labels, recipe, steps)
        weights, kind = None, kind_of(batches.labels)
        if recipe.class_weights == "balanced":
            weights = balanced_weights(batches.labels).to(batches.device)
        scale = LabelScale.of(batches.labels)
        return cls(module, recipe, chance, rates, teaching, weights, kind, scale)

    def __post_init__(self) -> None:
        """Make the optimiser and the scaler."""
        device = next(self.module.parameters()).device.type
        self._optimiser = make_optimiser(self.module, self.recipe, self.rates)
        self._scaler = torch.amp.GradScaler(device, enabled=self.recipe.precision == "fp16")

    def begin_pass(self) -> None:
        """Put the network into training mode."""
        self.module.train()

    def learn(self, step: Step, inputs: Tensor, labels: Tensor) -> tuple[float, str | None]:
        """Take one step of the optimiser; see `Learner.learn`."""
        recipe = self.recipe
        for group in self._optimiser.param_groups:
            group["lr"] = step.learning_rate * group.get(FACTOR, 1.0)  # none in older checkpoints
        mixed = torch.autocast(
            inputs.device.type,
            PRECISIONS[recipe.precision],
            enabled=recipe.precision != "fp32",
        )
        with mixed:
            logits = self.module(inputs)
            loss = loss_against_labels(
                self.kind,
                logits,
                labels,
                recipe.label_smoothing,
                self._weights_of(logits.shape[1]),
                self.scale,
            )
        against_labels = float(loss.detach())
        if self.teaching is not None:
            loss = self.teaching.loss(loss, logits, inputs, self.scale)
        value = float(loss.detach())
        step.check_finite(value)
        self._optimiser.zero_grad()
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return value, self.chance.judge(step.number, against_labels, logits, labels)

    def _weights_of(self, classes: int) -> Tensor | None:
        """Return the weights of all classes; those behind the last with an image have 0."""
        if self.class_weights is None:
            return None
        return functional.pad(self.class_weights, (0, classes - len(self.class_weights)))

    def state(self) -> dict[str, Any]:
        """Return weights, optimiser, scaler and the figures of the check for chance."""
        return {
            "model": self.module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "chance": [self.chance.right, self.chance.loss, self.chance.seen],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to the point at which `state` was taken."""
        self.module.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.chance.right, self.chance.loss, self.chance.seen = state["chance"]


@dataclass(eq=False)
class Average:
    """An exponential moving average of the weights in training, which is kept in their place.

    torchvision's recipe (pytorch/vision#5906) moves the average every 32 steps by a share of
    2e-5 · batch · 32 / epochs. It looks back over `epochs` · 50,000 images, 3.9 % of a training on
    ImageNet. We keep this share, so that any training has an average over its own end.

    Attributes:
        averaged: Torch's average, of weights and running statistics.
        every: Steps between two updates.
        weight: Share of the present weights in an update.
        warm_up_steps: First steps, in which it copies the weights, since they are not useful yet.
    """

    averaged: AveragedModel
    every: int
    weight: float
    warm_up_steps: float

    @classmethod
    def of(cls, module: nn.Module, steps: int, warm_up: float) -> "Average":
        """Make an average that begins with `module` as it is.

        Args:
            module: The network.
            steps: Number of all steps.
            warm_up: Share of the steps in which it copies the weights.
        """
        every = max(1, min(AVERAGED_EVERY, round(LOOK_BACK * steps)))
        weight = min(1.0, every / max(LOOK_BACK * steps, 1.0))

        def mix(mean: Tensor, present: Tensor, count: Tensor | int) -> Tensor:
            return mean.lerp(present, weight) if mean.is_floating_point() else present

        averaged = AveragedModel(module, avg_fn=mix, use_buffers=True)
        averaged.requires_grad_(False)
        return cls(averaged, every, weight, warm_up * steps)

    @property
    def module(self) -> nn.Module:
        """The network with the averaged weights."""
        return self.averaged.module

    def update(self, module: nn.Module, done: int) -> None:
        """Take in the weights and running statistics of `module` after step `done`."""
        if done % self.every:
            return
        self.averaged.n_averaged.fill_(int(done > self.warm_up_steps))  # at 0, torch copies
        self.averaged.update_parameters(module)


@dataclass(eq=False)
class AveragingLearner:
    """A learner whose network is averaged after each step; a `Learner`."""

    learner: Learner
    module: nn.Module
    average: Average

    def begin_pass(self) -> None:
        """Prepare for training steps."""
        self.learner.begin_pass()

    def learn(self, step: Step, inputs: Tensor, labels: Tensor) -> tuple[float, str | None]:
        """Learn from one batch, then update the average; see `Learner.learn`."""
        learned = self.learner.learn(step, inputs, labels)
        self.average.update(self.module, step.number + 1)
        return learned

    def state(self) -> dict[str, Any]:
        """Return the state of the learner and the average."""
        average = self.average.averaged.state_dict()
        return {"learner": self.learner.state(), "average": average}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to the point at which `state` was taken."""
        self.learner.restore(state["learner"])
        self.average.averaged.load_state_dict(state["average"])
