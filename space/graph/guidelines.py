"""G1–G4 of the paper (section 2) as functions of the graph that say how far a network is.

Each scores a network (0 is the ideal, for G1 and G2) and is held against a limit. `excess` is
score / limit − 1: at most 0 inside, and how far outside as a share of the limit. The limit of a
level is the largest score among the paper's own networks of that level, with a margin (`MARGINS`).
These are the ShuffleNet V2 unit plain, with SE, with residual and V2*. Limits prune before
anything is measured or trained.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from nas_sv2.errors import Rejected
from nas_sv2.space.graph.cost import cost_of, is_depthwise, op_cost
from nas_sv2.space.graph.operators import Conv, Graph, Op

Score = Callable[[Graph], float]


def g1_unequal_channels(graph: Graph) -> float:
    """Memory access of the dense 1×1 convolutions over its lower bound, minus 1.

    The bound is 2·√(hwB) + B/hw for B multiply-adds on an h×w map, reached at equal widths
    (equation 2). Convolutions on a 1×1 map are left out: they are vectors times matrices.
    """
    access = bound = 0.0
    for op, conv in _convolutions(graph):
        if conv.kernel == 1 and conv.groups == 1 and op.output.area > 1:
            area, flops = op.output.area, op_cost(op).flops
            access += area * (op.source.channels + op.output.channels) + flops / area
            bound += 2 * math.sqrt(area * flops) + flops / area
    return access / bound - 1 if bound else 0.0


def g2_grouping(graph: Graph) -> float:
    """Memory access of group convolutions over that of dense ones of equal FLOPs, minus 1.

    A 1×1 convolution with g groups costs hw(c1 + c2) + c1·c2/g (equation 3). The dense one of the
    same FLOPs and channel ratio has channels c/√g. Depthwise convolutions belong to G4.
    """
    access = dense = 0.0
    for op, conv in _convolutions(graph):
        if conv.groups > 1 and not is_depthwise(op):
            channels = op.output.area * (op.source.channels + op.output.channels)
            kernel = op_cost(op).flops / op.output.area
            access += channels + kernel
            dense += channels / math.sqrt(conv.groups) + kernel
    return access / dense - 1 if dense else 0.0


def g3_fragmentation(graph: Graph) -> float:
    """Operators launched per million multiply-adds."""
    cost = cost_of(graph)
    return cost.kernel_count / (cost.flops / 1e6)


def g4_elementwise(graph: Graph) -> float:
    """Share of memory access in element-wise operators, depthwise convolutions among them."""
    cost = cost_of(graph)
    return cost.elementwise_bytes / cost.memory_access_bytes


SCORES: dict[str, Score] = {
    "G1": g1_unequal_channels,
    "G2": g2_grouping,
    "G3": g3_fragmentation,
    "G4": g4_elementwise,
}

# How far beyond the paper's own networks of the level a candidate may lie. G1 and G2 are memory
# traffic above the ideal, where the paper's networks have 1 % and nothing: 5 % more traffic of the
# 1×1 convolutions is tolerated. G3 compares with networks that use all FLOPs of the level, and
# half of the FLOPs must be allowed. G4 is a share that V2* and the residual form raise by a sixth
# already: a tenth more is tolerated.
MARGINS: dict[str, Callable[[float], float]] = {
    "G1": lambda score: score + 0.05,
    "G2": lambda score: score + 0.05,
    "G3": lambda score: score * 2,
    "G4": lambda score: score * 1.1,
}


class GuidelineLimits(Protocol):
    """The limits that a candidate is held against before anything is run."""

    @property
    def limits(self) -> Mapping[str, float]:
        """The limit of each guideline that is checked."""

    def excesses(self, graph: Graph) -> dict[str, float]:
        """How far `graph` is beyond each limit, as a share of it; at most 0 inside."""


@dataclass(frozen=True, slots=True)
class Guidelines:
    """The paper's: a score for each guideline, and a limit for each that is checked."""

    limits: Mapping[str, float]

    def excesses(self, graph: Graph) -> dict[str, float]:
        """How far `graph` is beyond each limit, as a share of it; at most 0 inside."""
        return {name: SCORES[name](graph) / limit - 1 for name, limit in self.limits.items()}


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The same guidelines with wider limits.

    Attributes:
        inner: The guidelines.
        slack: By what a limit is multiplied, where it is relaxed.
    """

    inner: GuidelineLimits
    slack: Mapping[str, float]

    @property
    def limits(self) -> Mapping[str, float]:
        """The limits as they now are."""
        return {
            name: limit * self.slack.get(name, 1.0) for name, limit in self.inner.limits.items()
        }

    def excesses(self, graph: Graph) -> dict[str, float]:
        """How far `graph` is beyond each limit as it now is."""
        return {
            name: (1 + excess) / self.slack.get(name, 1.0) - 1
            for name, excess in self.inner.excesses(graph).items()
        }


def admit(excesses: Mapping[str, float]) -> None:
    """Refuse a candidate beyond a limit.

    Raises:
        Rejected: Names the limit that is exceeded furthest, and carries all that is known.
    """
    worst = max(excesses, key=excesses.__getitem__, default=None)
    if worst is not None and excesses[worst] > 0:
        reason = f"{excesses[worst]:+.1%} beyond the limit"
        raise Rejected(worst, excesses[worst], reason, excesses)


def paper_guidelines(family: Iterable[Graph]) -> Guidelines:
    """The limits that the networks of `family` set, with `MARGINS`."""
    graphs = list(family)
    return Guidelines(
        {
            name: MARGINS[name](max(score(graph) for graph in graphs))
            for name, score in SCORES.items()
        }
    )


def _convolutions(graph: Graph) -> Iterable[tuple[Op, Conv]]:
    return ((op, op.kind) for op in graph.ops if isinstance(op.kind, Conv))


def blocks_of(graph: Graph) -> dict[str, Graph]:
    """Each block (`Op.block`) as a graph of its own operators, in running order.

    Costs and scores can be read from it. It cannot be run where several values enter a block.
    """
    ops: dict[str, list[Op]] = {}
    for op in graph.ops:
        ops.setdefault(op.block, []).append(op)
    return {
        block: Graph(parts[0].source, parts[-1].output, tuple(parts))
        for block, parts in ops.items()
    }


def scores_by_block(graph: Graph) -> dict[str, dict[str, float | None]]:
    """G1–G4 as `SCORES` have them; all None for a block without multiply-adds."""
    return {
        block: {
            name: score(part) if cost_of(part).flops else None for name, score in SCORES.items()
        }
        for block, part in blocks_of(graph).items()
    }
