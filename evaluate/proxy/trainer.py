"""What gives a network with trained weights: a training of its own, or a supernet."""

from typing import Protocol

from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluation import Stops, Trained
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.units.architecture import Architecture


class Trainer(Protocol):
    """`ProxyTraining`, or `SupernetAsking`; what its evaluations depend on is said by it."""

    @property
    def recipe(self) -> Recipe:
        """How; its digest is that of no other way to weights."""
        ...

    @property
    def data(self) -> ImageData:
        """On what."""
        ...

    @property
    def seed(self) -> int:
        """Of the training."""
        ...

    @property
    def place(self) -> str:
        """Where, as evaluations record it."""
        ...

    def adapt(self, architecture: Architecture) -> Architecture:
        """The form that is trained."""
        ...

    def train(self, architecture: Architecture, stops: Stops | None = None) -> Trained:
        """The network with its weights, and how good it is.

        Raises:
            ConfigError: It cannot be had in this way.
            EvaluationError: It gave no accuracy.
        """
        ...
