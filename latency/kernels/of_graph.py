"""The operators of a network in the form that a runtime executes, and their kernels."""

from nas_sv2.latency.kernels.float32 import float32_kernels_of
from nas_sv2.latency.kernels.int8 import int8_kernels_of
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles


def graph_in_form(network: Network, lowering: Lowering) -> Graph:
    """Return the operators of `network` in the form that runs."""
    return in_form(lower(network), lowering)


def in_form(graph: Graph, lowering: Lowering) -> Graph:
    """Return the graph, rewritten without shuffles if that form runs."""
    return without_shuffles(graph, {})[0] if lowering == "shuffle_free" else graph


def kernels_of(graph: Graph, precision: ArmPrecision = "fp32") -> tuple[Kernel, ...]:
    """Return the kernels of `graph`, in running order."""
    return int8_kernels_of(graph) if precision == "int8" else float32_kernels_of(graph)
