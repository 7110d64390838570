"""A full training with the rounding of int8, and its result beside float32 and static int8."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.data_sample import spaced_images
from nas_sv2.evaluate.data.image_data import Part, kind_of
from nas_sv2.evaluate.fitting.augment import Normalise, centre_of
from nas_sv2.evaluate.fitting.int8_form import int8_network
from nas_sv2.evaluate.fitting.start import Start, take
from nas_sv2.evaluate.fitting.validation import BATCH
from nas_sv2.evaluate.full.result import Int8Result, LossFromFloat
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import IMAGES
from nas_sv2.space.graph.operators import Norm
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.fake_quantisation import FakeQuantised
from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights
from nas_sv2.space.runtimes.weights import Weights
from nas_sv2.statistics import paired_difference


def check_int8_training(recipe: Recipe, start: Start | None, processes: int) -> None:
    """Refuse a training with the rounding of int8 that would not be one.

    Raises:
        ConfigError: If it starts from no weights, or cannot be combined with the rounding.
    """
    full = recipe.full_training
    if recipe.numbers:
        raise ConfigError("qat", True, f"must be left out for {IMAGES['numbers']}")
    if start is None or not start.source:
        raise ConfigError("qat", True, "must have weights: it fine-tunes a trained network")
    if start.frozen:
        sentence = "must be left out with qat, which rounds every part"
        raise ConfigError("freeze", ",".join(start.frozen), sentence)
    if recipe.precision != "fp32":
        raise ConfigError("recipe.precision", recipe.precision, "must be fp32 with qat")
    if full is not None and full.ema:
        raise ConfigError("recipe.ema", True, "must be false with qat")
    if processes > 1:
        raise ConfigError("qat", True, "must be trained by one process, not by several")


def check_int8_start(network: Classifier, start: Start, labels: Tensor) -> None:
    """Refuse weights that are not those of the whole network that is trained.

    Raises:
        ConfigError: If one would start fresh, the network has a batch norm of its own, or images
            have other labels than one class each.
    """
    if (kind := kind_of(labels)) != "classes":
        sentence = f"must be left out for {IMAGES[kind]}"
        raise ConfigError("qat", True, sentence)
    graph = lower(network)
    fresh = take(graph, start.weights).fresh
    for name, why in fresh.items():
        sentence = f"must be of this whole network with qat: {name} would start fresh ({why})"
        raise ConfigError("weights", start.source, sentence)
    if any(isinstance(op.kind, Norm) for op in graph.ops):
        sentence = "must be left out: this network has batch norms that no convolution folds"
        raise ConfigError("qat", True, sentence)


@dataclass(frozen=True, eq=False)
class Int8Training:
    """A network that learns with the rounding of int8, and the images that judge it.

    Attributes:
        network: The network.
        before: Its weights in float32, at the start.
        rounded: The network as it learns.
        train: Training images.
        val: Validation images.
        normalise: Grey levels to the network's input.
    """

    network: Classifier
    before: Weights
    rounded: FakeQuantised
    train: Part
    val: Part
    normalise: Normalise

    @classmethod
    def of(
        cls, network: Classifier, before: Weights, train: Part, val: Part, normalise: Normalise
    ) -> "Int8Training":
        """Begin from weights in float32; some of the training images set the first ranges."""
        size = network.resolution
        images = normalise(centre_of(spaced_images(train.images), size)).contiguous().numpy()
        val = Part(centre_of(val.images, size), val.labels)
        rounded = FakeQuantised.of(lower(network), before, images)
        return cls(network, before, rounded, train, val, normalise)

    def result(self) -> Int8Result:
        """Compare float32 before, its static int8 form, and the int8 form that was trained.

        Raises:
            EvaluationError: If onnxruntime refuses an int8 form.
        """
        graph = lower(self.network)
        module = build_module(graph)
        load_weights(module, graph, self.before)
        float32 = self._right(module.eval())
        kept = (self.train, self.normalise)
        static = self._right(int8_network(self.network, self.before, *kept))
        ranges = self.rounded.ranges
        trained = self._right(int8_network(self.network, self.rounded.weights, *kept, ranges))
        return Int8Result(
            ranges,
            len(self.val),
            float(float32.mean()),
            LossFromFloat(float(static.mean()), *paired_difference(static, float32)),
            LossFromFloat(float(trained.mean()), *paired_difference(trained, float32)),
            LossFromFloat(float(trained.mean()), *paired_difference(trained, static)),
        )

    @torch.no_grad()
    def _right(self, network: Callable[[Tensor], Tensor]) -> NDArray[np.bool_]:
        """Whether the answer to each validation image is right, (N,)."""
        found = []
        for start in range(0, len(self.val), BATCH):
            logits = network(self.normalise(self.val.images[start : start + BATCH]))
            found.append(logits.argmax(1) == self.val.labels[start : start + BATCH])
        right: NDArray[np.bool_] = torch.cat(found).numpy()
        return right
