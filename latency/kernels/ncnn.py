"""The kernels of a network in float32 as ncnn executes its layers.

A kernel is a layer of the `.param`. ncnn keeps four channels of a map together (`pack4`) if their
number is a multiple of 4. Otherwise it keeps single channels (`pack1`). Each layout has code of
its own, and so has each change of layout, as `pack1to4`. Therefore the layout is part of a
kernel's kind. These are ncnn's own names.

An activation behind a layer with weights is part of it, and `fused`. Most layers apply it in a
pass of its own. A convolution of a vector, as in squeeze-and-excitation, is a fully connected
layer.
"""

from collections.abc import Iterator
from dataclasses import replace

from nas_sv2.latency.kernels.kernel import Kernel, plain_kernel
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

PACK = 4
"""Channels that ncnn keeps together in float32 on ARM."""


def ncnn_kernels_of(graph: Graph) -> tuple[Kernel, ...]:
    """Return the kernels of `graph` in float32, in running order."""
    return tuple(_kernels(graph))


def _kernels(graph: Graph) -> Iterator[Kernel]:
    ends, vectors = ends_of(graph), vectors_of(graph)
    inside = {op.name for op in ends.values()}
    for op in graph.ops:
        if op.name in inside:
            continue
        kernel = plain_kernel(op)
        is_product = isinstance(op.kind, Conv) and op.source.name in vectors
        kind = "linear" if is_product else kernel.kind
        kernel = replace(kernel, kind=f"{kind} {_layout(op)}")
        end = ends.get(op.name)
        if end is not None:
            assert isinstance(end.kind, Activation)
            kernel = replace(kernel, ops=(op.name, end.name), fused=(end.kind.function,))
        yield kernel


def _layout(op: Op) -> str:
    """Return the layout of an operator: how it reads and writes channels."""
    match op.kind:
        case Conv() | Linear():
            reads, writes = _pack(op.source), _pack(op.output)
        case Split():
            reads, writes = _pack(op.source), min(map(_pack, op.outputs))
        case Concat():
            reads, writes = min(map(_pack, op.inputs)), _pack(op.output)
        case Shuffle(groups=groups):
            reads, writes = _pack(op.source), _pack_of(op.source.channels // groups)
        case _:
            reads = writes = _pack(op.source)
    return f"pack{reads}" if reads == writes else f"pack{reads}to{writes}"


def _pack(value: Value) -> int:
    return _pack_of(value.channels)


def _pack_of(channels: int) -> int:
    return 1 if channels % PACK else PACK
