"""The kernels of a network in float32 as LiteRT executes its `.tflite` file with XNNPACK.

A kernel is an operator of ours with all that the file has for it. A shuffle is two reshapes and a
transpose, and a split is a slice for each part. A ReLU or ReLU6 is part of the operator before it.
It costs nothing behind a convolution, which bounds its results anyway; behind a sum it is `fused`.
XNNPACK pads within a convolution, so zeros around one cost nothing. A max pool does not: where
the file pads it by an operator of its own, the kernel has a separate kind.

A 1×1 convolution or classifier is a separate kind, `ragged`, unless its output channels are a
multiple of 8. XNNPACK computes it in tiles of 4×2 in place of 6×8, which takes half as long again.
This was seen in the instructions that LiteRT 2.3 executed.
"""

from collections.abc import Iterator
from dataclasses import replace

from nas_sv2.latency.kernels.kernel import Kernel, plain_kernel
from nas_sv2.space.graph.operators import Activation, Add, Graph, MaxPool, Op
from nas_sv2.space.runtimes.tflite_lowering import ends_of, is_positive, is_same

TILE = 8
"""Output channels of XNNPACK's larger tile."""
RAGGED = " ragged"


def litert_kernels_of(graph: Graph) -> tuple[Kernel, ...]:
    """Return the kernels of `graph` in float32, in running order."""
    return tuple(_kernels(graph))


def _kernels(graph: Graph) -> Iterator[Kernel]:
    ends = ends_of(graph)
    inside = {op.name for op in ends.values()}
    for op in graph.ops:
        if op.name in inside:
            continue
        kernel = plain_kernel(op)
        kernel = replace(kernel, kind=kernel.kind + _padding(op, graph) + _ragged(kernel))
        end = ends.get(op.name)
        if end is not None:
            assert isinstance(end.kind, Activation)
            fused = (end.kind.function,) if isinstance(op.kind, Add) else ()
            kernel = replace(kernel, ops=(op.name, end.name), fused=fused)
        yield kernel


def _ragged(kernel: Kernel) -> str:
    """Return the ending of the kind of a matrix product in small tiles, else an empty text."""
    is_product = kernel.kind in ("pointwise", "linear")
    return RAGGED if is_product and kernel.channels_out % TILE else ""


def _padding(op: Op, graph: Graph) -> str:
    """Return the ending of the kind of a max pool that an operator pads, else an empty text."""
    if not isinstance(op.kind, MaxPool):
        return ""
    side, stride = op.kind.kernel, op.kind.stride
    if side == 1 or is_same(op, side, stride, side // 2):
        return ""
    return " padded" if is_positive(graph, op.source) else " padded below zero"
