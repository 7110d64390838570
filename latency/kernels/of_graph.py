"""The kernels of a network in the form that a runtime executes on a CPU: onnxruntime's here.

In float32, the aarch64 build keeps plain NCHW (no NCHWc reorders were seen). At load it fuses:

- a convolution and the only operator that reads it, if that is a ReLU, ReLU6 or sigmoid. With
  ReLU6, which runs other code, the kernel has a separate kind, `clipped`;
- a convolution, the sum that alone reads it and the ReLU that alone reads the sum. Without the
  ReLU the kernel has a separate kind, `summed`.

An operator with unused outputs is dropped. A channel shuffle runs as reshape, transpose, reshape,
and a classifier as flatten and matrix product; each counts as one kernel here. The cost of a
shuffle does not depend on the number of groups, within 2 %, except for two groups, a separate
kind. Calibration (`calibration/fit.py`) fails if onnxruntime runs any other kernel.

The module `int8` describes the same graph in int8, which runs differently. `litert` and `ncnn`
describe it in these runtimes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from nas_sv2.latency.kernels.int8 import int8_kernels_of
from nas_sv2.latency.kernels.kernel import (
    ArmPrecision,
    ArmRuntime,
    Kernel,
    live_ops,
    plain_kernel,
)
from nas_sv2.latency.kernels.litert import litert_kernels_of
from nas_sv2.latency.kernels.ncnn import ncnn_kernels_of
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.space.graph.operators import Activation, Add, Conv, Graph, Op
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.runtimes.shuffle_free import without_shuffles

APART: Mapping[tuple[str, ...], str] = {("relu6",): " clipped", ("add",): " summed"}
"""Fused operators that give a convolution a separate kind, and the suffix of that kind."""


def float32_kernels_of(graph: Graph) -> tuple[Kernel, ...]:
    """Return the kernels of `graph` in float32, in running order."""
    return tuple(_fuse(live_ops(graph)))


def _fuse(ops: Sequence[Op]) -> Iterator[Kernel]:
    reads = Counter(value.name for op in ops for value in op.inputs)
    reader = {value.name: op for op in ops for value in op.inputs}

    def only_reader(op: Op) -> Op | None:
        return reader[op.output.name] if reads[op.output.name] == 1 else None

    melted: dict[str, Kernel] = {}  # by the name of the kernel's last operator
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


def graph_in_form(network: Network, lowering: Lowering) -> Graph:
    """Return the operators of `network` in the form that runs; an ONNX file runs as it is."""
    graph = lower(network)
    return graph if isinstance(network, OnnxModel) else in_form(graph, lowering)


def in_form(graph: Graph, lowering: Lowering) -> Graph:
    """Return the graph, rewritten without shuffles if that form runs."""
    return without_shuffles(graph, {})[0] if lowering == "shuffle_free" else graph


def kernels_of(
    graph: Graph, precision: ArmPrecision = "fp32", runtime: ArmRuntime = "onnxruntime"
) -> tuple[Kernel, ...]:
    """Return the kernels of `graph`, in running order."""
    if runtime == "litert":
        return litert_kernels_of(graph)
    if runtime == "ncnn":
        return ncnn_kernels_of(graph, precision)
    return int8_kernels_of(graph) if precision == "int8" else float32_kernels_of(graph)
