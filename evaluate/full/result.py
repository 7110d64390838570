"""What came out of a full training, pass by pass and in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.fit import Pass
from nas_sv2.evaluate.fitting.validation import Validation
from nas_sv2.space.networks.network import Classifier


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One pass and the validation after it."""

    step: int
    trained: Pass
    validated: Validation


@dataclass(frozen=True, eq=False)
class FullyTrained:
    """What came out of a full training.

    Attributes:
        network: As it was trained: with channels and classes of the data.
        weights: Its numbers, named after its operators.
        passes: In order; the last has the final validation.
        test: On the split that nothing was chosen by; None where the data have none.
        seconds: Wall time, of all processes that followed each other.
        normalise: What was done to grey levels.
        place: Where it was trained.
    """

    network: Classifier
    weights: dict[str, NDArray[np.float32]]
    passes: tuple[PassRecord, ...]
    test: Validation | None
    seconds: float
    normalise: Normalise
    place: str

    @property
    def validation(self) -> Validation:
        """The final one."""
        return self.passes[-1].validated


def pass_rows(passes: Sequence[PassRecord], processes: int) -> list[dict[str, float]]:
    """A row of the log for each pass; the training loss is that of the first process's images."""
    return [
        {
            "pass": number,
            "step": record.step,
            "learning_rate": record.trained.learning_rate,
            "train_loss": record.trained.loss,
            "val_accuracy": record.validated.accuracy,
            "val_loss": record.validated.loss,
            "train_seconds": round(record.trained.seconds, 3),
            "images_per_second": round(
                processes * record.trained.images / record.trained.seconds, 1
            ),
        }
        for number, record in enumerate(passes, 1)
    ]


def read_record(state: Mapping[str, Any]) -> PassRecord:
    """The record whose `dataclasses.asdict` is `state`."""
    return PassRecord(state["step"], Pass(**state["trained"]), Validation(**state["validated"]))
