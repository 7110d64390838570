"""The result of a full training."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.course import PassRecord
from nas_sv2.evaluate.fitting.validation import Validation
from nas_sv2.space.networks.lowering import Classifier
from nas_sv2.space.runtimes.quantization import Range


@dataclass(frozen=True, slots=True)
class LossFromFloat:
    """The accuracy of an int8 form, and its change from another form on the same images.

    Attributes:
        accuracy: Top-1, 0 to 1.
        change: Its accuracy minus that of the other form.
        low: Lower end of the 95 % interval of the change, paired over images.
        high: Its upper end.
    """

    accuracy: float
    change: float
    low: float
    high: float

    def describe(self) -> str:
        """Return the change in points, with its interval."""
        return (
            f"{100 * self.change:+.2f} points, 95 % {100 * self.low:+.2f} to "
            f"{100 * self.high:+.2f}"
        )


@dataclass(frozen=True, slots=True)
class Int8Result:
    """A training with the rounding of int8, beside its start, on the validation images.

    Attributes:
        ranges: Learned ranges by value, for the int8 form.
        images: Number of the images.
        float32: Top-1 in float32 before, 0 to 1.
        static: The static int8 form before, beside float32.
        trained: The int8 form after the training, beside float32 before.
        gain: The same beside the static int8 form.
    """

    ranges: Mapping[str, Range]
    images: int
    float32: float
    static: LossFromFloat
    trained: LossFromFloat
    gain: LossFromFloat


@dataclass(frozen=True, eq=False)
class FullyTrained:
    """The result of a full training.

    Attributes:
        network: The trained network, with channels and classes of the data.
        weights: Its weights, named after its operators.
        passes: The passes in order, each with its validation.
        test: Validation on the test split, which chose nothing; None if the data have none.
        test_int8: The same of the int8 form, if the recipe compares by it; else None.
        seconds: Wall time over all processes that resumed the training.
        normalise: Normalisation of grey levels.
        place: The processor of the training.
        int8: The result in int8, if it was trained with the rounding of int8; validation and test
            are then those of the rounded network. Else None.
    """

    network: Classifier
    weights: dict[str, NDArray[np.float32]]
    passes: tuple[PassRecord, ...]
    test: Validation | None
    test_int8: Validation | None
    seconds: float
    normalise: Normalise
    place: str
    int8: Int8Result | None = None

    @property
    def validation(self) -> Validation:
        """The final validation."""
        return self.passes[-1].validation
