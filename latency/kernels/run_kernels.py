"""What a runtime ran of a network, kernel by kernel: kinds, blocks, and what melted into what.

A kernel is what the runtime ran at once. A convolution with the activation and the sum that the
runtime melted into it is one kernel and counts as a convolution; the operators inside are named.
Kinds are the five of the paper's figure 2, with depthwise convolutions apart from the others:

- `conv`: convolutions, dense, grouped and 1×1, with what is melted into them;
- `depthwise`: the same with one group a channel. The paper counts them as convolutions here and
  as element-wise in G4; apart, both can be read off;
- `element-wise`: activations, sums, products, norms that stand alone;
- `shuffle`: what the network moves without computing: shuffles, splits, concats, selections;
- `data`: what the runtime inserted to change layouts or types: reorders, transposes, copies,
  quantisation;
- `other`: pools, the classifier, the two small convolutions of squeeze-and-excitation, and what
  the runtime inserted for reasons that we do not know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, assert_never, get_args

from nas_sv2.latency.kernels.int8 import LAYOUT
from nas_sv2.latency.kernels.node_places import placed
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.latency.measurements.node_time import NodeTime
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

RunKind = Literal["conv", "depthwise", "element-wise", "shuffle", "data", "other"]
RUN_KINDS: Final[tuple[RunKind, ...]] = get_args(RunKind)
DATA: Final = (
    *("Reorder", "Transpose", "QuantizeLinear", "DequantizeLinear", "Memcpy", "Cast"),
    *("quantize", "dequantize", *LAYOUT),
)
"""What an inserted kernel is called that moves data: by onnxruntime, and by `int8_kernels`."""


@dataclass(frozen=True, slots=True)
class RunKernel:
    """What ran at once.

    Attributes:
        name: Of the first operator that it carries out; of what the runtime inserted, its name.
        runs_as: The runtime's name for what it does, `FusedConv`; of an emulator, the kernel.
        ops: Operators of the network that it carries out, in running order. Empty where it was
            inserted; the same for all kernels of one operator, as a shuffle has three.
        block: Where it belongs (`Op.block`); of what was inserted, whom it serves.
        kind: Of the work.
        us: Its time for one run of the network, in µs.
    """

    name: str
    runs_as: str
    ops: tuple[str, ...]
    block: str
    kind: RunKind
    us: float


def kernels_run(graph: Graph, nodes: Iterable[NodeTime]) -> tuple[RunKernel, ...]:
    """What the nodes of a runtime are in the network; every node is in it, with its time.

    Args:
        graph: The operators as they were sent.
        nodes: In the order in which they ran.
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
        kind = kind_of(by_name[ops[0]]) if ops else _inserted_kind(node)
        name = ops[0] if ops else node.name
        kernels.append(RunKernel(name, node.operator, ops, op.block, kind, node.us))
    return tuple(kernels)


def _inserted_kind(node: NodeTime) -> RunKind:
    return "data" if node.operator.startswith(DATA) else "other"


def _carried_out(graph: Graph, named: set[str]) -> Mapping[str, tuple[str, ...]]:
    """By each operator that a node is named after: it and those that have no node of their own.

    Which operators melt together differs from processor to processor, and a node that does three
    may have the name of any. What may melt is known (`kernels_of`), what did is what has no node.
    """
    carried: dict[str, list[str]] = {}
    bearer: dict[str, str] = {}  # of each value: the operator whose node writes it
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
    """The kind of the kernel that begins with `op`."""
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
