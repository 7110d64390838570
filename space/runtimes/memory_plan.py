"""The memory that a runtime sets aside for the activations of a network: its planner, repeated.

A planner gives every value a place in one block, so that values alive together do not overlap.
Two runtimes are known; both planners are repeated from their sources, for float32 and one image.

- *LiteRT* with its own kernels sorts values by size, the greatest first. Each gets the smallest
  gap that holds it (Pisarchyk and Lee 2020; `tensorflow/lite/arena_planner.cc`). Sums and products
  write over an input that nothing else reads. A convolution of kernel above 1 or stride above 1
  also holds its unrolled input (`im2col`). XNNPACK, which LiteRT mostly computes with, has a block
  of its own instead, which is not known.
- *onnxruntime* goes by the order in which nodes run. A value takes the buffer of a dead one of its
  shape, else a new one, in the smallest gap of that moment (`allocation_planner.cc`,
  `mem_pattern_planner.h`). The caller holds input and output. On x86 it may convert maps to blocks
  of 8 or 16 channels, which takes up to 1.9 times as much.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nas_sv2.space.graph.cost import BYTES_PER_NUMBER, is_depthwise
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Conv,
    Graph,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Shift,
    Shuffle,
    Split,
    Value,
)
from nas_sv2.space.graph.peak_memory import PeakMemory, peak_memory_of
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.tflite_lowering import ends_of, is_same

ALIGNMENT = 64
"""Bytes that both runtimes align a value to."""
PLANNED = ("onnxruntime", "litert")
"""The runtimes whose planner is known."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A node as a planner sees it.

    Attributes:
        reads: Names of the values that it reads.
        writes: Bytes of the values that it writes, by name.
        op: Its operator.
        made: When onnxruntime made it of others; -1 if it is as written.
        share: When LiteRT gives its output the memory of an input: never, of one that is unread
            afterwards, or always.
    """

    reads: tuple[str, ...]
    writes: Mapping[str, int]
    op: Op
    made: int = -1
    share: Literal["never", "unread", "always"] = "never"


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in a block: its first and last node, and the bytes that it takes."""

    name: str
    size: int
    first: int
    last: int


def memory_in(graph: Graph, runtime: str) -> PeakMemory:
    """The memory that `runtime` sets aside for one image through `graph`, in float32.

    The graph is taken as it ships, without shuffles. For a runtime that is not in `PLANNED` it is
    the least that a run needs (`peak_memory_of`).
    """
    free = without_shuffles(graph, {})[0]
    least = peak_memory_of(free)
    if runtime == "litert":
        return replace(least, activation_bytes=_litert_arena(free))
    if runtime == "onnxruntime":
        ends = BYTES_PER_NUMBER * (free.input.elements + free.output.elements)
        return replace(least, activation_bytes=ends + onnxruntime_block(free))
    return least


def _bytes(value: Value) -> int:
    return BYTES_PER_NUMBER * value.elements


def _litert_arena(graph: Graph) -> int:
    """Bytes of LiteRT's arena; input and output are in it from the first node to the last."""
    nodes = list(_litert_nodes(graph))
    readers = Counter(name for node in nodes for name in node.reads)
    sizes = {graph.input.name: _bytes(graph.input)}
    buffer_of = {graph.input.name: graph.input.name}
    first, last = {graph.input.name: 0}, {graph.input.name: len(nodes)}
    for number, node in enumerate(nodes):
        sizes |= node.writes
        shared = _shared(node, graph, sizes, readers, buffer_of)
        for name in node.writes:
            buffer_of[name] = name if shared is None else buffer_of[shared]
            first.setdefault(buffer_of[name], number)
        used = (buffer_of[name] for name in (*node.reads, *node.writes))
        last |= {name: max(number, last.get(name, 0)) for name in used}
    last[buffer_of[graph.output.name]] = len(nodes)
    return _by_size([_Place(name, sizes[name], first[name], last[name]) for name in first])


def _shared(
    node: _Node,
    graph: Graph,
    sizes: Mapping[str, int],
    readers: Mapping[str, int],
    buffer_of: Mapping[str, str],
) -> str | None:
    """The value whose memory an output takes over in LiteRT (`IdentifyInPlaceTensors`)."""
    output = next(iter(node.writes))
    if node.share == "never" or output == graph.output.name:
        return None
    for name in node.reads:
        unread = readers[name] == readers[buffer_of[name]] == 1 and sizes[name] == sizes[output]
        if name != graph.input.name and (node.share == "always" or unread):
            return name
    return None


def _by_size(places: Sequence[_Place]) -> int:
    """Place values, the greatest first, each into the smallest gap; return the bytes in all.

    The first of them, the input, comes first: it is there from the first node to the last.
    """
    placed: list[tuple[int, _Place]] = []
    end = 0
    ordered = sorted(places[1:], key=lambda each: (-each.size, each.first))
    for place in (places[0], *ordered):
        beside = [
            (offset, other.size)
            for offset, other in placed
            if other.first <= place.last and place.first <= other.last
        ]
        offset = _gap(beside, place.size, None)
        placed.append((offset, place))
        end = max(end, offset + place.size)
    return end


def _gap(taken: Iterable[tuple[int, int]], size: int, end: int | None) -> int:
    """The offset of the smallest gap between taken bytes that holds `size`, else behind them.

    Args:
        taken: Offsets and sizes.
        size: Bytes to place.
        end: End of the block so far, which closes a last gap; None if it is open.
    """
    found, waste, current = None, 0, 0
    ends = [] if end is None else [(end, 0)]
    for offset, held in [*sorted(taken), *ends]:
        start = -(-current // ALIGNMENT) * ALIGNMENT
        if start + size <= offset and (found is None or offset - start < waste):
            found, waste = start, offset - start
        if held or end is None:
            current = max(current, offset + held)
    return -(-current // ALIGNMENT) * ALIGNMENT if found is None else found


def _litert_nodes(graph: Graph) -> Iterator[_Node]:
    """The operators of `build_tflite`, and the values that each holds within."""
    ends = ends_of(graph)
    inside = {op.name for op in ends.values()}
    for op in graph.ops:
        if op.name not in inside:
            last = ends.get(op.name, op)
            yield from _litert_op(op, {value.name: _bytes(value) for value in last.outputs})


def _litert_op(op: Op, writes: dict[str, int]) -> Iterator[_Node]:
    """The nodes of one operator; names with a point are values within it."""
    kind, value, reads = op.kind, op.source, tuple(each.name for each in op.inputs)
    match kind:
        case Conv() | MaxPool() | AveragePool():
            padding = kind.padding if isinstance(kind, Conv | AveragePool) else kind.kernel // 2
            if padding and not is_same(op, kind.kernel, kind.stride, padding):
                padded = (value.height + 2 * padding) * (value.width + 2 * padding)
                held = {f"{op.name}.padded": BYTES_PER_NUMBER * value.channels * padded}
                yield _Node(reads, held, op)
                reads = tuple(held)
            yield _Node(reads, writes | _unrolled(op, kind), op)
        case Norm():
            yield _Node(reads, {f"{op.name}.scaled": _bytes(value)}, op, share="unread")
            yield _Node((f"{op.name}.scaled",), writes, op, share="unread")
        case Shift():
            wider = BYTES_PER_NUMBER * value.channels * (value.height + 1) * (value.width + 1)
            yield _Node(reads, {f"{op.name}.wider": wider}, op)
            yield _Node((f"{op.name}.wider",), writes, op)
        case Shuffle():
            grouped, swapped = f"{op.name}.grouped", f"{op.name}.swapped"
            yield _Node(reads, {grouped: _bytes(value)}, op, share="always")
            yield _Node((grouped,), {swapped: _bytes(value)}, op)
            yield _Node((swapped,), writes, op, share="always")
        case Split():
            for name, size in writes.items():
                yield _Node(reads, {name: size}, op)
        case Add() | Multiply():
            yield _Node(reads, writes, op, share="unread")
        case _:
            yield _Node(reads, writes, op)


def _unrolled(op: Op, kind: Conv | MaxPool | AveragePool) -> dict[str, int]:
    """The unrolled input that a dense convolution holds while it runs."""
    if not isinstance(kind, Conv) or is_depthwise(op) or (kind.kernel, kind.stride) == (1, 1):
        return {}
    window = kind.kernel**2 * op.source.channels // kind.groups
    return {f"{op.name}.im2col": BYTES_PER_NUMBER * op.output.area * window}


def onnxruntime_block(graph: Graph) -> int:
    """Bytes of the block that onnxruntime plans, without input and output."""
    taken, end = dict[str, tuple[int, int]](), 0
    nodes = _onnx_nodes(graph)
    buffers = _Buffers(graph, nodes).taken()
    for number in range(len(nodes)):
        for each in buffers:
            if each.first == number:
                offset = _gap(taken.values(), each.size, end)
                taken[each.name] = offset, each.size
                end = max(end, offset + each.size)
        for each in buffers:
            if each.last == number:
                del taken[each.name]
    return end


def _onnx_nodes(graph: Graph) -> list[_Node]:
    """The nodes that onnxruntime runs, in their order.

    An activation is part of the convolution before it. Such a node is newer than all others, and
    they are made in the order of the graph as written.
    """
    readers = Counter(value.name for op in graph.ops for value in op.inputs)
    written = [
        _Node(
            tuple(value.name for value in op.inputs),
            {value.name: _bytes(value) for value in op.outputs},
            op,
        )
        for op in graph.ops
    ]
    made = {node.op.name: place for place, node in enumerate(_in_order(written))}
    nodes: dict[str, _Node] = {}  # by the first value that each writes
    for node in written:
        op, source = node.op, node.op.source.name
        before = nodes.get(source) if isinstance(op.kind, Activation) else None
        if before is not None and isinstance(before.op.kind, Conv) and readers[source] == 1:
            del nodes[source]
            nodes[op.output.name] = replace(before, writes=node.writes, made=made[before.op.name])
        else:
            nodes[op.output.name] = node
    return _in_order(list(nodes.values()))


def _in_order(nodes: Sequence[_Node]) -> list[_Node]:
    """The order in which onnxruntime runs nodes: backwards from the last, the newest input first.

    `GraphViewer` takes it from `Graph::ReverseDFSFrom`.
    """
    makers = {name: number for number, node in enumerate(nodes) for name in node.writes}
    stack, seen, order = [(len(nodes) - 1, False)], set[int](), list[_Node]()
    while stack:
        number, done = stack.pop()
        if done:
            order.append(nodes[number])
        if done or number in seen:
            continue
        seen.add(number)
        stack.append((number, True))
        inputs = {makers[name] for name in nodes[number].reads if name in makers} - seen
        newest_last = sorted(inputs, key=lambda each: (nodes[each].made, each))
        stack += [(each, False) for each in newest_last]
    return order


class _Buffers:
    """Gives every value a buffer, as onnxruntime's `PlannerImpl` does."""

    def __init__(self, graph: Graph, nodes: Sequence[_Node]) -> None:
        self.nodes = nodes
        self.held = {graph.input.name, graph.output.name}
        self.uses = Counter(name for node in nodes for name in node.reads)
        self.shapes = {
            # A shuffle is a reshape, a transpose and a reshape; the buffer is the transpose's.
            value.name: (value.channels, value.area, value.height, isinstance(op.kind, Shuffle))
            for op in graph.ops
            for value in op.outputs
        }
        self.buffer_of: dict[str, str] = {}
        self.dead: list[str] = []
        self.places: dict[str, _Place] = {}

    def taken(self) -> list[_Place]:
        """The buffers in the order in which they are taken."""
        for number, node in enumerate(self.nodes):
            for name, size in node.writes.items():
                if name not in self.held:
                    self._give(node, name, size, number)
            reads, writes = (
                [self.buffer_of[name] for name in names if name in self.buffer_of]
                for names in (node.reads, node.writes)
            )
            self.uses.subtract(reads)
            for buffer in dict.fromkeys([*reads, *writes]):
                if not self.uses[buffer] and buffer not in self.dead:
                    self.dead.insert(0, buffer)
                    self.places[buffer] = replace(self.places[buffer], last=number)
        return list(self.places.values())

    def _give(self, node: _Node, name: str, size: int, number: int) -> None:
        """Give a value the buffer that it is computed in, a dead one of its shape, or a new one.

        Sums and products are not computed in place, activations are.
        """
        source = self.buffer_of.get(node.reads[0])
        in_place = isinstance(node.op.kind, Activation) and source and self.uses[source] == 1
        dead = (each for each in self.dead if self.shapes[each] == self.shapes[name])
        buffer = source if in_place else next(dead, None)
        if buffer is None:
            whole = -(-size // ALIGNMENT) * ALIGNMENT
            self.places[name] = _Place(name, whole, number, number)
        else:
            self.dead = [each for each in self.dead if each != buffer]
            self.uses[buffer] += self.uses[name]
        self.buffer_of[name] = buffer or name
