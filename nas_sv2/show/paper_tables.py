"""Show the paper's experiments on a device: Table 8, and those behind G1-G4."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType

from nas_sv2.api.device_costs import GuidelineRun
from nas_sv2.counts import counted
from nas_sv2.latency.guidelines.experiment_run import ExperimentRow, TimedTable, times_of
from nas_sv2.latency.measurements.measurement import Interval
from nas_sv2.show.console import plain_table
from nas_sv2.show.measure_tables import interval
from nas_sv2.show.network_tables import network_data
from nas_sv2.space.experiments.blocks import Bottleneck, Head, PointwisePair, ShrinkingUnit, Unit
from nas_sv2.space.experiments.paper import Experiment, Platform
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower, network_to_document
from nas_sv2.studies.paper.comparison import YOURS, PaperComparison, Row, arm_speed, gpu_speed
from nas_sv2.studies.paper.comparison_orders import (
    EQUAL_FLOPS_WITHIN,
    PUBLISHED_TIE,
    Inversion,
    OrderAgreement,
    RankedPair,
    agreement,
    inversions,
)
from nas_sv2.studies.paper.guidelines import CHAINS, chain_verdicts, summary
from nas_sv2.studies.paper.published_figures import PublishedSpeed, published_speeds

PUBLISHED = {"ARM": arm_speed, "GPU": gpu_speed}
RECONSTRUCTED = "†"
DASH = "–"
SHOWN_INVERSIONS = 20
SHOWN_AGAINST = 5


def level_table(comparison: PaperComparison, level: str) -> RenderableType:
    """Make the table of a level's networks, with the paper's columns beside ours."""
    table = plain_table(
        f"{level} level",
        "our name",
        "MFLOPs",
        "paper's\nMFLOPs",
        "Mparams",
        "paper's\ntop-1 err",
        "GPU\nbatches/s",
        "ARM\nimages/s",
        f"{comparison.target} ms\n({comparison.provenance})",
        "speed\nto V2",
        "ARM\nto V2",
        "GPU\nto V2",
    )
    for row in comparison.rows:
        if row.level == level:
            table.add_row(*_cells(comparison, row), style=None if row.latency else "dim")
    return table


def _cells(comparison: PaperComparison, row: Row) -> Iterator[str]:
    cost, published = row.cost, row.published
    yield row.model
    yield row.name + (f" {RECONSTRUCTED}" if row.reconstructed else "")
    yield _mflops(row)
    yield _number(None if published is None else published.mflops, "g")
    yield _number(None if cost is None else cost.params / 1e6, ".2f")
    yield _number(None if published is None else published.top1_error, ".1f")
    yield _number(gpu_speed(row), "g")
    yield _number(arm_speed(row), "g")
    yield _ms(row)
    yield _number(comparison.speed(row), ".2f")
    for speed in PUBLISHED.values():
        yield _number(comparison.published_speed(row, speed), ".2f")


def _ms(row: Row) -> str:
    if row.latency is None:
        return row.lacks.split(":")[0]  # a note lists the kernels that are not covered
    if row.latency.ci_ms is None:
        return f"{row.latency.ms:.2f}"
    low, high = row.latency.ci_ms
    return f"{row.latency.ms:.2f} ±{(high - low) / 2:.2f}" + "*" * bool(row.latency.contended)


def comparison_notes(comparison: PaperComparison) -> list[str]:
    """Return the notes on the levels' tables, one fact a line."""
    rows = comparison.rows
    latencies = [row.latency for row in rows if row.latency is not None]
    notes = [f"{comparison.device} · {comparison.provenance}"]
    if comparison.provenance == "measured":
        notes.append("±: half the 95 % interval; of networks timed together the ratios count")
        paces = {one.reference_ms: one.reference for one in latencies if one.reference_ms}
        shown = ", ".join(f"{ms:.3f}" for ms in paces)
        notes += [f"{name} took {shown} ms beside them" for name in dict.fromkeys(paces.values())]
        if any(one.contended for one in latencies):
            notes.append("*: contended, other programs held the processor for a part of the runs")
    else:
        # The first part of an emulated figure's note is about the method, the rest about itself.
        notes += dict.fromkeys(one.note.split(";")[0] for one in latencies if one.note)
    reasons = dict.fromkeys((row.family, row.reconstructed) for row in rows if row.reconstructed)
    notes += [f"{RECONSTRUCTED} reconstructed, {family}: {why}" for family, why in reasons]
    for lacks in dict.fromkeys(row.lacks for row in rows if row.lacks):
        names = dict.fromkeys(row.name or row.model for row in rows if row.lacks == lacks)
        notes.append(f"{lacks} ({', '.join(names)})")
    notes.append(
        "paper's: ShuffleNet V2, table 8; GPU a GTX 1080Ti, batches of 8; ARM a Snapdragon 810, "
        "one thread"
    )
    if any(row.family == YOURS for row in rows):
        notes.append("networks of yours stand with the level nearest in FLOPs; no published error")
    return notes


def inversion_table(found: list[Inversion]) -> RenderableType:
    """Make the table of networks that FLOPs order wrongly, the worst first."""
    columns = ("MFLOPs", "× as long", "95 % interval", "paper's ARM", "paper's GPU")
    table = plain_table("slower, of fewer FLOPs", "faster", *columns)
    for one in found[:SHOWN_INVERSIONS]:
        table.add_row(
            one.slower.name,
            one.faster.name,
            f"{_mflops(one.slower)} to {_mflops(one.faster)}",
            f"{one.ratio:.2f}",
            interval(one.ratio_ci),
            *(_number(one.published_ratio(speed), ".2f") for speed in PUBLISHED.values()),
        )
    return table


def _mflops(row: Row) -> str:
    return _number(None if row.cost is None else row.cost.flops / 1e6, ".1f")


def inversion_notes(comparison: PaperComparison, found: list[Inversion]) -> list[str]:
    """Return the number of inversions and their definition."""
    rules = dict.fromkeys(session.orders.rule for session in comparison.sessions)
    count = counted(len(found), "inversion")
    within = f"FLOPs within {EQUAL_FLOPS_WITHIN:.0%}, the fewer slower, settled orders only"
    more = f"; the worst {SHOWN_INVERSIONS} are shown, --json lists all"
    return [f"{count}: {within}" + more * (len(found) > SHOWN_INVERSIONS), *rules]


def agreement_table(comparison: PaperComparison) -> RenderableType:
    """Make the table of agreement between the order here and those of the paper's devices."""
    columns = ("Spearman", "Kendall", "pairs in order", "no ties there", "none here")
    table = plain_table("times here and there", "networks", *columns)
    for device, known_only, found in _agreements(comparison):
        which = f"{found.networks} known" if known_only else f"{found.networks}"
        table.add_row(
            f"paper's {device}",
            which,
            _number(found.spearman, ".3f"),
            _number(found.kendall, ".3f"),
            *map(_share, (found.pairs, found.apart, found.settled)),
        )
    return table


def agreement_notes(comparison: PaperComparison) -> list[str]:
    """Explain the agreement, and list the pairs that are in opposite order."""
    within = f"of a level, FLOPs within {EQUAL_FLOPS_WITHIN:.0%}"
    notes = [
        f"pairs: {within}; a tie there: published speeds within {PUBLISHED_TIE:.0%}; none here: "
        f"settled orders only; known: without {RECONSTRUCTED}"
    ]
    against = agreement(comparison, arm_speed, known_only=True).against
    notes += [
        f"against the paper's ARM: {pair.slower.name} is slower here than {pair.faster.name}"
        f"{'' if pair.settled else ' (a tie)'}, there {_number(arm_speed(pair.slower), 'g')} to "
        f"{_number(arm_speed(pair.faster), 'g')} images/s"
        for pair in against[:SHOWN_AGAINST]
    ]
    if len(against) > SHOWN_AGAINST:
        notes.append(f"and {len(against) - SHOWN_AGAINST} further pairs; --json lists all")
    return notes


def _agreements(comparison: PaperComparison) -> Iterator[tuple[str, bool, OrderAgreement]]:
    for device, speed in PUBLISHED.items():
        for known_only in (False, True):
            yield device, known_only, agreement(comparison, speed, known_only)


def comparison_data(comparison: PaperComparison) -> dict[str, Any]:
    """Return the comparison as plain data."""
    return {
        "target": comparison.target,
        "device": comparison.device,
        "provenance": comparison.provenance,
        "batch": comparison.batch,
        "rows": [_row_data(comparison, row) for row in comparison.rows],
        "rules": list(dict.fromkeys(one.orders.rule for one in comparison.sessions)),
        "inversions": [
            {
                "slower": one.slower.name,
                "faster": one.faster.name,
                "level": one.slower.level,
                "slower_to_faster": one.ratio,
                "slower_to_faster_ci": None if one.ratio_ci is None else list(one.ratio_ci),
                "paper_arm": one.published_ratio(arm_speed),
                "paper_gpu": one.published_ratio(gpu_speed),
            }
            for one in inversions(comparison)
        ],
        "agreement": [
            {
                "with": f"paper_{device.lower()}",
                "known_structures_only": known_only,
                "networks": found.networks,
                "spearman": found.spearman,
                "kendall": found.kendall,
                "pairs": [
                    {
                        "slower": pair.slower.name,
                        "faster": pair.faster.name,
                        "in_order": pair.in_order,
                        "tie_there": not pair.apart,
                        "settled": pair.settled,
                    }
                    for pair in found.pairs
                ],
            }
            for device, known_only, found in _agreements(comparison)
        ],
    }


def _row_data(comparison: PaperComparison, row: Row) -> dict[str, Any]:
    published, built = row.published, {"name": row.name or None}
    if row.network is not None and row.cost is not None:
        built = network_data(row.name, row.network, row.cost)
    return {
        **built,
        "level": row.level,
        "model": row.model,
        "family": row.family,
        "resolution": None if row.network is None else row.network.resolution,
        "reconstructed": row.reconstructed or None,
        "paper_mflops": None if published is None else published.mflops,
        "paper_top1_error": None if published is None else published.top1_error,
        "paper_gpu_batches_per_s": gpu_speed(row),
        "paper_arm_images_per_s": arm_speed(row),
        "latency": None if row.latency is None else row.latency.to_json(),
        "lacks": row.lacks or None,
        "images_per_s": comparison.images_per_s(row),
        "speed_to_v2": comparison.speed(row),
        "paper_arm_speed_to_v2": comparison.published_speed(row, arm_speed),
        "paper_gpu_speed_to_v2": comparison.published_speed(row, gpu_speed),
    }


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)


def _share(pairs: Sequence[RankedPair]) -> str:
    in_order = sum(pair.in_order for pair in pairs)
    return f"{in_order / len(pairs):.0%} of {len(pairs)}" if pairs else DASH


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
        return "not covered", DASH, DASH, DASH
    latency = row.time.latency
    relative = DASH if row.relative is None else f"{row.relative:.2f}"
    return f"{latency.ms:.3f}", interval(latency.ci_ms), relative, _interval(row.relative_ci)


def _interval(ends: Interval | None) -> str:
    return DASH if ends is None else "{:.2f}–{:.2f}".format(*ends)


def _paper(speed: PublishedSpeed | None) -> str:
    return DASH if speed is None else f"{speed.relative_time:.2f}"


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
