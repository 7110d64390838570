"""What a predictor has seen, so that it can refuse the rest by name."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.node_costs import class_of

BEYOND = 1.5
"""So many times more or fewer channels than were seen are allowed. Of 160 networks 9 were between
1.25 and 1.5 times beyond, and were predicted no worse than the others."""
MORE_PARTS = 4
"""As often as many parts of a split or concat: every further part costs the same, a copy each."""

Sizes = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Coverage:
    """Classes and maps that were seen, and the channels on them.

    Attributes:
        classes: See `class_of`.
        sizes: By `Kernel.key`: least and most input channels, least and most output channels, most
            parts.
    """

    classes: frozenset[str]
    sizes: Mapping[str, Sizes]

    @classmethod
    def of(cls, kernels: Iterable[Kernel], bag: Iterable[Kernel]) -> "Coverage":
        """What `kernels` and the bag cover; only of the bag are the classes, which it priced."""
        bag = list(bag)
        sizes: dict[str, Sizes] = {}
        for kernel in (*kernels, *bag):
            at = kernel.channels_in, kernel.channels_out, kernel.parts
            low_in, high_in, low_out, high_out, parts = sizes.get(
                kernel.key, (at[0], at[0], at[1], at[1], at[2])
            )
            sizes[kernel.key] = (
                min(low_in, at[0]),
                max(high_in, at[0]),
                min(low_out, at[1]),
                max(high_out, at[1]),
                max(parts, at[2]),
            )
        return cls(frozenset(map(class_of, bag)), sizes)

    def has_class(self, kernel: Kernel) -> bool:
        """Whether there is a formula for its cost."""
        return class_of(kernel) in self.classes

    def check(self, kernel: Kernel) -> None:
        """Pass in silence where the kernel is like what was seen.

        Raises:
            MeasurementError: Names the operator, what is new about it and what was seen.
        """
        if not self.has_class(kernel):
            _refuse(kernel, f"seen were {', '.join(sorted(self.classes))}")
        if kernel.key not in self.sizes:
            keys = (key.rpartition(" @") for key in self.sizes)
            maps = sorted((side for kind, _, side in keys if kind == kernel.kind), key=_side)
            _refuse(kernel, f"it was seen on maps of {', '.join(maps)}")
        low_in, high_in, low_out, high_out, parts = self.sizes[kernel.key]
        for what, channels, low, high in (
            ("input", kernel.channels_in, low_in, high_in),
            ("output", kernel.channels_out, low_out, high_out),
        ):
            if not math.floor(low / BEYOND) <= channels <= math.ceil(high * BEYOND):
                _refuse(kernel, f"{low} to {high} {what} channels were seen")
        if kernel.parts > parts * MORE_PARTS:
            _refuse(kernel, f"it has {kernel.parts} parts, and up to {parts} were seen")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "classes": sorted(self.classes),
            "sizes": {key: list(sizes) for key, sizes in self.sizes.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Coverage":
        """The inverse of `to_json`."""
        sizes = {key: tuple(sizes) for key, sizes in document["sizes"].items()}
        return cls(frozenset(document["classes"]), sizes)


def _side(text: str) -> int:
    return int(text.partition("x")[0])


def _refuse(kernel: Kernel, why: str) -> NoReturn:
    raise MeasurementError(f"no prediction for {kernel.ops[0]} ({kernel.shape}): {why}")
