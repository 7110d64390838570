"""Maps nodes of the runtime to the operators of ours that they carry out or serve.

onnxruntime names its nodes after the model's, with endings of its own, and inserts other nodes.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nas_sv2.latency.measurements.node_time import NodeTime

ENDINGS = re.compile(
    r"(?:\.(?:grouped|swapped|flat))?(?:_quant)?(?:_token_\d+)?(?:_bn)?(?:_nchwc)?$"
)
"""Endings after an operator's name: for parts of a shuffle or classifier (`onnx_lowering`), a
quantised node, a node derived from another, a norm that became a convolution, a blocked node."""
FOR_THE_NEXT = (
    "ReorderInput",
    "Transpose",
    "QuantizeLinear",
    "quantize",
    "to pixels",
    "to planes",
)
"""Names of inserted nodes that prepare an input, in onnxruntime and in our int8 kernels."""


class Placed(NamedTuple):
    """A node and its operator.

    Attributes:
        node: Node as the runtime ran it.
        place: Place of the operator or kernel that the node belongs to.
        inserted: Whether the runtime inserted the node to serve that operator.
    """

    node: NodeTime
    place: int
    inserted: bool


def placed(nodes: Iterable[NodeTime], places: Mapping[str, int]) -> list[Placed]:
    """Return every node with its place, in running order.

    An inserted node belongs to the operator that it serves. A node that prepares an input serves
    the next operator, any other the last.

    Args:
        nodes: Nodes in running order.
        places: Place of each operator, by its name; for a split also by its first output.
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
