"""The accuracy of a network, and its cross-entropy; or its error, if labels are numbers."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData, Part, kind_of
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.batches import Batches
from nas_sv2.evaluate.fitting.evaluation import Figure, is_uneven
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.own_metric import apply_metric, open_metric
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import SCORES, facts_of

BATCH = 250  # larger gains nothing on two cores and needs more memory


@dataclass(frozen=True, slots=True)
class Validation:
    """How good a network is on images; all but the first three are unknown in older files.

    Attributes:
        accuracy: Top-1, 0 to 1; None for images with several labels, or a number each.
        loss: Mean cross-entropy, nats; of several labels, the mean of the binary ones; of numbers,
            their mean absolute error.
        images: Number of images.
        balanced_accuracy: Mean of the shares of each class that are right, 0 to 1.
        majority: Share of the images that are of their commonest class, 0 to 1.
        classes: Number of classes.
        macro_f1: Mean of the classes' F1, 2 · right / (images + named), 0 to 1. Classes without
            an image that are never named do not count.
        own: Figure of the user's own metric, higher is better; None if none was asked for.
        mean_ap: Mean average precision of images with several labels, 0 to 1; else None.
        mae: Mean absolute error of images with a number each, in its unit; else None.
    """

    accuracy: float | None
    loss: float
    images: int
    balanced_accuracy: float | None = None
    majority: float | None = None
    classes: int = 0
    macro_f1: float | None = None
    own: float | None = None
    mean_ap: float | None = None
    mae: float | None = None

    def score(self, by: str) -> float:
        """Return the score that candidates are compared by, of a single validation.

        It is higher for a better network. `training_speed` needs the whole training.
        """
        if by == "cross_entropy":
            return -self.loss
        found = self.figures(by).get(by)
        assert found is not None, f"{by} was not computed"
        return Figure(by, found).score

    def figures(self, by: str) -> dict[str, float]:
        """Return all figures that are known but the loss, by the names of their scores.

        Args:
            by: The score of the recipe, which names the user's own metric.
        """
        known = {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "mean_ap": self.mean_ap,
            "mae": self.mae,
            **({} if by in SCORES else {by: self.own}),
        }
        return {name: figure for name, figure in known.items() if figure is not None}

    def describe(self, by: str) -> str:
        """Name the figures, as `top-1 91.20%, macro F1 88.10%, cross-entropy 0.3120`.

        Args:
            by: The score of the recipe. One that is not known, as in older files, is left out.
        """
        figures = f"{self.describe_figure()}{self.beside(by)}"
        return figures if self.mae is not None else f"{figures}, cross-entropy {self.loss:.4f}"

    def beside(self, by: str) -> str:
        """Name the score of a recipe behind a comma; nothing for top-1 and cross-entropy."""
        known = {"macro_f1": self.macro_f1, "balanced_accuracy": self.balanced_accuracy}
        found = known.get(by) if by in SCORES else self.own
        return "" if found is None else f", {facts_of(by).describe(found)}"

    @property
    def figure(self) -> Figure:
        """Top-1, the mean average precision of several labels, or the error of numbers."""
        return Figure.of(self.accuracy, self.mean_ap, self.mae)

    def describe_figure(self) -> str:
        """Name the figure, top-1 with the balanced one if the classes are uneven."""
        uneven = is_uneven(self.majority, self.classes)
        return f"{self.figure.name} {self.figure.describe(self.balanced_accuracy, uneven)}"


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a network to images, counted; sums over parts are those of the whole.

    Attributes:
        right: Right answers by class, int64 (classes,).
        images: Images by class, int64 (classes,).
        named: Images that were named as the class, int64 (classes,).
        loss: Sum of the cross-entropies, nats.
    """

    right: Tensor
    images: Tensor
    named: Tensor
    loss: float

    @property
    def validation(self) -> Validation:
        """The figures that follow from the counts."""
        count, there = int(self.images.sum()), self.images > 0
        recalls = self.right[there].double() / self.images[there]
        either = (self.images + self.named).double()
        f1 = 2 * self.right[either > 0] / either[either > 0]
        return Validation(
            accuracy=int(self.right.sum()) / count,
            loss=self.loss / count,
            images=count,
            balanced_accuracy=float(recalls.mean()),
            majority=int(self.images.max()) / count,
            classes=len(self.images),
            macro_f1=float(f1.mean()),
        )


def validate(
    module: nn.Module, part: Part, normalise: Normalise, device: str, score: str = "accuracy"
) -> Validation:
    """Validate `module` on all of `part`, in evaluation mode and without augmentation.

    Args:
        module: The network.
        part: The images.
        normalise: Grey levels to floats.
        device: Torch device of the network.
        score: The score of the recipe, which may be a user's own metric.

    Raises:
        ConfigError: The metric cannot be imported.
        EvaluationError: The metric gives no finite number.
    """
    return validate_logits(module.eval(), part, normalise, device, score)


def validate_logits(
    network: Callable[[Tensor], Tensor], part: Part, normalise: Normalise, device: str, score: str
) -> Validation:
    """Validate a function from images (N, C, H, W) to logits (N, classes); see `validate`."""
    kind = kind_of(part.labels)
    if kind == "numbers":
        answers = [each.cpu() for each, _ in _asked(network, part, normalise, device)]
        return validation_of_numbers(torch.cat(answers), part.labels)
    metric = open_metric(score)
    if metric is None and kind == "classes":
        return count_logits(network, part, normalise, device).validation
    logits: list[Tensor] = []
    if kind == "labels":
        logits += (answers.cpu() for answers, _ in _asked(network, part, normalise, device))
        found = validation_of_several(torch.cat(logits), part.labels)
    else:
        found = count_logits(network, part, normalise, device, logits.append).validation
    if metric is None:
        return found
    own = apply_metric(score, metric, torch.cat(logits), part.labels)
    return dataclasses.replace(found, own=own)


def mean_average_precision(scores: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """The mean over the labels of the average precision; NaN if a score is.

    It is scikit-learn's, the sum of precision over recall without interpolation. Labels that no
    image has do not count.

    Args:
        scores: Scores (N, labels), higher for images that should have the label.
        labels: 0 or 1, (N, labels).
    """
    from sklearn.metrics import average_precision_score  # takes a second

    there = labels.sum(0) > 0
    if not there.any() or not np.isfinite(scores).all():
        return math.nan
    return float(average_precision_score(labels[:, there], scores[:, there], average="macro"))


def validation_of_several(logits: Tensor, labels: Tensor) -> Validation:
    """The figures of images with several labels, both (N, labels), on the CPU.

    Raises:
        EvaluationError: A logit is not finite, or no image has a label.
    """
    loss = float(functional.binary_cross_entropy_with_logits(logits, labels))
    mean_ap = mean_average_precision(logits.float().numpy(), labels.numpy())
    if math.isnan(mean_ap):
        raise EvaluationError(
            f"no mean average precision: the loss is {loss}, and {int(labels.sum())} labels are "
            "set on the images to validate"
        )
    shape = len(labels), labels.shape[1]
    return Validation(None, loss, shape[0], classes=shape[1], mean_ap=mean_ap)


def validation_of_numbers(answers: Tensor, labels: Tensor) -> Validation:
    """The error of answers (N, 1) to images with a number each, (N,), on the CPU."""
    error = float((answers[:, 0].double() - labels.double()).abs().mean())
    return Validation(None, error, len(labels), classes=1, mae=error)


@torch.no_grad()
def _asked(
    network: Callable[[Tensor], Tensor], part: Part, normalise: Normalise, device: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logits of `network` and the labels, batch by batch."""
    for start in range(0, len(part), BATCH):
        images = part.images[start : start + BATCH].to(device)
        yield network(normalise(images)), part.labels[start : start + BATCH].to(device)


def count_answers(
    module: nn.Module,
    part: Part,
    normalise: Normalise,
    device: str,
    keep: Callable[[Tensor], None] = lambda logits: None,
) -> Answers:
    """Count the answers of `module` to all of `part`, of one class each, as `validate` does.

    `keep` is called with the logits of each batch, (N, classes), on the CPU.
    """
    return count_logits(module.eval(), part, normalise, device, keep)


@torch.no_grad()
def count_logits(
    network: Callable[[Tensor], Tensor],
    part: Part,
    normalise: Normalise,
    device: str,
    keep: Callable[[Tensor], None] = lambda logits: None,
) -> Answers:
    """Count the answers of a function from images (N, C, H, W) to logits (N, classes)."""
    named, classes, loss = [], 0, 0.0
    for logits, labels in _asked(network, part, normalise, device):
        keep(logits.cpu())
        named.append(logits.argmax(1).cpu())
        classes = logits.shape[1]
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
    answers = torch.cat(named)
    right = part.labels[answers == part.labels]
    return Answers(
        torch.bincount(right, minlength=classes),
        torch.bincount(part.labels, minlength=classes),
        torch.bincount(answers, minlength=classes),
        loss,
    )


def describe_balance(part: Part, data: ImageData) -> list[str]:
    """Say in one line which class has most of the validation images `part`, if it is uneven.

    If labels are numbers, it says which error is to be beaten. Several labels get no line.
    """
    if (scale := LabelScale.of(data.train.labels)) is not None:
        return [scale.describe(data.class_names[0])]
    if kind_of(part.labels) == "labels":
        return []
    counts = torch.bincount(part.labels, minlength=data.classes)
    share = int(counts.max()) / len(part)
    if not is_uneven(share, data.classes):
        return []
    name = data.class_names[int(counts.argmax())]
    return [
        f"uneven classes: {share:.2%} of the images to validate are of class {name}, so a network "
        "that always names it has that top-1"
    ]


LOPSIDED = 10
"""Images of the commonest class for one of the rarest, from which weights are worth a thought."""


def describe_counts(labels: Tensor, class_names: Sequence[str], recipe: Recipe) -> list[str]:
    """Say in one line that training classes are 10:1 or more and that the recipe has no weights.

    Args:
        labels: Labels of the training images, (N,) or (N, classes), or numbers (N,).
        class_names: Names of the classes.
        recipe: The recipe.
    """
    if kind_of(labels) != "classes":
        return []
    counts = torch.bincount(labels, minlength=len(class_names))
    most, least = int(counts.argmax()), int(counts.argmin())
    if recipe.class_weights != "none" or counts[most] < LOPSIDED * counts[least]:
        return []
    return [
        f"lopsided classes: {counts[most]:,} training images of {class_names[most]}, "
        f"{counts[least]:,} of {class_names[least]}; class_weights: balanced in a recipe weighs "
        "the classes alike, score: balanced_accuracy compares by all alike"
    ]


def refresh_norms(
    module: nn.Module, batches: Batches, images: int, generator: torch.Generator
) -> None:
    """Replace running means and variances by plain averages over `images` images of a pass.

    The weights stay. With `images` 0, or without a batch norm, nothing happens.
    """
    if images:
        update_bn(_inputs(batches, images, generator), module)


def _inputs(batches: Batches, images: int, generator: torch.Generator) -> Iterator[Tensor]:
    seen = 0
    for inputs, labels in batches.one_pass(generator):
        yield inputs
        seen += len(labels)
        if seen >= images:
            return
