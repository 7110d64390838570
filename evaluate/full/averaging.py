"""An exponential moving average of the weights in training, which is kept in their place.

torchvision's recipe (pytorch/vision#5906) moves the average every 32 steps by a share of
2e-5 · batch · 32 / epochs. It looks back over `epochs` · 50,000 images, 3.9 % of a training on
ImageNet. We keep this share, so that any training has an average over its own end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nas_sv2.evaluate.fitting.course import Learner, Step

LOOK_BACK = 50_000 / 1_281_167  # share of the steps
EVERY = 32  # steps between two updates, if the average looks back over more


@dataclass(eq=False)
class Average:
    """The average of one training.

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
        every = max(1, min(EVERY, round(LOOK_BACK * steps)))
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
