"""Show the controlled experiments as tables, notes and plain data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType

from nas_sv2.api.device_costs import GuidelineRun
from nas_sv2.latency.guidelines.experiment_run import ExperimentRow, TimedTable, times_of
from nas_sv2.latency.measurements.measurement import Interval
from nas_sv2.show.tables import interval, plain_table
from nas_sv2.space.experiments.blocks import Bottleneck, Head, PointwisePair, ShrinkingUnit, Unit
from nas_sv2.space.experiments.paper import Experiment, Platform
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.documents import network_to_document
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.paper.guideline_verdict import CHAINS, chain_verdicts, summary
from nas_sv2.studies.paper.published_figures import PublishedSpeed, published_speeds

NO_FIGURE = "–"
PLATFORMS: tuple[Platform, ...] = ("ARM", "GPU")


def experiment_table(timed: TimedTable) -> RenderableType:
    """Make a table of times, and of times relative to each group's first, ours and the paper's."""
    published = published_speeds(timed.table)
    columns = ["channels", "MFLOPs", "ms", "95 % interval", "relative", "95 % interval"]
    if any(published.values()):
        columns += [f"paper {platform}" for platform in PLATFORMS]
    else:
        columns.append("FLOPs relative")
    table = plain_table(timed.table.name, "", *columns)
    for group in timed.table.groups:
        first = _flops(group[0])
        for row in timed.rows:
            each = row.experiment
            if each.group != group[0].group:
                continue
            cells = [_channels(each), f"{_flops(each) / 1e6:.1f}", *_times(row)]
            if any(published.values()):
                cells += [_paper(published[each].get(name)) for name in PLATFORMS]
            else:
                cells.append(f"{_flops(each) / first:.2f}")
            table.add_row(each.group if each is group[0] else "", each.variant, *cells)
    return table


def table_notes(timed: TimedTable) -> list[str]:
    """List the kernels that a table does not cover, and the verdict on its guideline."""
    lacking = Counter(kernel for row in timed.rows for kernel in row.not_covered)
    notes = [f"not covered: {kernel}, in {count} of these" for kernel, count in lacking.items()]
    if timed.table.name in CHAINS:
        verdicts = chain_verdicts(timed)
        notes.append(summary(timed.table.name, verdicts))
        notes += [f"  {verdict.group}: {verdict.describe()}" for verdict in verdicts]
    return notes


def run_notes(tables: Sequence[TimedTable]) -> list[str]:
    """Return the notes on all figures, one fact a line."""
    times = times_of(tables)
    latency = times[0].latency
    notes = [
        f"{latency.device} · {latency.provenance}",
        f"what counts as a tie: {tables[0].orders.rule}",
        "relative: time relative to the first of the group; FLOPs of the paper's variants are "
        "equal to within 5.5 % only, and no figure is corrected for it",
        "paper: relative times from tables 1 to 4, Snapdragon 810 (ARM) and GTX 1080Ti (GPU), "
        "which had other widths each (docs/explain/guidelines.md)",
    ]
    if latency.provenance != "measured":
        notes.append(latency.note.partition(";")[0])  # the rest is about that network alone
    contended = sum(bool(time.latency.contended) for time in times)
    if contended:
        notes.append(
            f"contended while measured: {contended} of {len(times)}; close other programs"
        )
    return notes


def experiments_data(tables: Sequence[TimedTable]) -> list[dict[str, Any]]:
    """Return the tables as plain data."""
    return [_table_data(timed) for timed in tables]


def _table_data(timed: TimedTable) -> dict[str, Any]:
    published = published_speeds(timed.table)
    verdicts = chain_verdicts(timed)
    return {
        "name": timed.table.name,
        "title": timed.table.title,
        "rule": timed.orders.rule,
        "verdict": summary(timed.table.name, verdicts) if timed.table.name in CHAINS else "",
        "rows": [
            {
                "group": row.experiment.group,
                "variant": row.experiment.variant,
                "digest": row.experiment.network.digest,
                "network": network_to_document(row.experiment.network),
                "flops": _flops(row.experiment),
                "latency": None if row.time is None else row.time.latency.to_json(),
                "relative": row.relative,
                "relative_ci": None if row.relative_ci is None else list(row.relative_ci),
                "not_covered": list(row.not_covered),
                "paper": {
                    platform: {
                        "per_second": speed.per_second,
                        "relative_time": speed.relative_time,
                    }
                    for platform, speed in published[row.experiment].items()
                },
            }
            for row in timed.rows
        ],
        "orders": [
            {
                "group": verdict.group,
                "chain": list(verdict.chain),
                "standing": verdict.standing,
                "last_to_first": verdict.ends,
                "ties": [list(pair) for pair in verdict.ties],
                "contrary": [list(pair) for pair in verdict.contrary],
            }
            for verdict in verdicts
        ],
    }


def _times(row: ExperimentRow) -> tuple[str, str, str, str]:
    if row.time is None:
        return "not covered", NO_FIGURE, NO_FIGURE, NO_FIGURE
    latency = row.time.latency
    relative = NO_FIGURE if row.relative is None else f"{row.relative:.2f}"
    return f"{latency.ms:.3f}", interval(latency.ci_ms), relative, _interval(row.relative_ci)


def _interval(ends: Interval | None) -> str:
    return NO_FIGURE if ends is None else "{:.2f}–{:.2f}".format(*ends)


def _paper(speed: PublishedSpeed | None) -> str:
    return NO_FIGURE if speed is None else f"{speed.relative_time:.2f}"


def _channels(experiment: Experiment) -> str:
    match experiment.network.block:
        case PointwisePair(width, inner) | Bottleneck(width, inner) | Head(width, inner):
            return f"{width}:{inner}"
        case Unit(width, convolved):
            return f"{width}:{convolved}"
        case ShrinkingUnit(width, wider):
            return f"{width}:{wider}"
        case block:
            return str(block.width)


def _flops(experiment: Experiment) -> int:
    return cost_of(lower(experiment.network)).flops


def guidelines_data(found: GuidelineRun) -> dict[str, Any]:
    """A run of the experiments as plain data."""
    latency = times_of(found.tables)[0].latency
    return {
        "target": found.target,
        "device": latency.device,
        "provenance": latency.provenance,
        "tables": experiments_data(found.tables),
        "profile": {
            "digest": found.profile.digest,
            "accuracy": asdict(found.profile.accuracy),
        },
        "files": list(map(str, found.files)),
    }
