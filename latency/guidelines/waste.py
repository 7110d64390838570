"""The time that a network wastes against the guidelines' ideal, by a device's operator costs.

The paper's guidelines (section 2) name causes of slow networks at equal FLOPs. G1 is unequal
channel widths, G2 group convolutions, G3 many small operators, and G4 element-wise operators,
including depthwise convolutions. The paper gives no times for them, but operator costs of a device
do. Each waste is the excess over the same multiply-adds in the ideal of the guidelines, a dense
1×1 convolution of equal widths. `multiples` is not in the paper: channels that do not fill the
blocks in which a runtime computes.

Shares of the whole time make networks of all sizes comparable. They are estimates from a formula
with a few coefficients. They may reject a candidate, and say nothing about one that stays.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.kernels.node_costs import (
    ALIGNED,
    UNALIGNED,
    NodeCosts,
    Piece,
    Terms,
    class_of,
    terms_of,
)
from nas_sv2.space.graph.cost import is_depthwise
from nas_sv2.space.graph.operators import Conv

GUIDELINES = ("G1", "G2", "G3", "G4", "multiples")
DENSE = f"pointwise {ALIGNED}"
NOTHING = Terms(0, 0, 0, 0, 0, 0, 0, 0)
STEM, HEAD = "stem", "head"


@dataclass(frozen=True, slots=True)
class Waste:
    """The waste of a network or a part of it.

    Attributes:
        us: Estimated time of all operators, in µs.
        wasted_us: Time wasted against each of `GUIDELINES`, in µs.
    """

    us: float
    wasted_us: Mapping[str, float]

    @property
    def shares(self) -> dict[str, float]:
        """Wasted share of the time, by guideline."""
        return {name: wasted / self.us for name, wasted in self.wasted_us.items()}

    @property
    def total(self) -> float:
        """Wasted share of the time, for all guidelines together."""
        return sum(self.wasted_us.values()) / self.us


def waste_of(pieces: Iterable[Piece], costs: NodeCosts) -> Waste:
    """Add up the waste of kernels that run one after the other.

    Raises:
        MeasurementError: If the class of a kernel was not timed; the message names it.
    """
    us, wasted = 0.0, dict.fromkeys(GUIDELINES, 0.0)
    for piece in pieces:
        us += price(piece, costs)
        for name, part in _wasted(piece, costs).items():
            wasted[name] += part
    return Waste(us, wasted)


def waste_by_block(pieces: Iterable[Piece], costs: NodeCosts) -> dict[str, Waste]:
    """Return the waste of each building block (`Op.block`), in running order."""
    blocks: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        blocks[piece.op.block].append(piece)
    return {name: waste_of(parts, costs) for name, parts in blocks.items()}


def price(piece: Piece, costs: NodeCosts) -> float:
    """Estimate the time of a kernel in µs.

    Raises:
        MeasurementError: If no kernel of its class was timed.
    """
    if class_of(piece.kernel) not in costs.coefficients:
        raise MeasurementError(
            f"no estimate for {piece.op.name}: no {class_of(piece.kernel)} was timed; "
            f"known are {', '.join(sorted(costs.coefficients))}"
        )
    return costs.price(piece)


def _wasted(piece: Piece, costs: NodeCosts) -> dict[str, float]:
    """Return the excess over the same multiply-adds in a dense 1×1 convolution of equal widths."""
    op, name, terms = piece.op, class_of(piece.kernel), terms_of(piece)
    if op.block == STEM or (op.block == HEAD and not isinstance(op.kind, Conv)):
        return {}  # every network has these, and no guideline is about them
    launch_us = costs.price_of(name, NOTHING._replace(launch=1, parts=terms.parts))
    added_us = costs.price_of(name, NOTHING._replace(added=terms.added))
    rest_us = price(piece, costs) - launch_us - added_us
    found = {"G3": launch_us, "G4": added_us}
    if not isinstance(op.kind, Conv) or op.output.area == 1:
        found["G4"] += rest_us
        return found
    filled_us = _in_whole_blocks(name, terms, costs)
    found["multiples"] = max(0.0, rest_us - filled_us)
    beyond_us = max(0.0, min(rest_us, filled_us) - _dense_us(terms.flops, op.output.area, costs))
    if is_depthwise(op):
        found["G4"] += beyond_us
    elif op.kind.groups > 1:
        found["G2"] = beyond_us
    elif op.kind.kernel == 1:
        found["G1"] = beyond_us
    return found


def _in_whole_blocks(name: str, terms: Terms, costs: NodeCosts) -> float:
    """Price the same work if channels filled the runtime's blocks, without launch and sum."""
    aligned = name.replace(UNALIGNED, ALIGNED)
    known = aligned if aligned in costs.coefficients else name
    return costs.price_of(
        known, terms._replace(launch=0, parts=0, added=0, blocked_flops=terms.flops)
    )


def _dense_us(flops: float, area: int, costs: NodeCosts) -> float:
    """Price multiply-adds on a map as a 1×1 convolution with c1 = c2, without its launch.

    Raises:
        MeasurementError: If no dense 1×1 convolution was timed.
    """
    if DENSE not in costs.coefficients:
        raise MeasurementError(f"no estimate of the ideal: no {DENSE} was timed")
    width = math.sqrt(flops / area)
    numbers = width * area
    work = NOTHING._replace(
        read=numbers, written=numbers, flops=flops, blocked_flops=flops, weights=width * width
    )
    return costs.price_of(DENSE, work)
