"""Which operator of ours a node of the runtime carries out, or serves.

onnxruntime names its nodes after the model's, with endings of its own, and inserts further ones.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nas_sv2.latency.measurements.node_time import NodeTime

ENDINGS = re.compile(
    r"(?:\.(?:grouped|swapped|flat))?(?:_quant)?(?:_token_\d+)?(?:_bn)?(?:_nchwc)?$"
)
"""What may follow an operator's name: of the parts of a shuffle or classifier (`onnx_lowering`),
of a quantised node, of one that was made anew, of a norm that became a convolution, and of one
that is blocked."""
FOR_THE_NEXT = (
    "ReorderInput",
    "Transpose",
    "QuantizeLinear",
    "quantize",
    "to pixels",
    "to planes",
)
"""Inserted nodes that prepare an input, as onnxruntime and our kernels of int8 name them."""


class Placed(NamedTuple):
    """A node, and whose it is.

    Attributes:
        node: As the runtime ran it.
        place: Of the operator or kernel that it belongs to.
        inserted: Whether the runtime put it in, to serve that one.
    """

    node: NodeTime
    place: int
    inserted: bool


def placed(nodes: Iterable[NodeTime], places: Mapping[str, int]) -> list[Placed]:
    """Every node with its place, in the order in which they ran.

    A node that the runtime inserted belongs to the operator that it serves: what prepares an input
    to the next one, anything else to the last.

    Args:
        nodes: In the order in which they ran.
        places: Where an operator of this name stands; of a split also by its first output.
    """
    found: list[Placed] = []
    waiting: list[NodeTime] = []
    last = 0
    for node in nodes:
        known = places.get(node.name, places.get(ENDINGS.sub("", node.name)))
        if known is not None:
            found += [Placed(earlier, known, True) for earlier in waiting]
            found.append(Placed(node, known, False))
            waiting, last = [], known
        elif node.operator.startswith(FOR_THE_NEXT):
            waiting.append(node)
        else:
            found.append(Placed(node, last, True))
    return found + [Placed(node, last, True) for node in waiting]
