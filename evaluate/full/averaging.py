"""An exponential moving average of the weights while they train, to be kept in their place.

torchvision's recipe (pytorch/vision#5906) moves the average every 32 steps by a share of
2e-5 · batch · 32 / epochs: it looks back over `epochs` · 50,000 images, 3.9 % of all that the
training sees on ImageNet. We keep that, so that any training has an average over its own end.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

LOOK_BACK = 50_000 / 1_281_167  # share of the steps
EVERY = 32  # steps between two updates, where the average looks back over more


@dataclass(eq=False)
class Average:
    """The average of one training.

    Attributes:
        module: A network whose numbers are the average.
        steps: Of the training in all.
        warm_up: Share of the steps in which it is only followed; its weights are no use yet.
    """

    module: nn.Module
    steps: int
    warm_up: float

    @classmethod
    def of(cls, module: nn.Module, steps: int, warm_up: float) -> "Average":
        """An average that begins with `module` as it is."""
        average = copy.deepcopy(module)
        average.requires_grad_(False)
        return cls(average, steps, warm_up)

    @property
    def every(self) -> int:
        """Steps between two updates."""
        return max(1, min(EVERY, round(LOOK_BACK * self.steps)))

    @property
    def weight(self) -> float:
        """Of the present weights in an update."""
        return min(1.0, self.every / max(LOOK_BACK * self.steps, 1.0))

    @torch.no_grad()
    def follow(self, module: nn.Module, done: int) -> None:
        """Take in the weights and running statistics of `module` after step `done`."""
        if done % self.every:
            return
        weight = 1.0 if done <= self.warm_up * self.steps else self.weight
        present = module.state_dict()
        for name, mean in self.module.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(present[name], weight)
            else:
                mean.copy_(present[name])

    def state(self) -> dict[str, Any]:
        """The average, as tensors."""
        return self.module.state_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.module.load_state_dict(state)
