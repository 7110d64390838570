"""The accuracy of a network, and its cross-entropy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.batches import Batches
from nas_sv2.evaluate.fitting.evaluation import describe_accuracy, is_uneven
from nas_sv2.evaluate.recipes.recipe import Recipe, Score

BATCH = 250  # larger gains nothing on two cores and needs more memory


@dataclass(frozen=True, slots=True)
class Validation:
    """How good a network is on images; all but the first three are unknown in older files.

    Attributes:
        accuracy: Top-1, 0 to 1.
        loss: Mean cross-entropy, nats.
        images: Number of images.
        balanced_accuracy: Mean of the shares of each class that are right, 0 to 1.
        majority: Share of the images that are of their commonest class, 0 to 1.
        classes: Number of classes.
    """

    accuracy: float
    loss: float
    images: int
    balanced_accuracy: float | None = None
    majority: float | None = None
    classes: int = 0

    def score(self, by: Score) -> float:
        """Return the score that candidates are compared by, of a single validation.

        It is higher for a better network. `training_speed` needs the whole training.
        """
        if by == "accuracy":
            return self.accuracy
        if by == "balanced_accuracy" and self.balanced_accuracy is not None:
            return self.balanced_accuracy
        assert by == "cross_entropy", f"{by} needs more than a validation"
        return -self.loss

    def describe_accuracy(self) -> str:
        """Return the accuracy as text, with the balanced one if the classes are uneven."""
        uneven = is_uneven(self.majority, self.classes)
        return describe_accuracy(self.accuracy, self.balanced_accuracy, uneven)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a network to images, counted; sums over parts are those of the whole.

    Attributes:
        right: Right answers by class, int64 (classes,).
        images: Images by class, int64 (classes,).
        loss: Sum of the cross-entropies, nats.
    """

    right: Tensor
    images: Tensor
    loss: float

    @property
    def validation(self) -> Validation:
        """The figures that follow from the counts."""
        count, there = int(self.images.sum()), self.images > 0
        recalls = self.right[there].double() / self.images[there]
        return Validation(
            accuracy=int(self.right.sum()) / count,
            loss=self.loss / count,
            images=count,
            balanced_accuracy=float(recalls.mean()),
            majority=int(self.images.max()) / count,
            classes=len(self.images),
        )


def validate(module: nn.Module, part: Part, normalise: Normalise, device: str) -> Validation:
    """Validate `module` on all of `part`, in evaluation mode and without augmentation."""
    return count_answers(module, part, normalise, device).validation


@torch.no_grad()
def count_answers(module: nn.Module, part: Part, normalise: Normalise, device: str) -> Answers:
    """Count the answers of `module` to all of `part`, as `validate` does."""
    module.eval()
    named, classes, loss = [], 0, 0.0
    for start in range(0, len(part), BATCH):
        images = part.images[start : start + BATCH].to(device)
        labels = part.labels[start : start + BATCH].to(device)
        logits = module(normalise(images))
        named.append(logits.argmax(1).cpu())
        classes = logits.shape[1]
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
    right = part.labels[torch.cat(named) == part.labels]
    return Answers(
        torch.bincount(right, minlength=classes),
        torch.bincount(part.labels, minlength=classes),
        loss,
    )


def describe_balance(part: Part, data: ImageData) -> list[str]:
    """Say in one line which class has most of the validation images `part`, if it is uneven."""
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
        labels: Labels of the training images, int64 (N,).
        class_names: Names of the classes.
        recipe: The recipe.
    """
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
