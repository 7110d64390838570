"""The guidelines' scores of every building block on its own."""

from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import SCORES
from nas_sv2.space.graph.operators import Graph, Op


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
    """G1–G4 as `guidelines.SCORES` have them; all None for a block without multiply-adds."""
    return {
        block: {
            name: score(part) if cost_of(part).flops else None for name, score in SCORES.items()
        }
        for block, part in blocks_of(graph).items()
    }
