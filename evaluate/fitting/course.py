"""A training as steps in passes; a later process resumes it after a kill, to the same bits.

A course owns all that trainings have in common: order of images, learning rate, clock, checkpoint
and finished passes. Its learner takes each step.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.fitting.batches import Supply
from nas_sv2.evaluate.fitting.checkpoint import Checkpoint
from nas_sv2.evaluate.fitting.validation import Validation
from nas_sv2.evaluate.recipes.recipe import Recipe, Schedule

Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all steps."""


def one_cycle(
    step: int, steps: int, peak: float, warm_up: float, schedule: Schedule = "linear"
) -> float:
    """Return the learning rate at `step` of `steps`, counted from 0.

    It climbs from near 0 to `peak` over the share `warm_up` and falls to 0, in a line or along
    half a cosine. It would reach 0 one step after the last: the last weights are then an average
    over small moves and worth scoring.
    """
    position = (step + 1) / (steps + 1)
    if position < warm_up:
        return peak * position / warm_up
    if warm_up == 1:
        return peak
    if schedule == "cosine":
        return peak * (1 + math.cos(math.pi * (position - warm_up) / (1 - warm_up))) / 2
    return peak * (1 - position) / (1 - warm_up)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the training images, or a part of one if the training was stopped.

    Attributes:
        loss: Mean of the loss that was minimised, nats.
        learning_rate: Rate of its last step.
        images: Images trained on.
        seconds: Wall time.
        stopped: Reason to end the training before its last pass, or None.
    """

    loss: float
    learning_rate: float
    images: int
    seconds: float
    stopped: str | None = None


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One pass and the validation after it; `validated` is None if there was none."""

    step: int
    trained: Pass
    validated: Validation | None = None

    @property
    def validation(self) -> Validation:
        """The validation of a pass that had one."""
        assert self.validated is not None
        return self.validated


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a course: its number from 0, the number of all steps, and the learning rate."""

    number: int
    steps: int
    learning_rate: float

    def check_finite(self, loss: float, name: str = "the loss") -> None:
        """Raise `EvaluationError` if `loss` is not finite, with step and learning rate."""
        if not math.isfinite(loss):
            raise EvaluationError(
                f"{name} is {loss} at step {self.number + 1} of {self.steps} "
                f"(learning rate {self.learning_rate:.3g})"
            )


class Learner(Protocol):
    """The weights that a course trains, and how they learn from one batch."""

    def begin_pass(self) -> None:
        """Prepare for training steps after a validation."""
        ...

    def learn(self, step: Step, inputs: Tensor, labels: Tensor) -> tuple[float, str | None]:
        """Learn from one batch.

        Args:
            step: The step.
            inputs: Images (N, C, H, W), normalised.
            labels: Their classes (N,), or shares of the classes (N, classes).

        Returns:
            The mean loss over the batch, nats, and why the training should end here, or None.

        Raises:
            EvaluationError: If the loss is not finite.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return all that further steps depend on, as tensors and plain data."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to the point at which `state` was taken."""
        ...


@dataclass(slots=True)
class Place:
    """The point that a course has reached.

    Attributes:
        step: Steps done.
        batch: Steps done of the pass under way.
        order: Images of the pass under way; None between two passes.
        losses: Sum over the images of the pass so far, nats.
        images: Images of the pass so far.
        seconds: Wall time of the pass so far.
        learning_rate: Rate of the last step.
        stopped: Reason to end the training, or None.
    """

    step: int = 0
    batch: int = 0
    order: Tensor | None = None
    losses: float = 0.0
    images: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0
    stopped: str | None = None


@dataclass(eq=False)
class Course:
    """A training under way, with the passes that are done.

    Attributes:
        learner: Learns, a step at a time.
        batches: Source of the batches.
        recipe: Number of passes and schedule of the learning rate.
        generator: Source of order and augmentation.
        checkpoint: File that a later process resumes from; None for none.
        save_every_s: Seconds between two saves within a pass: the most that a kill may cost.
        saves: Whether this process writes the checkpoint; all processes of a training read it.
        notify: Called with a line if the training is resumed.
        after_step: Called after each step, before the state may be saved.
        progress: Called after each step, once the state may have been saved.
        records: The passes that are done.
    """

    learner: Learner
    batches: Supply
    recipe: Recipe
    generator: torch.Generator
    checkpoint: Checkpoint | None = None
    save_every_s: float = 30.0
    saves: bool = True
    notify: Callable[[str], None] = lambda line: None
    after_step: Progress = lambda step, steps: None
    progress: Progress = lambda step, steps: None
    records: list[PassRecord] = field(default_factory=list)
    _at: Place = field(default_factory=Place)
    _earlier_s: float = 0.0
    _kept_step: int = 0
    _started: float = field(default_factory=time.perf_counter)
    _saved: float = field(default_factory=time.perf_counter)

    @property
    def steps(self) -> int:
        """Number of all steps."""
        return self.recipe.epochs * len(self.batches)

    @property
    def step(self) -> int:
        """Number of steps done."""
        return self._at.step

    @property
    def seconds(self) -> float:
        """Wall time of this process and of those before it."""
        return self._earlier_s + time.perf_counter() - self._started

    @property
    def mean_loss(self) -> float:
        """Mean loss of the pass under way, nats; not a number before its first step."""
        return self._at.losses / self._at.images if self._at.images else math.nan

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last step."""
        return self._at.learning_rate

    def resume(self) -> None:
        """Resume from the checkpoint, if there is one.

        Raises:
            StoreError: If the checkpoint cannot be read.
        """
        state = self.checkpoint.load() if self.checkpoint else None
        if state is None:
            return
        self.learner.restore(state["learner"])
        self.generator.set_state(state["generator"])
        self._at = Place(**state["place"])
        self.records = [_read_record(each) for each in state["records"]]
        self._earlier_s, self._kept_step = state["seconds"], self.step
        line = f"going on at step {self.step} of {self.steps}"
        self.notify(f"{line} of a training that was interrupted")

    @contextmanager
    def telling_of_interrupts(self) -> Iterator[None]:
        """Tell how far the training is, and how it is resumed, if the user interrupts."""
        try:
            yield
        except KeyboardInterrupt:
            done = f"interrupted after pass {len(self.records)} of {self.recipe.epochs}"
            if self.saves:
                at = f"goes on at step {self._kept_step} of {self.steps}"
                self.notify(
                    f"{done}; the same command {at if self._kept_step else 'begins again'}"
                )
            raise

    def passes(self) -> Iterator[Pass]:
        """Train; each item that is taken is one more pass, to be kept by `keep`.

        Raises:
            EvaluationError: If the loss is not finite; the message has step and learning rate.
            StoreError: If the checkpoint cannot be written.
        """
        at = self._at
        while at.order is not None or (at.step < self.steps and at.stopped is None):
            yield self._train_pass()
            at = self._at

    def keep(self, done: Pass, validated: Validation | None = None) -> None:
        """Add a pass to `records`."""
        self.records.append(PassRecord(self.step, done, validated))

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            StoreError: If the checkpoint cannot be written.
        """
        self._saved = time.perf_counter()
        if self.checkpoint is None or not self.saves:
            return
        state = {
            "learner": self.learner.state(),
            "generator": self.generator.get_state(),
            "place": {name: getattr(self._at, name) for name in Place.__slots__},
            "records": [dataclasses.asdict(record) for record in self.records],
            "seconds": self.seconds,
        }
        self.checkpoint.save(state)
        self._kept_step = self.step

    def _train_pass(self) -> Pass:
        self.learner.begin_pass()
        at = self._at
        if at.order is None:
            at.order = self.batches.order(self.generator)
        started, before = time.perf_counter(), at.seconds
        while at.batch < len(self.batches) and at.stopped is None:
            inputs, labels = self.batches.take(at.order, at.batch, self.generator)
            self._take_step(inputs, labels)
            at.seconds = before + time.perf_counter() - started
            self.after_step(at.step, self.steps)
            if time.perf_counter() - self._saved >= self.save_every_s:
                self.save()
            self.progress(at.step, self.steps)
        self._at = Place(at.step, learning_rate=at.learning_rate, stopped=at.stopped)
        return Pass(at.losses / at.images, at.learning_rate, at.images, at.seconds, at.stopped)

    def _take_step(self, inputs: Tensor, labels: Tensor) -> None:
        at, recipe = self._at, self.recipe
        at.learning_rate = one_cycle(
            at.step, self.steps, recipe.learning_rate, recipe.warm_up, recipe.schedule
        )
        step = Step(at.step, self.steps, at.learning_rate)
        loss, at.stopped = self.learner.learn(step, inputs, labels)
        at.losses += loss * len(labels)
        at.images += len(labels)
        at.step += 1
        at.batch += 1


def _read_record(state: Mapping[str, Any]) -> PassRecord:
    """Return the record whose `dataclasses.asdict` is `state`."""
    found = state["validated"]
    validated = None if found is None else Validation(**found)
    return PassRecord(state["step"], Pass(**state["trained"]), validated)
