"""The kernels that a runtime ran for a network: kind, block, fused operators and time of each.

onnxruntime names its nodes after the model's, with endings of its own, and inserts other nodes.
A convolution that the runtime fused with an activation or a sum is one kernel and counts as a
convolution; the fused operators are named. Kinds are the five of the paper's figure 2, with
depthwise convolutions separate:

- `conv`: convolutions, dense, grouped and 1×1, with the operators fused to them;
- `depthwise`: convolutions with one group per channel. The paper counts them as convolutions in
  figure 2 and as element-wise in G4; separate numbers allow both;
- `element-wise`: activations, sums, products and norms that are not fused;
- `shuffle`: moves of data by the network: shuffles, splits, concats, selections;
- `data`: kernels that the runtime inserted to change layouts or types: reorders, transposes,
  copies, quantisation;
- `other`: pools, the classifier, the two small convolutions of squeeze-and-excitation, and
  kernels that the runtime inserted for reasons that we do not know.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, assert_never, get_args

from nas_sv2.latency.kernels.int8 import LAYOUT
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.space.graph.cost import is_depthwise
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Select,
    Shift,
    Shuffle,
    Split,
)

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


RunKind = Literal["conv", "depthwise", "element-wise", "shuffle", "data", "other"]
RUN_KINDS: Final[tuple[RunKind, ...]] = get_args(RunKind)
DATA: Final = (
    *("Reorder", "Transpose", "QuantizeLinear", "DequantizeLinear", "Memcpy", "Cast"),
    *("quantize", "dequantize", *LAYOUT),
)
"""Names of inserted kernels that move data, in onnxruntime and in our int8 kernels."""


@dataclass(frozen=True, slots=True)
class RunKernel:
    """A kernel that ran, and its time.

    Attributes:
        name: Name of the first operator carried out; for an inserted kernel, the runtime's name.
        runs_as: Runtime's name of the work, such as `FusedConv`; for an emulator, the kernel.
        ops: Operators of the network that the kernel carries out, in running order; empty if it
            was inserted. All kernels of one operator share them: a shuffle has three kernels.
        block: Block of the operator (`Op.block`); for an inserted kernel, of the one it serves.
        kind: Kind of the work.
        us: Time in one run of the network, in µs.
    """

    name: str
    runs_as: str
    ops: tuple[str, ...]
    block: str
    kind: RunKind
    us: float


def kernels_run(graph: Graph, nodes: Iterable[NodeTime]) -> tuple[RunKernel, ...]:
    """Map each node of a runtime, with its time, to the operators of the network.

    Args:
        graph: Operators as they were sent to the runtime.
        nodes: Nodes in running order.
    """
    places = {
        name: place for place, op in enumerate(graph.ops) for name in (op.name, op.output.name)
    }
    found = placed(nodes, places)
    named = {graph.ops[at.place].name for at in found if not at.inserted}
    carried = _carried_out(graph, named)
    by_name = {op.name: op for op in graph.ops}
    kernels = []
    for node, place, inserted in found:
        op = graph.ops[place]
        ops = () if inserted else carried.get(op.name, (op.name,))
        kind = kind_of(by_name[ops[0]]) if ops else inserted_kind(node)
        name = ops[0] if ops else node.name
        kernels.append(RunKernel(name, node.operator, ops, op.block, kind, node.us))
    return tuple(kernels)


def inserted_kind(node: NodeTime) -> RunKind:
    """Return the kind of a kernel that the runtime inserted."""
    return "data" if node.operator.startswith(DATA) else "other"


def _carried_out(graph: Graph, named: set[str]) -> Mapping[str, tuple[str, ...]]:
    """Assign the operators without a node to one that a node is named after.

    The operators that are fused differ between processors, and a node of three operators may have
    the name of any. `kernels_of` gives those that can be fused; those without a node were fused.
    """
    carried: dict[str, list[str]] = {}
    bearer: dict[str, str] = {}  # from each value to the operator whose node writes it
    by_name = {op.name: op for op in graph.ops}
    for kernel in kernels_of(graph):
        waiting: list[str] = []
        last = None
        for name in kernel.ops:
            waiting.append(name)
            if name in named:
                carried[name], waiting, last = waiting, [], name
        last = last or bearer.get(kernel.source.name)
        if last is None:
            continue
        carried[last] += waiting
        bearer |= {value.name: last for name in kernel.ops for value in by_name[name].outputs}
    return {name: tuple(ops) for name, ops in carried.items()}


def kind_of(op: Op) -> RunKind:
    """Return the kind of the kernel that begins with `op`."""
    match op.kind:
        case Conv(bias=True, batch_norm=False):  # a gate (`GraphBuilder.gate`)
            return "other"
        case Conv():
            return "depthwise" if is_depthwise(op) else "conv"
        case Activation() | Add() | Multiply() | Norm():
            return "element-wise"
        case Shuffle() | Split() | Concat() | Select() | Shift():
            return "shuffle"
        case MaxPool() | AveragePool() | GlobalAveragePool() | Linear():
            return "other"
        case _:
            assert_never(op.kind)
