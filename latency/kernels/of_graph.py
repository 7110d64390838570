"""The kernels of a graph, in the precision asked for."""

from nas_sv2.latency.kernels.float32 import float32_kernels_of
from nas_sv2.latency.kernels.int8 import int8_kernels_of
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.space.graph.operators import Graph


def kernels_of(graph: Graph, precision: ArmPrecision = "fp32") -> tuple[Kernel, ...]:
    """The kernels of `graph`, in running order."""
    return int8_kernels_of(graph) if precision == "int8" else float32_kernels_of(graph)
