"""Show the channels that the blocks of a network reuse, as a table, notes and plain data."""

import statistics
from typing import Any

from rich.console import RenderableType

from nas_sv2.show.tables import plain_table
from nas_sv2.space.reuse.channel_reuse import Matrix, Reuse
from nas_sv2.space.reuse.reused_weights import PerPair, ReusedWeights

Places = list[tuple[int, int]]


def reuse_table(name: str, reuse: Reuse, weights: ReusedWeights | None) -> RenderableType:
    """Make a table of means over all pairs of blocks, by their distance in a stage.

    Further rows lead from each stage to the next.
    """
    columns = ("passed", "even mix", "difference", "convolved", "even mix", "difference")
    extra = () if weights is None else ("mean |w|", "of the target's mean")
    table = plain_table(name, "blocks apart", *columns, *extra)
    for stage, distance, places in _distances(reuse):
        computing = [(i, j) for i, j in places if reuse.own[i]]
        cells = [
            *_compared(reuse.passed, reuse.even_passed, places),
            *_compared(reuse.read, reuse.even_read, computing),
        ]
        if weights is not None:
            cells += [_mean(weights.mean, places), _mean(weights.relative, places)]
        table.add_row(stage, str(distance), *cells)
    return table


def reuse_notes(reuse: Reuse) -> list[str]:
    """Explain the columns, or say that nothing is reused."""
    if not reuse.reuses:
        return ["nothing is reused: every block convolves or sums all that it is given"]
    return [
        "passed: share of what a block puts out that the later one puts out too, untouched",
        "convolved: share of what a block computes that the later one is the first to convolve",
        "even mix: r^d of them passed and r^(d-1)·(1-r) convolved, d blocks on, if the shuffle "
        "spread them evenly; r of each block as its operators have it",
    ]


def reuse_data(reuse: Reuse, weights: ReusedWeights | None) -> dict[str, Any]:
    """Return all pairs of blocks as plain data; rows are sources, columns targets."""
    own = list(map(len, reuse.own))
    return {
        "blocks": list(reuse.blocks),
        "channels_put_out": list(map(len, reuse.put_out)),
        "channels_computed": own,
        "reuses": reuse.reuses,
        "passed": reuse.passed,
        "passed_if_mixed_evenly": reuse.even_passed,
        "convolved": reuse.read,
        "convolved_if_mixed_evenly": reuse.even_read,
        "mean_absolute_weights": None if weights is None else weights.mean,
    }


def _distances(reuse: Reuse) -> list[tuple[str, int, Places]]:
    """Return pairs of blocks by stage and distance, and the pair that leads to the next stage."""
    stages: dict[str, list[int]] = {}
    for index, block in enumerate(reuse.blocks):
        stages.setdefault(block.partition(".")[0], []).append(index)
    found: list[tuple[str, int, Places]] = []
    names = list(stages)
    for stage, after in zip(names, [*names[1:], None], strict=True):
        blocks = stages[stage]
        for distance in range(1, len(blocks)):
            found.append((stage, distance, list(zip(blocks, blocks[distance:], strict=False))))
        if after is not None:
            found.append((f"{stage} to {after}", 1, [(blocks[-1], stages[after][0])]))
    return found


def _compared(exact: Matrix, even: Matrix, places: Places) -> tuple[str, str, str]:
    if not places:
        return ("–",) * 3
    really, evenly = (statistics.fmean(m[i][j] for i, j in places) for m in (exact, even))
    return f"{really:.4f}", f"{evenly:.4f}", f"{really - evenly:+.4f}"


def _mean(pairs: PerPair, places: Places) -> str:
    known = [value for i, j in places if (value := pairs[i][j]) is not None]
    return f"{statistics.fmean(known):.4f}" if known else "–"
