"""A graph as onnxruntime's CPU provider runs it in float32: which operators melt into one kernel.

The aarch64 build keeps plain NCHW (no NCHWc reorders were seen) and fuses, at load,

- a convolution with the ReLU, ReLU6 or sigmoid that alone reads it; with ReLU6 it is a kind of its
  own, `clipped`, since that runs other code;
- a convolution, the sum that alone reads it and the ReLU that alone reads the sum; without a ReLU
  it is a kind of its own too, `summed`.

An operator whose outputs nobody reads is dropped. A channel shuffle runs as reshape, transpose,
reshape, a classifier as flatten and matrix product; each counts as one kernel here. A shuffle
costs the same in any number of groups, within 2 %; that in two is apart. Calibration
(`arm_samples`) stops where onnxruntime runs anything else.

In int8 the same graph runs otherwise: `int8_kernels`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from nas_sv2.latency.emulated.arm_cores import ArmPrecision
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

APART: Mapping[tuple[str, ...], str] = {("relu6",): " clipped", ("add",): " summed"}
"""What is fused to convolutions that are kinds of their own."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What is launched at once.

    Attributes:
        ops: Names of the operators it covers, in running order.
        kind: What it does, in the words of the latency table: `pointwise`, `depthwise 3x3 s2`.
        source: The map it reads, the first of them.
        channels_in: Channels of that map; of all maps for a concat.
        channels_out: Channels written, all outputs together.
        parts: How many maps a split writes or a concat reads; else 1.
        fused: What is done to the result before it is written: `add`, `relu`, `relu6`,
            `sigmoid`.
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
        """Kind and map read, as `pointwise @28` or `pointwise @28x14`."""
        height, width = self.source.height, self.source.width
        return f"{self.kind} @{height}" + (f"x{width}" if width != height else "")

    @property
    def shape(self) -> str:
        """The kernel for a person: `pointwise @28, 58 → 116 channels, with relu`."""
        fused = f", with {' and '.join(self.fused)}" if self.fused else ""
        return f"{self.key}, {self.channels_in} → {self.channels_out} channels{fused}"


def kernels_of(graph: Graph, precision: ArmPrecision = "fp32") -> tuple[Kernel, ...]:
    """The kernels of `graph`, in running order."""
    if precision == "int8":
        from nas_sv2.latency.kernels.int8_kernels import int8_kernels_of

        return int8_kernels_of(graph)
    return tuple(_fuse(live_ops(graph)))


def live_ops(graph: Graph) -> list[Op]:
    """The operators that the output depends on, in running order."""
    needed, live = {graph.output.name}, []
    for op in reversed(graph.ops):
        if any(value.name in needed for value in op.outputs):
            needed.update(value.name for value in op.inputs)
            live.append(op)
    return live[::-1]


def _fuse(ops: Sequence[Op]) -> Iterator[Kernel]:
    reads = Counter(value.name for op in ops for value in op.inputs)
    reader = {value.name: op for op in ops for value in op.inputs}

    def only_reader(op: Op) -> Op | None:
        return reader[op.output.name] if reads[op.output.name] == 1 else None

    melted: dict[str, Kernel] = {}  # by the name of the last operator melted in
    inside: set[str] = set()
    for op in ops:
        if not isinstance(op.kind, Conv) or op.name in inside:
            continue
        follower = only_reader(op)
        tail: tuple[Op, ...] = ()
        if follower and isinstance(follower.kind, Activation):
            tail = (follower,)
        elif follower and isinstance(follower.kind, Add) and follower.name not in inside:
            last = only_reader(follower)
            tail = (follower,)
            if last and last.kind == Activation("relu"):
                tail = (follower, last)
        inside.update(part.name for part in tail)
        alone, fused = plain_kernel(op), tuple(_fused_name(part) for part in tail)
        melted[(tail[-1] if tail else op).name] = replace(
            alone,
            ops=(op.name, *(part.name for part in tail)),
            kind=alone.kind + APART.get(fused, ""),
            fused=fused,
        )
    for op in ops:
        if op.name in melted:
            yield melted[op.name]
        elif op.name not in inside and not isinstance(op.kind, Conv):
            yield plain_kernel(op)


def _fused_name(op: Op) -> str:
    return op.kind.function if isinstance(op.kind, Activation) else "add"


def plain_kernel(op: Op) -> Kernel:
    """`op` on its own."""
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


def _kind(op: Op) -> str:
    match op.kind:
        case Conv(kernel=1, stride=1, groups=1):
            return "pointwise"
        case Conv(kernel=side, stride=stride, groups=groups):
            groups_text = "depthwise" if is_depthwise(op) else f"conv g{groups}"
            if groups == 1:
                groups_text = "conv"
            unpadded = "" if op.kind.padding == side // 2 else " unpadded"
            return f"{groups_text} {side}x{side} s{stride}{unpadded}"
        case Activation(function=function):
            return function
        case MaxPool(kernel=side, stride=stride):
            return f"max pool {side}x{side} s{stride}"
        case AveragePool(kernel=side, stride=stride):
            return f"average pool {side}x{side} s{stride}"
        case GlobalAveragePool():
            return "average pool"
        case Norm():
            return "norm"
        case Shift():
            return "shift"
        case Select():
            return "select"
        case Split():
            return "split"
        case Concat():
            return "concat"
        case Shuffle(groups=groups):
            return "shuffle g2" if groups == 2 else "shuffle"
        case Add():
            return "add"
        case Multiply():
            return "multiply"
        case Linear():
            return "linear"
        case _:
            assert_never(op.kind)
