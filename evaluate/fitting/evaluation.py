"""The result of a training: how good a network is, with all that the figure depends on.

An `Evaluation` carries recipe, data, seed and the place where it ran. Figures are compared only if
these are equal.
"""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_sv2.documents import FromZero, Share, Whole, check_fields
from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.recipes.scores import LabelKind, ScoreFacts, facts_of, in_unit_of_labels
from nas_sv2.plain_data import parse_json, printable
from nas_sv2.space.units.architecture import Architecture


def describe_place(place: str) -> str:
    """Describe the processor of a training; with one thread it is stored as `cpu, 1 threads`."""
    return place.replace(", 1 threads", ", 1 thread")


def data_key(data: str) -> str:
    """The name of the content in `SPEC@KEY`: the same images elsewhere are the same data."""
    return data.rpartition("@")[2]


DETECTOR = "detector"
"""The kind of evaluator in the identity of a study whose candidates are backbones of detectors."""
UNEVEN = 1.5
"""Share of the commonest class, as a multiple of an even share, from which it is said beside an
accuracy. Two classes of 3 to 1 are there: a network that always names one is 75 % right."""


def is_uneven(majority: float | None, classes: int) -> bool:
    """Whether a share of the commonest class makes a plain accuracy misleading."""
    return majority is not None and majority * classes >= UNEVEN


FIGURES: Mapping[LabelKind, str] = {"classes": "accuracy", "labels": "mean_ap", "numbers": "mae"}
"""The score that is shown first, by the kind of the labels."""
SHOWN = (*FIGURES.values(), "box_ap")
"""All scores that may be shown first; the last is a detector's."""


def confirmed_by(score: str, kind: LabelKind) -> str:
    """Return the score by which a trained network is compared on the test images.

    It is the score of a study. If that is a loss, it is the figure that is shown first.
    """
    return FIGURES[kind] if facts_of(score).unit == "nats" else score


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure of a network that is shown first.

    Attributes:
        by: `accuracy`; `mean_ap` for images with several labels; `mae` for a number each;
            `box_ap` of a detector.
        value: Its value: 0 to 1, or the mean absolute error in the unit of the labels.
    """

    by: str
    value: float

    @classmethod
    def of(
        cls,
        accuracy: float | None,
        mean_ap: float | None,
        mae: float | None = None,
        box_ap: float | None = None,
    ) -> "Figure":
        """Take the one that is known."""
        known = {"accuracy": accuracy, "mean_ap": mean_ap, "mae": mae, "box_ap": box_ap}
        found = cls.find(known)
        assert found is not None, "one of them is known"
        return found

    @classmethod
    def find(cls, fields: Mapping[str, Any]) -> "Figure | None":
        """Find the figure among fields by name; None if none is known, or there."""
        for by in SHOWN:
            if fields.get(by) is not None:
                return cls(by, fields[by])
        return None

    @property
    def facts(self) -> ScoreFacts:
        """Its name and unit."""
        return facts_of(self.by)

    @property
    def name(self) -> str:
        """Its name, `top-1`, `mean AP` or `MAE`."""
        return self.facts.name

    @property
    def title(self) -> str:
        """Its whole name, as `top-1 accuracy` or `mean absolute error`."""
        return self.facts.title

    @property
    def score(self) -> float:
        """The same, higher is better: an error is negated."""
        return -self.value if self.facts.is_error else self.value

    def describe(self, balanced: float | None = None, uneven: bool = False) -> str:
        """Return it as text, with the balanced accuracy if the classes are uneven."""
        shown = self.facts.value(self.score)
        return shown if not uneven or balanced is None else f"{shown} (balanced {balanced:.2%})"

    def is_near(self, other: "Figure", slack: float) -> bool:
        """Whether another is equal, up to a share of all images or of an error."""
        whole = max(self.value, other.value) if self.facts.is_error else 1.0
        return self.by == other.by and abs(self.value - other.value) <= slack * whole

    def change_from(self, other: "Figure") -> str:
        """Return the change from another, as `-1.20 points`, or `+0.3` in the labels' unit."""
        return self.facts.change(self.score - other.score)


def describe_majority(majority: float, images: str) -> str:
    """Say that classes are uneven, in one line about `images`."""
    return (
        f"uneven classes: {majority:.2%} of the {images} are of one class, so a network that "
        "always names it has that top-1; balanced: the mean over the classes"
    )


def _check(value: object, whose: str) -> None:
    try:
        check_fields(value)
    except ConfigError as error:
        raise EvaluationError(f"{printable(whose, 80)}: {printable(str(error))}") from None


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass of a training.

    Attributes:
        train_loss: Mean of the minimised loss (label smoothing included), nats; of numbers, their
            mean absolute error in standard deviations.
        learning_rate: Rate of the last step.
        accuracy: Top-1 on the validation images, 0 to 1; None without a validation.
        loss: Validation cross-entropy without smoothing, nats; None without a validation, and for
            numbers.
        mean_ap: Mean average precision of images with several labels, 0 to 1; else None.
        box_ap: COCO's mean average precision of a detector's boxes, 0 to 1; else None.
        mae: Mean absolute error of images with a number each, in its unit; else None.
    """

    train_loss: float
    learning_rate: float
    accuracy: Share | None = None
    loss: float | None = None
    mean_ap: Share | None = None
    box_ap: Share | None = None
    mae: FromZero | None = None

    @property
    def figure(self) -> Figure | None:
        """The figure that is shown; None without a validation."""
        return Figure.find({by: getattr(self, by) for by in SHOWN})

    def __post_init__(self) -> None:
        """Refuse a loss that is not finite, and an accuracy outside 0 to 1."""
        _check(self, "an epoch")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a network was after a recipe.

    A user's own evaluator may leave out all but the accuracy.

    Attributes:
        accuracy: Top-1 on the validation images, 0 to 1; None for images with several labels or a
            number each, and for a detector.
        loss: Mean cross-entropy on the same images, nats, without label smoothing; None if it is
            not known, and for numbers. It is the mean of the binary ones for several labels.
        recipe: Name of the recipe.
        recipe_digest: Digest of its content.
        data: The data's spec and content, `SPEC@KEY`; the figures depend on the content alone.
        seed: The seed of weights, order and augmentation.
        device: The training device and its number of threads: the figures depend on both.
        seconds: Wall time, validation included.
        images_per_second: Training images over the wall time of the training steps.
        epochs: Number of passes; the last may be unfinished if `stopped`.
        train_images: Image passes trained on.
        val_images: Images validated on.
        stopped: Reason why the training ended early, in words; None if it did not.
        history: The passes in order; those of the first seed if there were several.
        scored_by: The score that candidates are compared by; see `Recipe.score`.
        scores: That score for each seed, higher is better. With several seeds accuracies, loss
            and speed are means, seconds are their sum, and the rest is the first seed's.
        balanced_accuracy: Mean over the classes of the share that is right, 0 to 1; None if it is
            not known. Classes without a validation image do not count.
        majority: Share of the validation images that are of their commonest class, 0 to 1; None
            if it is not known.
        classes: Number of classes; 0 if it is not known.
        mean_ap: Mean average precision of images with several labels, 0 to 1; else None.
        mae: Mean absolute error of images with a number each, in its unit; else None.
        float_accuracy: The figure of the network as it was trained, top-1 or mean AP, if the
            others are those of its int8 form; else None. Those of the passes never are.
        box_ap: COCO's mean average precision of a detector's boxes, over overlaps from 0.5 to
            0.95, 0 to 1; else None.
        box_ap50: The same at an overlap of 0.5.
    """

    accuracy: Share | None
    loss: float | None = None
    recipe: str = ""
    recipe_digest: str = ""
    data: str = ""
    seed: Whole = 0
    device: str = ""
    seconds: FromZero = 0.0
    images_per_second: FromZero = 0.0
    epochs: Whole = 0
    train_images: Whole = 0
    val_images: Whole = 0
    stopped: str | None = None
    history: tuple[Epoch, ...] = ()
    scored_by: str = "accuracy"
    scores: tuple[float, ...] = ()
    balanced_accuracy: Share | None = None
    majority: Share | None = None
    classes: Whole = 0
    mean_ap: Share | None = None
    float_accuracy: Share | None = None
    box_ap: Share | None = None
    box_ap50: Share | None = None
    mae: FromZero | None = None

    def __post_init__(self) -> None:
        """Refuse figures that no network can have, whichever evaluator they come from.

        Raises:
            EvaluationError: An accuracy is outside 0 to 1, or a figure is not finite; names the
                recipe and the field.
        """
        whose = f"evaluation by {self.recipe or 'an object'}"
        _check(self, whose)
        if sum(getattr(self, by) is not None for by in SHOWN) != 1:
            one = f"must have one of {', '.join(SHOWN)}"
            raise EvaluationError(f"{printable(whose, 80)}: {one}")
        if not all(isinstance(epoch, Epoch) for epoch in self.history):
            raise EvaluationError("history of an evaluation must be epochs")

    @property
    def score(self) -> float:
        """The score that candidates are compared by, higher is better: the mean over seeds."""
        return statistics.fmean(self.scores) if self.scores else self.figure.score

    @property
    def figure(self) -> Figure:
        """Top-1, the mean average precision of labels or boxes, or the error of numbers."""
        return Figure.of(self.accuracy, self.mean_ap, self.mae, self.box_ap)

    @property
    def train_loss_unit(self) -> str:
        """The unit of the losses in the history."""
        return "standard deviations" if self.mae is not None else "nats"

    @property
    def uneven(self) -> bool:
        """Whether one class has so many of the validation images that accuracies need it said."""
        return is_uneven(self.majority, self.classes)

    def describe_figure(self) -> str:
        """Return the figure as text, with others beside it that matter."""
        shown = self.figure.describe(self.balanced_accuracy, self.uneven)
        if self.box_ap50 is not None:
            return f"{shown} (AP50 {self.box_ap50:.2%})"
        if self.float_accuracy is None:
            return shown
        return f"{shown} in int8 (float32 {self.float_accuracy:.2%})"

    @property
    def shows_score(self) -> bool:
        """Whether the score is neither the figure, nor the loss, nor shown beside the figure."""
        beside = self.scored_by == "balanced_accuracy" and self.uneven
        return self.scored_by not in (self.figure.by, "cross_entropy") and not beside

    def describe(self) -> str:
        """Name the figure, and the score if it is another, as `top-1 91.20%, macro F1 88.10%`."""
        told = f"{self.figure.name} {self.describe_figure()}"
        return f"{told}, {self.describe_score()}" if self.shows_score else told

    def describe_score(self) -> str:
        """Name the score and its value."""
        return facts_of(self.scored_by).describe(self.score)

    def describe_majority(self) -> str:
        """Say in one line how uneven the classes are; empty if they are not."""
        if self.majority is None or not self.uneven:
            return ""
        return describe_majority(self.majority, f"{self.val_images:,} validation images")

    def describe_form(self) -> str:
        """Say in one line that the accuracy is that of int8; empty if it is not."""
        if self.float_accuracy is None:
            return ""
        return (
            "accuracy and loss are of the int8 form that an export ships (static, ranges from "
            "training images, run by onnxruntime); float32 is shown beside"
        )

    @property
    def is_detector(self) -> bool:
        """Whether a detector was trained, on the network as its backbone."""
        return self.box_ap is not None

    def describe_loss(self, digits: int = 4) -> str:
        """Return the loss as text, or a dash if it is not known."""
        return "–" if self.loss is None else f"{self.loss:.{digits}f}"

    def describe_spread(self) -> str:
        """Return ± the standard deviation of the score between seeds; empty for a single seed."""
        if self.spread is None:
            return ""
        facts = facts_of(self.scored_by)
        shown = in_unit_of_labels(self.spread) if facts.is_error else facts.value(self.spread)
        return f"±{shown}"

    @property
    def spread(self) -> float | None:
        """Standard deviation of the score between seeds; None for a single seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to an equal value."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """Read the evaluation that `to_json` wrote.

        Raises:
            EvaluationError: If the text is not an evaluation.
        """
        try:
            fields: Mapping[str, Any] = parse_json(text)
            history = tuple(Epoch(**epoch) for epoch in fields["history"])
            scores = tuple(fields["scores"])
            return cls(**{**fields, "history": history, "scores": scores})
        except (TypeError, KeyError, ValueError) as error:
            raise EvaluationError(f"not a stored evaluation: {printable(str(error))}") from error


@dataclass(frozen=True, eq=False, slots=True)
class Trained:
    """A network after its training.

    Attributes:
        evaluation: How good it became.
        architecture: The form that was trained, with input, classes and stem of data and recipe.
        weights: Its weights, named after the operators of `architecture`.
    """

    evaluation: Evaluation
    architecture: Architecture
    weights: dict[str, NDArray[np.float32]]


def average(figures: Iterable[float | None]) -> float | None:
    """Return the mean of the figures that are known, if there are any."""
    known = [each for each in figures if each is not None]
    return statistics.fmean(known) if known else None


def average_evaluations(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Average evaluations of one training with several seeds; see `Evaluation.scores`."""
    first = evaluations[0]
    if len(evaluations) == 1:
        return first
    stopped = (each.stopped for each in evaluations)
    return dataclasses.replace(
        first,
        accuracy=average(each.accuracy for each in evaluations),
        mean_ap=average(each.mean_ap for each in evaluations),
        mae=average(each.mae for each in evaluations),
        loss=average(each.loss for each in evaluations),
        balanced_accuracy=average(each.balanced_accuracy for each in evaluations),
        float_accuracy=average(each.float_accuracy for each in evaluations),
        seconds=sum(each.seconds for each in evaluations),
        images_per_second=statistics.fmean(each.images_per_second for each in evaluations),
        stopped=next(filter(None, stopped), None),
        scores=tuple(score for each in evaluations for score in each.scores),
    )
