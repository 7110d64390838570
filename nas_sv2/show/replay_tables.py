"""Show a replay as a table, notes and plain data."""

from typing import Any

from rich.console import RenderableType

from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.search.replay.replay import Replayed
from nas_sv2.show.tables import plain_table
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.rank_agreement import Estimate
from nas_sv2.studies.findings.replay_comparison import Comparison, Move


def moves_table(comparison: Comparison) -> RenderableType:
    """Make a table of every network on both targets, the fastest on the new one first.

    If the study compares by another score than top-1, that score has a column; higher is better.
    The factor is the new latency over the old one; "of typical" is the factor over the median
    factor.
    """
    old, new = comparison.old_target, comparison.target
    score = comparison.scored_by
    compared = () if score == "accuracy" else (score.replace("_", " "),)
    table = plain_table("trial", "network", "top-1", *compared, f"{old} ms", f"{new} ms")
    table.add_column("factor", justify="right")
    table.add_column("of typical", justify="right")
    table.add_column("front", justify="left")
    for move in sorted(comparison.moves, key=comparison.new_ms):
        record = move.after
        table.add_row(
            str(move.number),
            record.baseline or record.architecture.digest[:8],
            f"{record.evaluation.accuracy:.2%}",
            *(f"{record.evaluation.score:.4f}" for _ in compared),
            _ms(move.before.latencies[old]),
            _ms(record.latencies[new]),
            f"{comparison.factor(move):.3f}",
            f"{comparison.factor(move) / comparison.typical:.3f}",
            move.change,
            style="dim" if not move.change else None,
        )
    return table


def moves_notes(found: Replayed) -> list[str]:
    """Return the changes, their reasons and the agreement of the orders, one fact a line."""
    comparison = found.comparison
    stay = sum(move.change == "stays" for move in comparison.moves)
    came, went = (
        sum(move.change == change for move in comparison.moves) for change in ("enters", "leaves")
    )
    return [
        f"front: {stay} stay, {came} enter, {went} leave; the typical network takes "
        f"{comparison.typical:.3f} times as long on {comparison.target} as on "
        f"{comparison.old_target}",
        *found.reasons,
        _agreement(comparison),
        *found.notes,
    ]


def replay_data(found: Replayed) -> dict[str, Any]:
    """Return the replay as plain data, with the new front."""
    comparison = found.comparison
    return {
        "study": found.study,
        "entries": Front(found.records).to_json(),
        "old_target": comparison.old_target,
        "target": comparison.target,
        "typical_factor": comparison.typical,
        "kendall": _estimate(comparison.tau),
        "spearman": _estimate(comparison.rho),
        "networks": [_move(comparison, move) for move in comparison.moves],
        "reasons": list(found.reasons),
        "notes": list(found.notes),
    }


def _agreement(comparison: Comparison) -> str:
    tau, rho = comparison.tau, comparison.rho
    if tau is None or rho is None:
        return f"{len(comparison.moves)} networks are too few for a rank correlation"
    return (
        f"order by latency on {comparison.old_target} against {comparison.target}, "
        f"{len(comparison.moves)} networks: Kendall's τ {tau}, Spearman's ρ {rho}"
        + ("" if tau.low is None else "; 95 % by resampling the networks")
    )


def _move(comparison: Comparison, move: Move) -> dict[str, Any]:
    return {
        "trial": move.number,
        "digest": move.after.architecture.digest,
        "baseline": move.after.baseline,
        "accuracy": move.after.evaluation.accuracy,
        "scored_by": move.after.evaluation.scored_by,
        "score": move.after.evaluation.score,
        "old_ms": comparison.old_ms(move),
        "ms": comparison.new_ms(move),
        "factor": comparison.factor(move),
        "was_on_front": move.was_on,
        "on_front": move.is_on,
        "change": move.change or None,
    }


def _estimate(found: Estimate | None) -> dict[str, float | None] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _ms(latency: Latency) -> str:
    return f"{latency.ms:.2f}" + ("*" if latency.contended else "")
