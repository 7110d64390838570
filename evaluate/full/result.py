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
    """The result of a full training.

    Attributes:
        network: The trained network, with channels and classes of the data.
        weights: Its weights, named after its operators.
        passes: The passes in order, each with its validation.
        test: Validation on the test split, which chose nothing; None if the data have none.
        seconds: Wall time over all processes that resumed the training.
        normalise: Normalisation of grey levels.
        place: The processor of the training.
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
