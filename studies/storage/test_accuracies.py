"""Test scores of trained networks, stored with the study so that no network trains twice.

They are separate from the evaluations of a search: no network is ever chosen by them.
"""

import dataclasses
import json
from dataclasses import dataclass

import optuna

from nas_sv2.documents import check_fields, reading_stored
from nas_sv2.evaluate.fitting.evaluation import data_key
from nas_sv2.plain_data import parse_json
from nas_sv2.studies.findings.attributes import TEST_ACCURACY
from nas_sv2.studies.storage.study import store_errors


@dataclass(frozen=True, slots=True)
class Training:
    """The settings that a test score depends on.

    Attributes:
        architecture: Digest of the network.
        recipe: Digest of the recipe.
        data: The data, as evaluations record them.
        seed: The seed of weights, order and augmentation.
        device: The device of the training, with the number of threads.
    """

    architecture: str
    recipe: str
    data: str
    seed: int
    device: str

    @property
    def attribute(self) -> str:
        """The name of the study attribute."""
        return TEST_ACCURACY + " ".join(map(str, dataclasses.astuple(self)))

    def is_in(self, attribute: str) -> bool:
        """Return whether an attribute names this training, for any place of its data."""
        begins = f"{TEST_ACCURACY}{self.architecture} {self.recipe} "
        ends = f"@{data_key(self.data)} {self.seed} {self.device}"
        return attribute.startswith(begins) and attribute.endswith(ends)


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """The score of a trained network on the test images.

    Attributes:
        accuracy: Top-1 on the test images, 0 to 1.
        loss: Mean cross-entropy on the test images, in nats.
        images: Number of test images.
        val_accuracy: Top-1 on the validation images at the end, 0 to 1.
        train_images: Number of images trained on, counting repetitions.
        seconds: Wall time of the training, in seconds.
        balanced_accuracy: Mean of the shares of each class that are right, 0 to 1; None in
            scores of older versions, as the two below.
        majority: Share of the test images that are of their commonest class, 0 to 1.
        classes: Number of classes.
    """

    accuracy: float
    loss: float
    images: int
    val_accuracy: float
    train_images: int
    seconds: float
    balanced_accuracy: float | None = None
    majority: float | None = None
    classes: int = 0

    def to_json(self) -> str:
        """Write the score as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "HeldOutScore":
        """Read the score that `to_json` wrote.

        Raises:
            StoreError: The text is not a score.
        """
        with reading_stored("a stored test score"):
            score = cls(**parse_json(text))
            check_fields(score)
            return score


@dataclass(frozen=True)
class HeldOutScores:
    """Finds and saves the test scores of a study."""

    study: optuna.Study

    def find(self, training: Training) -> HeldOutScore | None:
        """Return the score of this training, or None.

        Raises:
            StoreError: The database or the stored score cannot be read.
        """
        with store_errors():
            kept = self.study.user_attrs
        text = next((text for name, text in kept.items() if training.is_in(name)), None)
        return None if text is None else HeldOutScore.from_json(text)

    def save(self, training: Training, score: HeldOutScore) -> None:
        """Store the score of a training.

        Raises:
            StoreError: The database cannot be written.
        """
        with store_errors():
            self.study.set_user_attr(training.attribute, score.to_json())
