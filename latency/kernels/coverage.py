"""The kernels that a predictor was fitted to, so that it can refuse others by name."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.node_costs import class_of

BEYOND = 1.5
"""Factor by which channels may lie outside the range seen. In a test with 160 networks, 9 lay
outside by a factor of 1.25 to 1.5 and were predicted as well as the others."""
MORE_PARTS = 4
"""Factor by which a split or concat may have more parts: each further part costs one copy."""

Sizes = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Coverage:
    """The classes, maps and channels that a predictor has seen.

    Attributes:
        classes: Classes of kernels, by `class_of`.
        sizes: Least and most input channels, least and most output channels, and most parts, by
            `Kernel.key`.
    """

    classes: frozenset[str]
    sizes: Mapping[str, Sizes]

    @classmethod
    def of(cls, kernels: Iterable[Kernel], bag: Iterable[Kernel]) -> "Coverage":
        """Collect the sizes of `kernels` and the bag, and the classes of the bag alone.

        Only the bag has times, and thus a formula for each class.
        """
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
        """Return whether there is a formula for the kernel's cost."""
        return class_of(kernel) in self.classes

    def check(self, kernel: Kernel) -> None:
        """Refuse a kernel unlike those seen.

        Raises:
            MeasurementError: If the class, map, channels or parts of the kernel are new; the
                message names the operator and the range seen.
        """
        if not self.has_class(kernel):
            _refuse(kernel, f"the kinds seen were {', '.join(sorted(self.classes))}")
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
            _refuse(kernel, f"it has {kernel.parts} parts, but at most {parts} were seen")

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "classes": sorted(self.classes),
            "sizes": {key: list(sizes) for key, sizes in self.sizes.items()},
        }


def _side(text: str) -> int:
    side = text.partition("x")[0]
    return int(side) if side.isdecimal() else 0


def _refuse(kernel: Kernel, why: str) -> NoReturn:
    raise MeasurementError(f"no prediction for {kernel.ops[0]} ({kernel.shape}): {why}")
