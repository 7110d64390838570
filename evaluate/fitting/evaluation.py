"""What a training says about a network, and the one question an evaluator answers.

An `Evaluation` carries everything that its figures depend on: recipe, data, seed and where it ran.
Figures are compared only where these are equal.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas_sv2.errors import EvaluationError
from nas_sv2.space.units.architecture import Architecture


def content_of(data: str) -> str:
    """What names the content in `SPEC@KEY`: the same images elsewhere are the same data."""
    return data.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass of a training.

    Attributes:
        train_loss: Mean of what was minimised (label smoothing included), nats.
        learning_rate: At the last step.
        accuracy: Top-1 on the validation images, 0 to 1; None where it was not asked.
        loss: Validation cross-entropy without smoothing, nats; None where it was not asked.
    """

    train_loss: float
    learning_rate: float
    accuracy: float | None = None
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a network was after a recipe.

    Attributes:
        accuracy: Top-1 on the validation images, 0 to 1.
        loss: Mean cross-entropy on the same images, nats, without label smoothing.
        recipe: Name of the recipe.
        recipe_digest: Digest of its content.
        data: The data's spec and content, `SPEC@KEY`; the figures depend on the content alone.
        seed: What seeded weights, order and augmentation.
        device: Where it was trained, with the number of threads: the figures depend on both.
        seconds: Wall time, validation included.
        images_per_second: Training images over the wall time of the training steps.
        epochs: Passes, the last perhaps unfinished where `stopped`.
        train_images: Image passes trained on.
        val_images: Images validated on.
        stopped: Why a training was ended early, for a person; None where it was not.
        history: The passes in order; of the first seed where there were several.
        scored_by: What candidates are compared by; see `Recipe.score`.
        scores: By that, of each seed, higher is better. Where there are several, accuracy, loss
            and speed are means over them, seconds are their sum, and the rest is the first's.
    """

    accuracy: float
    loss: float
    recipe: str
    recipe_digest: str
    data: str
    seed: int
    device: str
    seconds: float
    images_per_second: float
    epochs: int
    train_images: int
    val_images: int
    stopped: str | None = None
    history: tuple[Epoch, ...] = ()
    scored_by: str = "accuracy"
    scores: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """What candidates are compared by, higher is better: the mean over the seeds."""
        return statistics.fmean(self.scores) if self.scores else self.accuracy

    @property
    def spread(self) -> float | None:
        """Standard deviation of the score between seeds; None of a single one."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to an equal value."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """The evaluation that `to_json` wrote.

        Raises:
            EvaluationError: The text is not one.
        """
        try:
            fields: Mapping[str, Any] = json.loads(text)
            history = tuple(Epoch(**epoch) for epoch in fields["history"])
            scores = tuple(fields["scores"])
            return cls(**{**fields, "history": history, "scores": scores})
        except (TypeError, KeyError, ValueError) as error:
            raise EvaluationError(f"not a stored evaluation: {error}") from error


@dataclass(frozen=True, eq=False, slots=True)
class Trained:
    """A network after its training.

    Attributes:
        evaluation: How good it became.
        architecture: The form it was trained in, which is not the one that was asked about: input,
            classes and stem are those of data and recipe.
        weights: Its numbers, named after the operators of `architecture`.
    """

    evaluation: Evaluation
    architecture: Architecture
    weights: dict[str, NDArray[np.float32]]


class Evaluator(Protocol):
    """Whatever can say how good an architecture is."""

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """How good `architecture` is.

        Raises:
            ConfigError: It cannot be evaluated in this way at all.
            EvaluationError: The evaluation gave no accuracy.
        """
        ...


Stops = Callable[[Sequence[Epoch]], str | None]
"""Asked after each pass but the last, with what they showed so far: why the training should end
there, or None."""


class StoppableEvaluator(Protocol):
    """An evaluator whose trainings can be ended after a pass."""

    def evaluate(self, architecture: Architecture, stops: Stops | None = None) -> Evaluation:
        """How good `architecture` is, or was when `stops` ended it; raises as `Evaluator`'s."""
        ...


def mean_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of the same training with several seeds; see `Evaluation.scores`."""
    first = evaluations[0]
    if len(evaluations) == 1:
        return first
    stopped = (each.stopped for each in evaluations)
    return dataclasses.replace(
        first,
        accuracy=statistics.fmean(each.accuracy for each in evaluations),
        loss=statistics.fmean(each.loss for each in evaluations),
        seconds=sum(each.seconds for each in evaluations),
        images_per_second=statistics.fmean(each.images_per_second for each in evaluations),
        stopped=next(filter(None, stopped), None),
        scores=tuple(score for each in evaluations for score in each.scores),
    )
