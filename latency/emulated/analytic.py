"""A second opinion on an emulated latency of the Cortex-A57, from three counts alone.

    ms = DENSE · dense GFLOPs + DEPTHWISE · depthwise GFLOPs + ELEMENTWISE · GB

The three were fitted to the same 18 published ARM speeds as the scale of the emulated Cortex-A57
(`benchmarks/arm_fidelity.py` refits them). If both disagree, one kernel is unusually fast or slow,
or the emulator is wrong, and the network should be measured.
"""

from nas_sv2.space.graph.cost import is_depthwise, op_cost
from nas_sv2.space.graph.operators import Graph

MS_PER_DENSE_GFLOP = 190.1
MS_PER_DEPTHWISE_GFLOP = 2064.4
MS_PER_ELEMENTWISE_GB = 370.8
DISAGREEMENT = 1.3
"""The factor between both estimates beyond which they disagree.

Among 150 random networks of each named space, 95 % stay within 1.28 (40M), 1.23 (140M), 1.19
(300M), 1.16 (500M) and 1.12 (large). The largest factor was 1.44."""

AnalyticCounts = tuple[float, float, float]


def counts_of(graph: Graph) -> AnalyticCounts:
    """Count dense and depthwise multiply-adds and element-wise bytes, each in 10⁹."""
    dense = depthwise = bytes_ = 0
    for op in graph.ops:
        cost = op_cost(op)
        if is_depthwise(op):
            depthwise += cost.flops
        else:
            dense += cost.flops
        bytes_ += cost.elementwise_bytes
    return dense / 1e9, depthwise / 1e9, bytes_ / 1e9


def analytic_ms(graph: Graph) -> float:
    """Estimate the latency on a Cortex-A57 from the three coefficients, in ms."""
    dense, depthwise, bytes_ = counts_of(graph)
    return (
        MS_PER_DENSE_GFLOP * dense
        + MS_PER_DEPTHWISE_GFLOP * depthwise
        + MS_PER_ELEMENTWISE_GB * bytes_
    )


def second_opinion(graph: Graph, emulated_ms: float, slower: float = 1.0) -> str:
    """Describe the analytic latency, and whether it disagrees with the emulated one.

    It is 0 for a network of pools and moves alone, which none of the three counts.

    Args:
        graph: The operators.
        emulated_ms: The emulated latency in ms.
        slower: How much longer the emulated core takes than that of the published speeds.
    """
    ms = slower * analytic_ms(graph)
    text = f"analytic {ms:.3g} ms"
    if max(ms, emulated_ms) > DISAGREEMENT * min(ms, emulated_ms):
        text += f", which disagrees by more than a factor of {DISAGREEMENT:g}: measure it"
    return text
