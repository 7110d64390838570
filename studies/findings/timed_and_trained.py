"""The form that a study times and the form that it trains, and whether they are one network.

A recipe may train a candidate on smaller images, with another stem, or at a share of its widths.
Such a training is a proxy, and its figures are not those of the timed network.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from nas_sv2.documents import Positive, PositiveShare
from nas_sv2.evaluate.recipes.scores import ScoreFacts
from nas_sv2.resolution import Resolution, in_pixels
from nas_sv2.space.units.reference import Formed


def describe_detector(form: str) -> str:
    """Say in one line what of a detector is timed, trained and counted.

    Args:
        form: Its head and size of images, as `ssdlite 96x128`.
    """
    return (
        f"{form}: timed whole, with decoding and suppression of boxes and with random weights, "
        "on which the time of suppression depends; trained whole, from fresh weights; "
        "budgets limit FLOPs and parameters of the backbone"
    )


NOT_KNOWN = "not known: the study was begun by an older version"
"""What is said of a study that keeps no such facts."""


@dataclass(frozen=True, slots=True)
class Form:
    """The input, the stem and the classes that all candidates of a study have in common.

    Attributes:
        resolution: Side of the square input, or its height and width, so that it is
            (N, channels, height, width).
        channels: Channels of the input.
        classes: Classes of the output.
        stem_stride: Stride of the first convolution.
        stem_pool: Whether a max pool follows the stem.
        width_factor: Share of a candidate's widths.
    """

    resolution: Resolution
    channels: Positive
    classes: Positive
    stem_stride: Positive
    stem_pool: bool
    width_factor: PositiveShare = 1.0

    @classmethod
    def of(cls, formed: Formed, width_factor: float = 1.0) -> Self:
        """Return the form of a network or a space, at a share of its widths."""
        return cls(
            formed.resolution,
            formed.channels,
            formed.classes,
            formed.stem_stride,
            formed.stem_pool,
            width_factor,
        )

    def __str__(self) -> str:
        """`32×32×3, stem of stride 2 and no pool`."""
        pool = "a pool" if self.stem_pool else "no pool"
        size = f"{in_pixels(self.resolution)}×{self.channels}"
        scaled = "" if self.width_factor == 1 else f", widths × {self.width_factor:g}"
        return f"{size}, stem of stride {self.stem_stride} and {pool}{scaled}"


@dataclass(frozen=True, slots=True)
class TimedAndTrained:
    """The form whose latency counts, and the form whose score counts.

    Attributes:
        timed: The form that is timed.
        trained: The form that is trained; None if an evaluator of the user's chooses it.
    """

    timed: Form
    trained: Form | None

    @classmethod
    def read(cls, stored: Any) -> Self:
        """Read what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        return msgspec.convert(stored, cls)

    def to_json(self) -> dict[str, Any]:
        """The forms as plain data."""
        return dataclasses.asdict(self)

    @property
    def is_proxy(self) -> bool:
        """Whether the trained network is another than the timed one, beyond its classes."""
        return self.trained is not None and self.trained != dataclasses.replace(
            self.timed, classes=self.trained.classes
        )

    def describe(self, figure: ScoreFacts) -> str:
        """Say in one line what is timed and what is trained, and which the figures are of."""
        timed, trained = self.timed, self.trained
        if trained is None:
            return f"timed: {timed}; the evaluator is your own: what it trains is not known"
        if self.is_proxy:
            return f"timed: {timed}; trained: {trained}, a proxy; {figure.every} of it"
        said = f"timed and trained: {timed}, the same network"
        if timed.classes == trained.classes:
            return said
        return f"{said} but for classes, {timed.classes:,} timed and {trained.classes:,} trained"

    def describe_proxy(self, figure: ScoreFacts) -> str:
        """Say of which network the figures are; empty if they are of the timed one."""
        if self.trained is None:
            return f"the {figure.noun} is the evaluator's; which network it trains is not known"
        if not self.is_proxy:
            return ""
        return f"{figure.every} of a proxy ({self.trained}), not of the network that is timed"
