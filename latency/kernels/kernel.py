"""A kernel: the operators that a runtime launches at once."""

import re
from dataclasses import dataclass
from typing import Literal, assert_never

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
    Value,
)

ArmPrecision = Literal["fp32", "int8", "fp16"]
"""Precisions whose kernels are known; fp16 is known in ncnn alone."""
ArmRuntime = Literal["onnxruntime", "litert", "ncnn"]
"""Runtimes whose kernels are known; those of LiteRT in float32 alone."""


WINDOW = re.compile(r"(\d+)x\d+ s(\d)( unpadded)?")
"""The window in a kind's name: its side, its stride and whether it has no padding."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch of a runtime.

    Attributes:
        ops: Names of the operators covered, in running order.
        kind: Kind of work, as latency tables name it: `pointwise`, `depthwise 3x3 s2`.
        source: First map that the kernel reads.
        channels_in: Channels of that map; for a concat, of all maps.
        channels_out: Channels of all outputs together.
        parts: Number of maps that a split writes or a concat reads; else 1.
        fused: Operations on the result before it is written: `add`, `relu`, `relu6`, `sigmoid`.
    """

    ops: tuple[str, ...]
    kind: str
    source: Value
    channels_in: int
    channels_out: int
    parts: int = 1
    fused: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Kind and map read, such as `pointwise @28` or `pointwise @28x14`."""
        height, width = self.source.height, self.source.width
        return f"{self.kind} @{height}" + (f"x{width}" if width != height else "")

    @property
    def written(self) -> tuple[int, int]:
        """Height and width of the map that a window of this kind writes; else of the map read.

        A global pool and a classifier, which have no window, count by the map that they read.
        """
        window = WINDOW.search(self.kind)
        if window is None:
            return self.source.height, self.source.width
        side, stride = int(window[1]), int(window[2])
        around = (side - 1) // 2 * 2 if self.kind.startswith("average") else side // 2 * 2
        less = side if window[3] else side - around
        return (self.source.height - less) // stride + 1, (self.source.width - less) // stride + 1

    @property
    def shape(self) -> str:
        """Readable text of the kernel: `pointwise @28, 58 → 116 channels, with relu`."""
        fused = f", with {' and '.join(self.fused)}" if self.fused else ""
        return f"{self.key}, {self.channels_in} → {self.channels_out} channels{fused}"


def live_ops(graph: Graph) -> list[Op]:
    """Return the operators that the output depends on, in running order."""
    needed, live = {graph.output.name}, []
    for op in reversed(graph.ops):
        if any(value.name in needed for value in op.outputs):
            needed.update(value.name for value in op.inputs)
            live.append(op)
    return live[::-1]


def plain_kernel(op: Op) -> Kernel:
    """Return the kernel of `op` alone."""
    return Kernel(
        ops=(op.name,),
        kind=_kind(op),
        source=op.source,
        channels_in=(
            sum(value.channels for value in op.inputs)
            if isinstance(op.kind, Concat)
            else op.source.channels
        ),
        channels_out=sum(value.channels for value in op.outputs),
        parts=(len(op.inputs) if isinstance(op.kind, Concat) else len(op.outputs)),
    )


_NAMES = {
    GlobalAveragePool: "average pool",
    Norm: "norm",
    Shift: "shift",
    Select: "select",
    Split: "split",
    Concat: "concat",
    Add: "add",
    Multiply: "multiply",
    Linear: "linear",
}
"""Kinds of work that no parameter divides."""


def _kind(op: Op) -> str:
    match op.kind:
        case Conv():
            return _conv_kind(op, op.kind)
        case Activation(function=function):
            return function
        case MaxPool(kernel=side, stride=stride):
            return f"max pool {side}x{side} s{stride}"
        case AveragePool(kernel=side, stride=stride):
            return f"average pool {side}x{side} s{stride}"
        case Shuffle(groups=groups):
            return "shuffle g2" if groups == 2 else "shuffle"
        case GlobalAveragePool() | Norm() | Linear() | Add() | Multiply():
            return _NAMES[type(op.kind)]
        case Shift() | Select() | Split() | Concat():
            return _NAMES[type(op.kind)]
        case _:
            assert_never(op.kind)


def _conv_kind(op: Op, conv: Conv) -> str:
    if conv.kernel == conv.stride == conv.groups == 1:
        return "pointwise"
    side, groups = conv.kernel, conv.groups
    grouped = "depthwise" if is_depthwise(op) else f"conv g{groups}"
    name = "conv" if groups == 1 else grouped
    unpadded = "" if conv.padding == side // 2 else " unpadded"
    # A depthwise kernel that multiplies channels runs other code, which no table has.
    multiplied = (
        " multiplied" if is_depthwise(op) and op.output.channels != op.source.channels else ""
    )
    return f"{name} {side}x{side} s{conv.stride}{unpadded}{multiplied}"
