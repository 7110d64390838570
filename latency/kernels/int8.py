"""The kernels of a quantised graph (`quantization`), as onnxruntime's CPU provider runs it.

int8 convolutions and pools read and write maps pixel by pixel (NHWC, here *pixels*). The model
keeps maps plane by plane (NCHW, here *planes*). onnxruntime inserts a transpose between the two
layouts, and moves and merges the transposes:

- Splits, concats and sums work on the layout that they read. A concat or sum that reads both
  works on planes.
- A scaling by gates, and the sigmoid before it, works on pixels if a convolution follows, and on
  planes if a shuffle follows.
- A shuffle reads either layout and writes planes. A network with shuffles is thus transposed in
  every unit, and one without (`without_shuffles`) only once, at its start.
- A ReLU that alone reads a convolution or sum disappears into its scales. A sigmoid becomes a
  look-up.

A depthwise convolution whose channels are not a multiple of 8 runs a slower kernel: `ragged`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from nas_sv2.latency.kernels.kernel import Kernel, live_ops, plain_kernel
from nas_sv2.space.graph.cost import is_depthwise
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    Concat,
    Conv,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Op,
    Shuffle,
    Split,
    Value,
)

DEPTHWISE_LANES = 8  # channels whose weights onnxruntime packs; a remainder runs other code
PLANES = " planes"
LAYOUT = ("to pixels", "to planes")
ONE_CHANNEL = " of one channel"  # moves no data


def int8_kernels_of(graph: Graph) -> tuple[Kernel, ...]:
    """Return the kernels of `graph`, quantised; each follows the kernels that it reads."""
    return tuple(_Layouts(graph).kernels())


@dataclass
class _Layouts:
    """Follows the layout of every value through the graph."""

    graph: Graph
    pixels: set[str] = field(default_factory=set)
    planes: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)
    """Values that a convolution or max pool reads, possibly after moves and scaling."""

    def kernels(self) -> Iterator[Kernel]:
        ops = live_ops(self.graph)
        for op in reversed(ops):
            passes = isinstance(op.kind, Split | Concat | Add | Multiply | Activation)
            if isinstance(op.kind, Conv | MaxPool) or (
                passes and any(value.name in self.wanted for value in op.outputs)
            ):
                self.wanted.update(value.name for value in op.inputs)
        reads = Counter(value.name for op in ops for value in op.inputs)
        yield self._layout_kernel("quantize", self.graph.input)
        self.planes.add(self.graph.input.name)
        for op in ops:
            if self._vanishes(op, reads):
                self._same_layout(op)
            else:
                yield from self._kernels(op)
        yield from self._as_planes(self.graph.output)
        yield self._layout_kernel("dequantize", self.graph.output)

    def _vanishes(self, op: Op, reads: Counter[str]) -> bool:
        return op.kind == Activation("relu") and reads[op.source.name] == 1

    def _kernels(self, op: Op) -> Iterator[Kernel]:
        match op.kind:
            case Conv() | MaxPool():
                yield from self._as_pixels(op.source)
                yield _ragged(op)
                self.pixels.add(op.output.name)
            case Multiply() | Activation(function="sigmoid"):
                planes = op.output.name not in self.wanted
                for value in op.inputs:
                    yield from self._as_planes(value) if planes else self._as_pixels(value)
                yield _named(op, planes)
                (self.planes if planes else self.pixels).add(op.output.name)
            case Split():
                planes = op.source.name not in self.pixels
                yield _named(op, planes)
                names = {value.name for value in op.outputs}
                (self.planes if planes else self.pixels).update(names)
            case Concat() | Add():
                planes = any(value.name not in self.pixels for value in op.inputs)
                if planes:
                    for value in op.inputs:
                        yield from self._as_planes(value)
                yield _named(op, planes and isinstance(op.kind, Concat))
                (self.planes if planes else self.pixels).add(op.output.name)
            case Shuffle():
                yield _named(op, op.source.name not in self.pixels)
                self.planes.add(op.output.name)
            case Linear():
                yield from self._as_planes(op.source)
                yield plain_kernel(op)
                self.planes.add(op.output.name)
            case _:
                yield _named(op, op.source.name not in self.pixels)
                self._same_layout(op)

    def _same_layout(self, op: Op) -> None:
        for names in (self.pixels, self.planes):
            if op.source.name in names:
                names.add(op.output.name)

    def _as_pixels(self, value: Value) -> Iterator[Kernel]:
        if value.name not in self.pixels:
            self.pixels.add(value.name)
            yield self._layout_kernel("to pixels", value)

    def _as_planes(self, value: Value) -> Iterator[Kernel]:
        if value.name not in self.planes:
            self.planes.add(value.name)
            yield self._layout_kernel("to planes", value)

    def _layout_kernel(self, kind: str, value: Value) -> Kernel:
        name = f"{value.name} {kind}"
        if kind in LAYOUT and value.channels == 1:
            kind += ONE_CHANNEL
        return Kernel((name,), kind, value, value.channels, value.channels)


def _named(op: Op, planes: bool) -> Kernel:
    kernel = plain_kernel(op)
    return replace(kernel, kind=kernel.kind + PLANES) if planes else kernel


def _ragged(op: Op) -> Kernel:
    kernel = plain_kernel(op)
    if is_depthwise(op) and op.source.channels % DEPTHWISE_LANES:
        return replace(kernel, kind=f"{kernel.kind} ragged")
    return kernel
