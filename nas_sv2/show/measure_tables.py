"""Show latencies, orders, grades and differences as tables, notes and plain data."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from rich.console import RenderableType

from nas_sv2.api.devices import CatalogueRow
from nas_sv2.api.measuring import Comparison
from nas_sv2.latency.measurements.exchange import Difference, Figures, OnPaper
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.head_to_head import Orders, Pair
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.entries import TargetInfo
from nas_sv2.latency.targets.try_out import NETWORK, Check
from nas_sv2.show.console import plain_table
from nas_sv2.space.families.published import STRUCTURES, published_network
from nas_sv2.space.units.reference import REFERENCES


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
            _runs(latency),
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
        if latency.repeats:
            notes.append(f"intervals{on} hold a later command; {latency.repeats}")
        if latency.stored and latency.measured_at is not None:
            at = latency.measured_at[:16].replace("T", " ")
            notes.append(f"{name}{on}: stored, measured {at} UTC; --fresh measures it again")
        if latency.note:
            notes.append(f"{name}{on}: {latency.note}")
    return list(dict.fromkeys(notes))


def interval(ends: tuple[float, float] | None) -> str:
    """Format both ends of an interval, or a dash."""
    return "–" if ends is None else "{:.3f}–{:.3f}".format(*ends)


def _runs(latency: Latency) -> str:
    """Format the number of runs, with that of the sessions if there are several."""
    if latency.runs is None:
        return "–"
    several = latency.sessions is not None and latency.sessions > 1
    return f"{latency.runs} in {latency.sessions}" if several else str(latency.runs)


def latency_rows(found: Comparison) -> list[tuple[str, str, Latency]]:
    """Return name, target and latency of each network, in the order given."""
    return [
        (name, found.target, latency)
        for name, latency in zip(found.names, found.latencies, strict=True)
    ]


def order_table(target: str, names: Sequence[str], orders: Orders) -> RenderableType:
    """Make a table of networks, the fastest first, each compared with the one above."""
    table = plain_table(f"order on {target}", "× the one above", "95 % interval", "order")
    table.add_row(names[orders.ranking[0]])
    for pair in orders.neighbours:
        table.add_row(names[pair.slower], *_compared(pair))
    return table


def order_notes(names: Sequence[str], orders: Orders) -> list[str]:
    """Return the rule and the further ties, one fact a line."""
    further = [
        "also a tie: {} and {}: × {}, 95 % interval {}".format(
            names[pair.faster], names[pair.slower], *_compared(pair)[:2]
        )
        for pair in orders.further_ties
    ]
    return [orders.rule, *further]


def _compared(pair: Pair) -> tuple[str, str, str]:
    return f"{pair.ratio:.3f}", interval(pair.ratio_ci), "settled" if pair.settled else "tie"


def check_line(check: Check) -> str:
    """One step of a device's trial."""
    result = "ok    " if check.passed else "failed"
    return f"{check.name:8} {result} {check.seconds:6.2f} s  {check.text}"


def price_line(latency: Latency) -> str:
    """The price of the reference network on an emulated core."""
    begins = latency.note.startswith(latency.provenance)
    origin = [latency.note] if begins else filter(None, [latency.provenance, latency.note])
    return f"{NETWORK}: {latency.ms:.3f} ms, {'; '.join(origin)}"


def grade_table(target: str, grade: Grade) -> RenderableType:
    """Make the table of a device's grade and its figures."""
    table = plain_table(target, grade.grade)
    rows = {
        "sessions": str(grade.sessions),
        grade.reference: f"{grade.reference_ms:.3f} ms, varies by {grade.reference_cv:.1%}",
        f"{grade.network} to it": f"× {grade.ratio:.4f}, varies by {grade.ratio_cv:.2%}",
        "largest drift in a session": f"{grade.drift:+.1%}",
        "p95 / median": f"{grade.noise:.2f}",
        "contended sessions": f"{grade.contended:.0%}",
        "time taken by a hypervisor": "–" if grade.stolen is None else f"{grade.stolen:.1%}",
    }
    for key, value in rows.items():
        table.add_row(key, value)
    return table


def grade_notes(grade: Grade) -> list[str]:
    """Return each finding with its remedy, a line each."""
    found = [f"{finding.level}: {finding.what}. Fix: {finding.fix}" for finding in grade.findings]
    return found or ["nothing to fix"]


def difference_table(found: Difference) -> RenderableType:
    """Make a table of two sources' figures for the same network, device and protocol."""
    columns = ("one: ms", "95 % interval", "ratio", "other: ms", "95 % interval", "ratio")
    table = plain_table("network", "device", *columns, "ms", "ratio")
    for compared in found.compared:
        table.add_row(
            network_name(compared.one.key.architecture),
            compared.one.key.fingerprint[:8],
            *_shown(compared.one),
            *_shown(compared.other),
            *(("same runs", "") if compared.same else (compared.ms, compared.ratio)),
        )
    return table


def difference_notes(found: Difference) -> list[str]:
    """Return the counts, and the networks that cannot be compared, one fact a line."""
    notes = [f"{len(found.compared)} compared: same network, device, runtime and protocol"]
    notes += [_on_paper(group) for group in found.on_paper]
    for count, side in ((found.only_one, "first"), (found.only_other, "second")):
        if count:
            notes.append(f"{count} of the networks only the {side} has")
    return notes


def difference_data(found: Difference) -> dict[str, Any]:
    """Return a difference as plain data."""
    return {
        "compared": [
            {
                "architecture": compared.one.key.architecture,
                "fingerprint": compared.one.key.fingerprint,
                "plan": compared.one.key.plan,
                "same_runs": compared.same,
                "one": _figures_data(compared.one),
                "other": _figures_data(compared.other),
                "ms": compared.ms,
                "ratio": compared.ratio,
            }
            for compared in found.compared
        ],
        "on_paper": [
            {
                "architectures": list(group.architectures),
                "facts": {name: list(pair) for name, pair in group.facts.items()},
                "plan": {name: list(pair) for name, pair in group.plan.items()},
            }
            for group in found.on_paper
        ],
        "only_one": found.only_one,
        "only_other": found.only_other,
    }


def network_name(digest: str) -> str:
    """Return the name of a hand-designed network, else the first 8 digits of the digest."""
    return _names().get(digest, digest[:8])


@cache
def _names() -> dict[str, str]:
    return {published_network(name).digest: name for name in (*REFERENCES, *STRUCTURES)}


def _figures_data(figures: Figures) -> dict[str, Any]:
    ratio, ratio_ci = figures.ratio or (None, None)
    return {
        "ms": figures.ms[0],
        "ci_ms": figures.ms[1],
        "ratio": ratio,
        "ratio_ci": ratio_ci,
        "session": figures.session,
        "measured_at": figures.measured_at,
    }


def _shown(figures: Figures) -> tuple[str, str, str]:
    ratio = "–" if figures.ratio is None else f"{figures.ratio[0]:.3f}"
    return f"{figures.ms[0]:.3f}", interval(figures.ms[1]), ratio


def _on_paper(group: OnPaper) -> str:
    differing = {**group.facts, **{f"plan.{name}": pair for name, pair in group.plan.items()}}
    shown = "; ".join(f"{name} {one} | {other}" for name, (one, other) in differing.items())
    names = ", ".join(map(network_name, group.architectures[:3]))
    more = len(group.architectures) - 3
    names += f" and {more} more" if more > 0 else ""
    return f"not compared, measured under other conditions: {names}: {shown}"


def catalogue_table(rows: Sequence[CatalogueRow]) -> RenderableType:
    """Make the table of the catalogue."""
    table = plain_table(
        "target", "device", "figures of", "error: mean", "worst", "unseen", wrapped=(1, 2)
    )
    for row in rows:
        errors = (row.mean_error, row.worst_error, row.unseen_error)
        figures = f"{row.runtime}, {row.precision}: {row.figures}"
        table.add_row(row.name, row.what, figures, *(f"{error:.1%}" for error in errors))
    return table


def targets_table(infos: Sequence[TargetInfo]) -> RenderableType:
    """Make the table of targets."""
    table = plain_table("target", "what", "provenance", "available", wrapped=(1, 3))
    for info in infos:
        available = {True: "yes", None: info.reason, False: f"no: {info.reason}"}[info.available]
        table.add_row(info.name, info.what, info.provenance, available)
    return table
