"""The same network without shuffles: a rewrite of operators and weights with equal outputs.

Concatenate–shuffle–split moves all c channels of a unit through memory three times. But a shuffle
only renames channels, and which unit will convolve a channel next is known beforehand. So nothing
is moved until it is convolved. Every branch emits its channels sorted by the unit that will read
them; the sorting folds into the last 1×1 convolution. It is cut once into one piece a reader. A
unit's input is the concatenation of its pieces; their order folds into the first 1×1 convolution.
Only c′ channels are cut and c′ joined in each unit, and the channels that pass are not touched.

A residual sum ties the order of a unit's output to that of its input. A unit's input would then be
joined from a hundred pieces, which costs more than the shuffle. Stages with residuals therefore
keep their shuffles. So do graphs that this cannot prove: those with group convolutions, whose
groups tie channels, with norms or with selections. Parts of networks that begin or end with a move
do too.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from nas_sv2.space.graph.cost import is_depthwise
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
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
    Value,
)
from nas_sv2.space.runtimes.weights import NORM_PARTS, Array, Weights, weight_shapes

Channel = tuple[str, int]
"""The name of a computed value, and a channel of it."""


def without_shuffles(graph: Graph, weights: Weights) -> tuple[Graph, dict[str, Array]]:
    """A graph without shuffles but where they must stay, and the weights that keep its outputs."""
    routes = _Routes(graph)
    if any(map(_ties_channels, graph.ops)) or routes.moves_ends(graph):
        return graph, dict(weights)
    rewrite = _Rewrite(routes, dict(weights))
    for op in graph.ops:
        rewrite.append(op)
    return Graph(graph.input, graph.output, tuple(rewrite.ops)), rewrite.weights


def with_shuffles(graph: Graph, weights: Weights) -> dict[str, Array]:
    """Return weights of the network with shuffles, from those that it has without them.

    Args:
        graph: The network with shuffles.
        weights: Weights of the network that `without_shuffles` gives.
    """
    shapes = weight_shapes(graph)
    places: dict[str, Any] = {
        name: np.arange(math.prod(shape)).reshape(shape) for name, shape in shapes.items()
    }
    _, moved = without_shuffles(graph, places)
    found = {}
    for name, shape in shapes.items():
        back = np.empty(math.prod(shape), np.float32)
        back[np.asarray(moved[name]).ravel()] = weights[name].ravel()
        found[name] = back.reshape(shape)
    return found


class _Routes:
    """The routes of all channels, found by following names before anything is rewritten."""

    def __init__(self, graph: Graph) -> None:
        self.origin: dict[str, list[Channel]] = {}  # of every value that is only moved
        self.readers: dict[str, list[tuple[int, ...]]] = {}  # of each channel of a value
        self.reading: dict[str, int] = {}  # moved value -> number of the join that makes it
        self.match: dict[str, str] = {}  # dense output -> value whose order it must have
        self._writer = {value.name: op for op in graph.ops for value in op.outputs}
        made = (value for op in graph.ops for value in op.outputs)
        self._widths = {value.name: value.channels for value in (graph.input, *made)}
        self._residual = {_stage(op) for op in graph.ops if isinstance(op.kind, Add)}
        for op in graph.ops:
            if self.only_moves(op):
                self._follow(op)
            else:
                self._read(op)
        self.sorted = self._sorted_outputs()

    def only_moves(self, op: Op) -> bool:
        """Whether `op` moves channels and is to be rewritten; in residual stages none is."""
        moves = isinstance(op.kind, Split | Concat | Shuffle)
        return moves and _stage(op) not in self._residual

    def moves_ends(self, graph: Graph) -> bool:
        """Whether what enters or leaves the graph is only moved, so that its order is given."""
        first = (op for op in graph.ops if graph.input in op.inputs)
        return graph.output.name in self.origin or any(map(self.only_moves, first))

    def _follow(self, op: Op) -> None:
        channels = [c for value in op.inputs for c in self._channels(value)]
        if isinstance(op.kind, Shuffle):
            order = np.arange(len(channels)).reshape(op.kind.groups, -1).T.ravel()
            channels = [channels[index] for index in order.tolist()]
        start = 0
        for value in op.outputs:
            self.origin[value.name] = channels[start : start + value.channels]
            start += value.channels

    def _read(self, op: Op) -> None:
        for value in op.inputs:
            if value.name in self.origin and value.name not in self.reading:
                self.reading[value.name] = number = len(self.reading)
                for name, channel in self.origin[value.name]:
                    if name not in self.readers:
                        self.readers[name] = [()] * self._widths[name]
                    self.readers[name][channel] += (number,)
        if isinstance(op.kind, Multiply):
            self.match[self._dense_before(op.inputs[1]).output.name] = op.source.name

    def _channels(self, value: Value) -> list[Channel]:
        return self.origin.get(value.name) or [(value.name, i) for i in range(value.channels)]

    def _dense_before(self, value: Value) -> Op:
        """The convolution that decides the order of `value`."""
        op = self._writer[value.name]
        while isinstance(op.kind, Activation | MaxPool | AveragePool | Shift | Multiply):
            op = self._writer[op.source.name]
        return op

    def _sorted_outputs(self) -> dict[str, list[int]]:
        """The channels of every dense convolution whose order is free, by their readers."""
        found = {}
        for name, readers in self.readers.items():
            if name not in self._writer:  # the input of the graph
                continue
            decides = self._dense_before(self._writer[name].output)
            if isinstance(decides.kind, Conv) and not is_depthwise(decides):
                found[decides.output.name] = sorted(range(len(readers)), key=readers.__getitem__)
        return found


def _ties_channels(op: Op) -> bool:
    grouped = isinstance(op.kind, Conv) and op.kind.groups > 1 and not is_depthwise(op)
    return grouped or isinstance(op.kind, Norm | Select)


def _stage(op: Op) -> str:
    return op.block.partition(".")[0]


@dataclass(slots=True)
class _Rewrite:
    routes: _Routes
    weights: dict[str, Array]
    ops: list[Op] = field(default_factory=list)
    order: dict[str, list[int]] = field(default_factory=dict)
    """What each place of a value holds: a channel of the value of that name in the old graph."""
    pieces: dict[int, list[tuple[Value, list[Channel]]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def append(self, op: Op) -> None:
        """Rewrite one operator; the joins that it needs come before it, the cut after it."""
        if self.routes.only_moves(op):
            return
        inputs = tuple(self._joined(value) for value in op.inputs)
        self.ops.append(Op(op.name, op.kind, inputs, op.outputs))
        self._reorder(op)
        self._cut(op.output)

    def _joined(self, value: Value) -> Value:
        """`value`, or where it was only moved, the concatenation of its pieces."""
        if value.name not in self.routes.origin:
            return value
        pieces = self.pieces[self.routes.reading[value.name]]
        sources = tuple(piece for piece, _ in pieces)
        if value.name not in self.order:
            place = {channel: i for i, channel in enumerate(self.routes.origin[value.name])}
            self.order[value.name] = [place[c] for _, channels in pieces for c in channels]
            if len(sources) > 1:
                self.ops.append(Op(f"{value.name}.join", Concat(), sources, (value,)))
        return value if len(sources) > 1 else sources[0]

    def _reorder(self, op: Op) -> None:
        """Fold the order of the input into the weights, and choose the order of the output."""
        entering = self.order.get(op.source.name)
        leaving = entering
        if isinstance(op.kind, Linear):
            self._permute(f"{op.name}.weight", entering, axis=1)
            leaving = None
        elif isinstance(op.kind, Conv):
            if not is_depthwise(op):
                self._permute(f"{op.name}.conv.weight", entering, axis=1)
                name = op.output.name
                matched = self.routes.match.get(name)
                leaving = self.order.get(matched) if matched else self.routes.sorted.get(name)
            for part in ("conv.weight", "conv.bias", *(f"norm.{part}" for part in NORM_PARTS)):
                self._permute(f"{op.name}.{part}", leaving, axis=0)
        if leaving is not None:
            self.order[op.output.name] = leaving

    def _permute(self, name: str, order: list[int] | None, axis: int) -> None:
        if order is not None and name in self.weights:
            self.weights[name] = np.take(self.weights[name], order, axis)

    def _cut(self, value: Value) -> None:
        """Cut `value` into runs of channels with the same readers."""
        if value.name not in self.routes.readers:
            return
        order = self.order.get(value.name, range(value.channels))
        runs = [
            (readers, [(value.name, index) for index in run])
            for readers, run in groupby(order, self.routes.readers[value.name].__getitem__)
        ]
        if len(runs) == 1:
            parts: tuple[Value, ...] = (value,)
        else:
            name = f"{value.name}.cut"
            sizes = tuple(len(run) for _, run in runs)
            parts = tuple(
                Value(f"{name}:{index}", size, value.height, value.width)
                for index, size in enumerate(sizes)
            )
            self.ops.append(Op(name, Split(sizes), (value,), parts))
        for part, (readers, run) in zip(parts, runs, strict=True):
            for reader in readers:
                self.pieces[reader].append((part, run))
