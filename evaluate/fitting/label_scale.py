"""Numbers as labels: a network learns them standardised, and answers in their own unit.

Ages have a mean of 40, counts one of 10,000. The mean and the deviation of the training images
bring any of them to 0 and 1, so that one learning rate serves all. They scale the answer of the
classifier as it trains. After the training they are multiplied into its weights. Each form of the
network then gives the number itself, and no runtime has to know of a scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import kind_of
from nas_sv2.evaluate.recipes.scores import in_unit_of_labels
from nas_sv2.space.graph.operators import Graph, Linear
from nas_sv2.space.runtimes.weights import Array

Numbers = TypeVar("Numbers", Array, Tensor)
FINEST = 1e-4
"""Least deviation as a share of the mean. float32 then has steps of 0.1 % of the deviation."""


@dataclass(frozen=True, slots=True)
class LabelScale:
    """The scale of the numbers of training images.

    Attributes:
        mean: Their mean.
        deviation: Their standard deviation.
        baseline: The mean absolute error of their median, the best single answer to all of them.
    """

    mean: float
    deviation: float
    baseline: float

    @classmethod
    def of(cls, labels: Tensor) -> "LabelScale | None":
        """Find the scale of the labels of training images; None if they are not numbers.

        Raises:
            ConfigError: They are all equal, or differ too little for float32.
        """
        if kind_of(labels) != "numbers":
            return None
        exact = labels.double()
        mean, deviation = float(exact.mean()), float(exact.std(correction=0))
        if not deviation > FINEST * abs(mean):
            sentence = (
                f"must differ by more than {FINEST:g} of their mean, {mean:.6g}, over the images "
                f"to train; their standard deviation is {deviation:.3g}"
            )
            raise ConfigError("labels", f"{len(labels):,} numbers", sentence)
        return cls(mean, deviation, float((exact - exact.median()).abs().mean()))

    def apply(self, module: nn.Module, graph: Graph) -> None:
        """Let `module` of `graph` answer in the unit of the labels, and learn in deviations."""

        def scaled(layer: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> Tensor:
            return self.in_unit(answer)

        module.get_submodule(_classifier(graph)).register_forward_hook(scaled)

    def in_unit(self, answers: Tensor) -> Tensor:
        """Return answers in the unit of the labels, of answers in deviations about the mean."""
        return answers.float() * self.deviation + self.mean

    def folded(self, weights: Mapping[str, Numbers], graph: Graph) -> dict[str, Numbers]:
        """Return the weights of a trained network that answers in the unit of the labels.

        Args:
            weights: The weights that learnt in deviations.
            graph: The network.
        """
        kernel, bias = (f"{_classifier(graph)}.{each}" for each in ("weight", "bias"))
        return {
            **weights,
            kernel: weights[kernel] * self.deviation,
            bias: weights[bias] * self.deviation + self.mean,
        }

    def reaches(self, names: Sequence[str], graph: Graph) -> bool:
        """Whether the classifier is among the weights that a network was given."""
        return f"{_classifier(graph)}.weight" in names

    def unfold(self, module: nn.Module, graph: Graph) -> None:
        """Undo `folded` in a module that was given such weights to start from."""
        layer = module.get_submodule(_classifier(graph))
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight /= self.deviation
            layer.bias.sub_(self.mean).div_(self.deviation)

    def describe(self, name: str) -> str:
        """Say in one line which error a network has that knows nothing, as one to beat."""
        shown = (in_unit_of_labels(each) for each in (self.mean, self.deviation, self.baseline))
        mean, deviation, baseline = shown
        return (
            f"{name} of the training images: mean {mean}, standard deviation {deviation}; always "
            f"answering their median has an MAE of {baseline} on them"
        )


def _classifier(graph: Graph) -> str:
    """Return the name of the layer that gives the answer."""
    return next(op.name for op in reversed(graph.ops) if isinstance(op.kind, Linear))
