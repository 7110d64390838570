"""Compares the forms of one network on the same images: their logits and accuracy."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_sv2.errors import StoreError
from nas_sv2.space.runtimes.weights import Array

Form = Callable[[Array], Array]
"""Function from normalised images (N, C, H, W) to logits (N, classes)."""

Labels = NDArray[np.int64]

EQUAL = 1e-3
"""Largest accepted difference of logits, as a share of the largest logit. float32 sums in another
order differ by about 1e-6 of it, a wrong weight by about the whole."""
LOST = 1.0
"""Error of int8 logits from which the form is refused: the root mean square of the error, as a
share of that of the network's logits about the mean of each image."""
NOISE_IMAGES = 16
BATCH = 50  # images; at 224 pixels they take 30 MB, and their largest maps 500 MB


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of a form with the network as torch runs it in nas-sv2.

    Attributes:
        images: Number of images that both classified.
        difference: Largest absolute difference of their logits.
        relative: Largest difference as a share of the network's largest absolute logit.
        error: Root mean square of the differences, as a share of that of the network's logits
            about the mean of each image.
        same: Share of images with the same first class.
        accuracy: Top-1 accuracy of the form, 0 to 1; None without labels.
        by_class: Images of each class, and how many of them were named so; None without labels.
    """

    images: int
    difference: float
    relative: float
    error: float
    same: float
    accuracy: float | None
    by_class: tuple[tuple[int, int], ...] | None = None

    def check(self, name: str, quantised: bool) -> None:
        """Refuse a form that disagrees with the network.

        Raises:
            StoreError: If the form disagrees; the message names it and the error.
        """
        if quantised and not self.error < LOST:
            raise StoreError(
                f"{name} and torch disagree: the error of the int8 logits is {self.error:.0%} of "
                f"their spread, and the same class comes first for {self.same:.0%} of images; "
                "export it without int8"
            )
        if not quantised and not self.relative <= EQUAL:
            raise StoreError(
                f"{name} and torch disagree: logits differ by {self.relative:.1e} of the largest"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, except `by_class`, which a card has once."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "by_class"}


def agreements(
    network: Form,
    forms: Mapping[str, Form],
    batches: Iterator[tuple[Array, Labels | None]],
) -> dict[str, Agreement]:
    """Compare each form with `network` on the same images, one batch at a time.

    Args:
        network: Form that the others are compared with.
        forms: Forms by name.
        batches: Normalised images, with labels if the accuracy is wanted.
    """
    counts = {name: _Count() for name in forms}
    for images, labels in batches:
        expected = network(images)
        for name, form in forms.items():
            counts[name].add(expected, form(images), labels)
    return {name: count.agreement() for name, count in counts.items()}


def noise(channels: int, side: int) -> Iterator[tuple[Array, None]]:
    """Yield a batch (N, channels, side, side) of mean 0 and deviation 1, equal on all machines."""
    shape = (NOISE_IMAGES, channels, side, side)
    yield np.random.default_rng(0).standard_normal(shape, np.float32), None


@dataclass(slots=True)
class _Count:
    """The running sums of one form."""

    images: int = 0
    numbers: int = 0
    largest: float = 0.0
    difference: float = 0.0
    squared_error: float = 0.0
    squared_signal: float = 0.0
    same: int = 0
    by_class: NDArray[np.int64] | None = None

    def add(self, expected: Array, logits: Array, labels: Labels | None) -> None:
        apart = np.abs(logits.astype(np.float64) - expected)
        self.images += len(expected)
        # `maximum` and not `max`, so that NaN is passed on.
        self.difference = float(np.maximum(self.difference, apart.max()))
        self.largest = max(self.largest, float(abs(expected).max()))
        self.squared_error += float((apart**2).sum())
        about_mean = expected.astype(np.float64) - expected.mean(1, keepdims=True)
        self.squared_signal += float((about_mean**2).sum())
        named = logits.argmax(1)
        self.same += int((named == expected.argmax(1)).sum())
        if labels is not None:
            parts = (labels, labels[named == labels])
            counts = np.stack([np.bincount(part, minlength=logits.shape[1]) for part in parts])
            self.by_class = counts if self.by_class is None else self.by_class + counts

    def agreement(self) -> Agreement:
        counts = self.by_class
        return Agreement(
            images=self.images,
            difference=self.difference,
            relative=_share(self.difference, self.largest),
            error=_share(self.squared_error, self.squared_signal) ** 0.5,
            same=self.same / self.images,
            accuracy=None if counts is None else int(counts[1].sum()) / self.images,
            by_class=None if counts is None else tuple((int(n), int(k)) for n, k in counts.T),
        )


def _share(part: float, whole: float) -> float:
    """Return `part / whole`; if `whole` is 0, return infinity, or 0 if `part` is 0 too."""
    if whole == 0:
        return 0.0 if part == 0 else float("inf")
    return part / whole
