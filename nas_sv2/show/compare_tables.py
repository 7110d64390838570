"""Show the paper's table 8 on a device as tables, notes and plain data."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType

from nas_sv2.show.tables import interval, network_data, plain_table
from nas_sv2.studies.paper.comparison import YOURS, Comparison, Row, arm_speed, gpu_speed
from nas_sv2.studies.paper.comparison_orders import (
    EQUAL_FLOPS_WITHIN,
    PUBLISHED_TIE,
    Agreement,
    Inversion,
    RankedPair,
    agreement,
    inversions,
)

PUBLISHED = {"ARM": arm_speed, "GPU": gpu_speed}
RECONSTRUCTED = "†"
DASH = "–"
SHOWN_INVERSIONS = 20
SHOWN_AGAINST = 5


def level_table(comparison: Comparison, level: str) -> RenderableType:
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


def _cells(comparison: Comparison, row: Row) -> Iterator[str]:
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


def comparison_notes(comparison: Comparison) -> list[str]:
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


def inversion_notes(comparison: Comparison, found: list[Inversion]) -> list[str]:
    """Return the number of inversions and their definition."""
    rules = dict.fromkeys(session.orders.rule for session in comparison.sessions)
    count = f"{len(found)} inversion{'' if len(found) == 1 else 's'}"
    within = f"FLOPs within {EQUAL_FLOPS_WITHIN:.0%}, the fewer slower, settled orders only"
    more = f"; the worst {SHOWN_INVERSIONS} are shown, --json lists all"
    return [f"{count}: {within}" + more * (len(found) > SHOWN_INVERSIONS), *rules]


def agreement_table(comparison: Comparison) -> RenderableType:
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


def agreement_notes(comparison: Comparison) -> list[str]:
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


def _agreements(comparison: Comparison) -> Iterator[tuple[str, bool, Agreement]]:
    for device, speed in PUBLISHED.items():
        for known_only in (False, True):
            yield device, known_only, agreement(comparison, speed, known_only)


def comparison_data(comparison: Comparison) -> dict[str, Any]:
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


def _row_data(comparison: Comparison, row: Row) -> dict[str, Any]:
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
