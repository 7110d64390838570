"""The result of a full training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.course import PassRecord
from nas_sv2.evaluate.fitting.validation import Validation
from nas_sv2.space.networks.lowering import Classifier


@dataclass(frozen=True, eq=False)
class FullyTrained:
    """What came out of a full training.

    Attributes:
        network: As it was trained: with channels and classes of the data.
        weights: Its numbers, named after its operators.
        passes: In order, each with its validation.
        test: On the split that nothing was chosen by; None if the data have none.
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
        """The final validation."""
        return self.passes[-1].validation
