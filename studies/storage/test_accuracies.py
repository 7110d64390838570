"""What trained networks scored on the test split, kept with the study, so that none trains twice.

These figures stand apart from the evaluations of a search: nothing is ever chosen by them.
"""

import dataclasses
import json
from dataclasses import dataclass

import optuna

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.evaluation import content_of
from nas_sv2.studies.findings.attributes import TEST_ACCURACY
from nas_sv2.studies.storage.study import store_errors


@dataclass(frozen=True, slots=True)
class Training:
    """What a test score depends on.

    Attributes:
        architecture: Digest of the network that was asked about.
        recipe: Digest of the recipe.
        data: As evaluations record it.
        seed: Of weights, order and augmentation.
        device: Where it is trained, with the number of threads.
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
        """Whether that is the name of the same training, wherever its data lay then."""
        begins = f"{TEST_ACCURACY}{self.architecture} {self.recipe} "
        ends = f"@{content_of(self.data)} {self.seed} {self.device}"
        return attribute.startswith(begins) and attribute.endswith(ends)


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """How a trained network did on images that nothing was chosen by.

    Attributes:
        accuracy: Top-1 on the test images, 0 to 1.
        loss: Mean cross-entropy on them, nats.
        images: How many there are.
        val_accuracy: Top-1 on the validation images, at the end.
        train_images: Image passes trained on.
        seconds: Wall time of the training.
    """

    accuracy: float
    loss: float
    images: int
    val_accuracy: float
    train_images: int
    seconds: float

    def to_json(self) -> str:
        """One line that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "HeldOutScore":
        """The score that `to_json` wrote.

        Raises:
            StoreError: The text is none.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise StoreError(f"a stored test score cannot be read: {error!r}") from error


@dataclass(frozen=True)
class HeldOutScores:
    """Finds and saves the test scores of a study."""

    study: optuna.Study

    def find(self, training: Training) -> HeldOutScore | None:
        """The score of that training, or None.

        Raises:
            StoreError: The database cannot be read, or holds what is no score.
        """
        with store_errors():
            kept = self.study.user_attrs
        text = next((text for name, text in kept.items() if training.is_in(name)), None)
        return None if text is None else HeldOutScore.from_json(text)

    def save(self, training: Training, score: HeldOutScore) -> None:
        """Keep `score`.

        Raises:
            StoreError: The database cannot be written.
        """
        with store_errors():
            self.study.set_user_attr(training.attribute, score.to_json())
