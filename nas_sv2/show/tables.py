"""Show results as tables, notes and plain data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType

from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.entries import TargetInfo
from nas_sv2.show.console import plain_table
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.networks.lowering import Network
from nas_sv2.studies.findings.audit import Pruned
from nas_sv2.studies.findings.certificate import UNCERTIFIED, Certificate
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.pairwise import find_ties
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import audit_stops


def front_table(front: Front) -> RenderableType:
    """Make the table of the front, fastest first, then of the other baselines."""
    table = plain_table(*front.columns)
    for row in front.rows:
        table.add_row(*row.cells, style=None if row.on_front else "dim")
    return table


def _spread(records: Mapping[int, Record]) -> str:
    """Return the smallest and largest of the candidates' spreads."""
    spreads = [s for r in records.values() if (s := r.evaluation.spread) is not None]
    return f"{min(spreads):.2g} to {max(spreads):.2g}"


def front_notes(records: Mapping[int, Record], certificate: Certificate | None) -> list[str]:
    """Return the notes on the figures of the front, one fact a line.

    Args:
        records: The records of the study, by trial.
        certificate: The certificate of their recipe and data, or None.
    """
    if not records:
        return ["no finished trial yet"]
    record = next(iter(records.values()))
    evaluation = record.evaluation
    notes = []
    for name in record.latencies:
        notes += _latency_notes(name, [each.latencies[name] for each in records.values()])
    predicted = [
        entry.number
        for entry in Front(records).entries
        if any(v.provenance == "predicted" for v in entry.record.latencies.values())
    ]
    if predicted:
        trials = ", ".join(map(str, predicted))
        notes.append(f"?: predicted, the same search measures it at its end: trials {trials}")
    contended = [n for n, r in records.items() if any(v.contended for v in r.latencies.values())]
    if contended:
        notes.append(f"contended while measured: trials {', '.join(map(str, contended))}")
    if stops := audit_stops(records):
        notes.append(stops.describe())
    if uneven := evaluation.describe_majority():
        notes.append(uneven)
    if evaluation.scored_by != "accuracy":
        notes.append(f"compared by {evaluation.scored_by}, not by top-1")
    if len(evaluation.scores) > 1:
        notes.append(
            f"top-1 and loss: means of {len(evaluation.scores)} trainings, standard deviation of "
            f"the {evaluation.scored_by} between them {_spread(records)}"
            + ("; ± in the table" if evaluation.scored_by == "accuracy" else "")
        )
    notes.append(
        f"top-1: recipe {evaluation.recipe}, seed {evaluation.seed}, {evaluation.data}, "
        f"{evaluation.val_images:,} validation images; "
        + (UNCERTIFIED if certificate is None else certificate.describe())
    )
    if certificate is not None:
        notes += _ties(records, certificate)
    return notes


def _latency_notes(target: str, latencies: Iterable[Latency]) -> list[str]:
    """Name device, origin and drift correction of a target's latencies, once for each kind."""
    notes = []
    first = dict[tuple[str, str], Latency]()
    for each in latencies:
        first.setdefault((each.device, each.provenance), each)
    for (device, provenance), latency in first.items():
        notes.append(f"{device} · {provenance}")
        # A measurement's note is about itself; other notes are about the method.
        if provenance != "measured" and latency.note:
            notes.append(f"{target}: {latency.note}")
        if latency.ratio is not None:
            reference_ms = latency.ms / latency.ratio
            notes.append(
                f"{target}: {latency.reference} counts as {reference_ms:.3f} ms, against drift"
            )
    return list(dict.fromkeys(notes))


def _ties(records: Mapping[int, Record], certificate: Certificate) -> list[str]:
    """Name the neighbours on the front that the recipe cannot distinguish."""
    tied = [f"{worse} and {better}" for worse, better in find_ties(records, certificate)]
    return [f"ties in {certificate.scored_by}: trials {', '.join(tied)}"] if tied else []


def pruned_data(pruned: Iterable[Pruned]) -> list[dict[str, Any]]:
    """Return the counts of candidates that guidelines pruned as plain data."""
    return [{**asdict(each), "most_wrong": each.most_wrong} for each in pruned]


def network_data(name: str, network: Network, cost: Cost) -> dict[str, Any]:
    """Return a network and its cost on paper as plain data."""
    return {
        "name": name,
        "digest": network.digest,
        "flops": cost.flops,
        "params": cost.params,
        "memory_access_bytes": cost.memory_access_bytes,
        "elementwise_bytes": cost.elementwise_bytes,
        "kernel_count": cost.kernel_count,
    }


def cost_table(
    name: str, network: Network, cost: Cost, guidelines: Mapping[str, float]
) -> RenderableType:
    """Make the table of a network's cost on paper."""
    side = network.resolution
    table = plain_table(name, "")
    rows = {
        "digest": network.digest,
        "input": f"{network.channels} × {side} × {side}",
        "multiply-adds": f"{cost.flops / 1e6:.2f} M",
        "params": f"{cost.params:,}",
        "memory access": f"{cost.memory_access_bytes / 1e6:.2f} MB",
        "  element-wise": f"{cost.elementwise_bytes / 1e6:.2f} MB",
        "operators": str(cost.kernel_count),
        **{f"{name} beyond its limit": f"{excess:+.1%}" for name, excess in guidelines.items()},
    }
    for key, value in rows.items():
        table.add_row(key, value)
    return table


def latency_table(rows: Sequence[tuple[str, str, Latency]]) -> RenderableType:
    """Make a table of latencies by network and target; ratios are to the reference network."""
    columns = ("ms", "95 % interval", "p95", "ratio", "95 % interval", "runs", "provenance")
    table = plain_table("network", "target", *columns)
    for name, target, latency in rows:
        table.add_row(
            name,
            target,
            f"{latency.ms:.3f}",
            interval(latency.ci_ms),
            "–" if latency.p95_ms is None else f"{latency.p95_ms:.3f}",
            "–" if latency.ratio is None else f"{latency.ratio:.3f}",
            interval(latency.ratio_ci),
            "–" if latency.runs is None else str(latency.runs),
            latency.provenance + (", contended" if latency.contended else ""),
        )
    return table


def latency_notes(rows: Sequence[tuple[str, str, Latency]]) -> list[str]:
    """Return the devices and the notes on the latencies, one fact a line."""
    notes = [latency.device for _, _, latency in rows]
    several = len({target for _, target, _ in rows}) > 1
    for name, target, latency in rows:
        on = f" on {target}" if several else ""
        if latency.reference_ms is not None:
            took = f"{latency.reference_ms:.3f} ms meanwhile"
            notes.append(f"ratio{on}: to {latency.reference}, which took {took}")
        if latency.stored and latency.measured_at is not None:
            at = latency.measured_at[:16].replace("T", " ")
            notes.append(f"{name}{on}: stored, measured {at} UTC; --fresh measures it again")
        if latency.note:
            notes.append(f"{name}{on}: {latency.note}")
    return list(dict.fromkeys(notes))


def recipes_table(recipes: Sequence[Recipe]) -> RenderableType:
    """How long and how each recipe trains, and what it is for."""
    table = plain_table("recipe", "passes", "images a pass", "batch", "rate", "schedule", "for")
    for recipe in recipes:
        table.add_row(
            recipe.name,
            str(recipe.epochs),
            "all" if recipe.images_per_epoch is None else f"{recipe.images_per_epoch:,}",
            str(recipe.batch),
            f"{recipe.learning_rate:g}",
            recipe.schedule,
            "candidates" if recipe.full_training is None else "full training",
        )
    return table


def targets_table(infos: Sequence[TargetInfo]) -> RenderableType:
    """Make the table of targets."""
    table = plain_table("target", "what", "provenance", "available", wrapped=(1, 3))
    for info in infos:
        available = {True: "yes", None: info.reason, False: f"no: {info.reason}"}[info.available]
        table.add_row(info.name, info.what, info.provenance, available)
    return table


def interval(ends: tuple[float, float] | None) -> str:
    """Format both ends of an interval, or a dash."""
    return "–" if ends is None else "{:.3f}–{:.3f}".format(*ends)
