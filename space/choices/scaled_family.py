"""The scaled family: ShuffleNet V2 at several widths around the cost of a network.

A win over one hand-designed network may be a win over an unlucky point. Everybody can make V2
faster or more accurate by its width alone, so a found network has to beat the curve of all widths.
"""

import math
from collections.abc import Sequence
from functools import cache

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import (
    NARROWEST,
    WIDEST,
    in_form_of,
    reference,
    scaled_v2,
)

FEWEST = 5
"""Widths of a family; three parameters of its curve leave two degrees of freedom."""
REACH = 2.5
"""FLOPs of the widest network relative to the largest finalist's, and of the smallest to the
narrowest. A finalist that is 2 times as fast as V2 of equal FLOPs is within them."""
_STEPS = 100  # of a width, as in `shufflenet_v2_x0_35`


def scaled_family(
    like: Architecture, least: float, most: float, count: int, present: Sequence[str] = ()
) -> list[str]:
    """Give names of V2 at `count` widths from `least` / `REACH` to `most` × `REACH` FLOPs.

    Neighbours have the same ratio of FLOPs, as far as widths in hundredths allow. A network of
    `present` takes the place of a width that it is less than half a step from.

    Args:
        like: The network whose input and strides all have.
        least: FLOPs of the smallest finalist.
        most: FLOPs of the largest finalist.
        count: How many.
        present: Names of V2 at widths that take part anyway.

    Raises:
        ConfigError: V2 has fewer widths there.
    """
    low, high = least / REACH, most * REACH
    step = (high / low) ** (1 / (count - 1))
    present_flops = {name: _flops(like, reference(name)) for name in present}

    def at(wanted: float) -> str:
        def distance(name: str) -> float:
            return max(present_flops[name] / wanted, wanted / present_flops[name])

        nearest = min(present_flops, key=distance, default=None)
        if nearest is not None and distance(nearest) < math.sqrt(step):
            return nearest
        return nearest_scaled(like, wanted)

    names = list(dict.fromkeys(at(low * step**place) for place in range(count)))
    if len(names) < count:
        allowed = (
            f"must be 0 here: ShuffleNet V2 has {len(names)} widths from {low / 1e6:.3g} to "
            f"{high / 1e6:.3g} MFLOPs"
        )
        raise ConfigError("family", count, allowed)
    return names


def nearest_scaled(like: Architecture, flops: float) -> str:
    """Name V2 at the width, in hundredths, whose FLOPs are nearest to `flops` as a ratio."""

    @cache
    def ratio(hundredths: int) -> float:
        return _flops(like, scaled_v2(hundredths / _STEPS)) / flops

    low, high = round(NARROWEST * _STEPS), round(WIDEST * _STEPS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if ratio(middle) <= 1 else (low, middle)
    nearest = min((low, high), key=lambda width: max(ratio(width), 1 / ratio(width)))
    return f"shufflenet_v2_x{nearest // _STEPS}_{nearest % _STEPS:02d}".removesuffix("0")


def _flops(like: Architecture, network: Architecture) -> int:
    return cost_of(lower(in_form_of(like, network))).flops
