"""The kernels of a network in float32 or fp16 as ncnn executes its layers.

A kernel is a layer of the `.param`. ncnn keeps four channels of a map together (`pack4`) if their
number is a multiple of 4. In fp16 it keeps eight together (`pack8`) if it is one of 8. Otherwise
it keeps single channels (`pack1`). Each layout has code of its own, and so has each change of
layout, as `pack1to4`. Therefore the layout is part of a kernel's kind. These are ncnn's own names.

An activation behind a layer with weights is part of it, and `fused`. Most layers apply it in a
pass of its own. A convolution of a vector, as in squeeze-and-excitation, is a fully connected
layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel, plain_kernel
from nas_sv2.space.graph.operators import (
    Activation,
    Concat,
    Conv,
    Graph,
    Linear,
    Op,
    Shuffle,
    Split,
    Value,
)
from nas_sv2.space.runtimes.ncnn_lowering import ends_of, vectors_of

PACKS: Mapping[ArmPrecision, tuple[int, ...]] = {"fp32": (4,), "fp16": (8, 4)}
"""Channels that ncnn keeps together on ARM; the first that divides their number counts."""
DIRECT_BELOW = 16
"""In fp16 a window's convolution to single channels is direct if it reads and writes fewer."""


def ncnn_kernels_of(graph: Graph, precision: ArmPrecision = "fp32") -> tuple[Kernel, ...]:
    """Return the kernels of `graph` in float32 or fp16, in running order."""
    return tuple(_kernels(graph, precision))


def _kernels(graph: Graph, precision: ArmPrecision) -> Iterator[Kernel]:
    ends, vectors, packs = ends_of(graph), vectors_of(graph), PACKS[precision]
    inside = {op.name for op in ends.values()}
    for op in graph.ops:
        if op.name in inside:
            continue
        kernel = plain_kernel(op)
        is_product = isinstance(op.kind, Conv) and op.source.name in vectors
        kind = "linear" if is_product else kernel.kind
        kernel = replace(kernel, kind=f"{kind} {_layout(op, packs)}{_code(op, precision)}")
        end = ends.get(op.name)
        if end is not None:
            assert isinstance(end.kind, Activation)
            kernel = replace(kernel, ops=(op.name, end.name), fused=(end.kind.function,))
        yield kernel


def _layout(op: Op, packs: Sequence[int]) -> str:
    """Return the layout of an operator: how it reads and writes channels."""

    def pack(channels: int) -> int:
        return next((each for each in packs if channels % each == 0), 1)

    def of(value: Value) -> int:
        return pack(value.channels)

    match op.kind:
        case Conv() | Linear():
            reads, writes = of(op.source), of(op.output)
        case Split():
            reads, writes = of(op.source), min(map(of, op.outputs))
        case Concat():
            reads, writes = min(map(of, op.inputs)), of(op.output)
        case Shuffle(groups=groups):
            reads, writes = of(op.source), pack(op.source.channels // groups)
        case _:
            reads = writes = of(op.source)
    return f"pack{reads}" if reads == writes else f"pack{reads}to{writes}"


def _code(op: Op, precision: ArmPrecision) -> str:
    """Return ` direct` for a convolution that runs without a product of matrices; else nothing."""
    if precision != "fp16" or not isinstance(op.kind, Conv) or op.kind.groups > 1:
        return ""
    few = max(op.source.channels, op.output.channels) < DIRECT_BELOW
    single = op.output.channels % PACKS[precision][-1] > 0
    return " direct" if few and single and op.kind.kernel > 1 else ""
