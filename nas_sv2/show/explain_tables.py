"""Show why a network is slow or fast, as tables, notes and plain data."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from nas_sv2.api.inspection import Explanation
from nas_sv2.latency.breakdown.what_if import Gain, Gains
from nas_sv2.latency.guidelines.waste import Waste
from nas_sv2.latency.kernels.run_kernels import RunKind
from nas_sv2.show.tables import plain_table


def block_table(explained: Explanation) -> RenderableType:
    """Make the table of blocks with times, multiply-adds and guidelines."""
    columns = ("ms", "share", "MFLOPs", "pace", "G1", "G2", "G3", "G4")
    wasted = () if explained.waste is None else ("wasted", "most by")
    table = plain_table(explained.name, "mostly", *columns, *wasted)
    for block, scores in explained.scores.items():
        pace = explained.pace(block)
        cells = [
            f"{explained.block_ms(block):.3f}",
            f"{explained.share(block):.1%}",
            f"{explained.costs[block].flops / 1e6:.2f}",
            "–" if pace is None else f"{pace:.2f}",
            *("–" if score is None else f"{score:.2f}" for score in scores.values()),
        ]
        if explained.waste is not None:
            cells += _wasted(explained.waste[block])
        table.add_row(block, _mostly(explained.profile.block_ms[block]), *cells)
    return table


def explanation_notes(explained: Explanation) -> list[str]:
    """Explain and complete the table, one fact a line."""
    profile, whole = explained.profile, explained.profile.whole
    kinds = sorted(profile.kind_ms.items(), key=lambda kind: kind[1], reverse=True)
    shares = ", ".join(f"{kind} {ms / profile.ms:.0%}" for kind, ms in kinds if ms)
    notes = [
        f"{whole.ms:.3f} ms, {whole.provenance}, on {whole.device}",
        f"its kernels add up to {profile.ms:.3f} ms: {shares}",
        *_extremes(explained),
        "pace: time a multiply-add, the whole network 1; G1, G2: memory access beyond the ideal; "
        "G3: operators a MFLOP; G4: share of memory access that is element-wise",
    ]
    if explained.waste is None:
        notes.append(explained.unknown_waste)
    else:
        notes.append(_whole_waste(explained.waste))
    return notes + ([whole.note] if whole.note else [])


def _whole_waste(waste: Mapping[str, Waste]) -> str:
    us = sum(part.us for part in waste.values())
    names = next(iter(waste.values())).wasted_us
    shares = {name: sum(part.wasted_us[name] for part in waste.values()) / us for name in names}
    by = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return (
        "wasted: share of a block's estimated time against this device's guidelines; "
        f"of the whole network {sum(shares.values()):.1%}: {by}"
    )


def _extremes(explained: Explanation) -> list[str]:
    """Name the blocks with the most and the least time per multiply-add."""
    paces = {b: pace for b in explained.scores if (pace := explained.pace(b)) is not None}
    if len(paces) < 2:
        return []
    slow, fast = max(paces, key=paces.__getitem__), min(paces, key=paces.__getitem__)
    return [
        f"{what} for its multiply-adds: {block}, {explained.share(block):.1%} of the time, "
        f"{explained.share(block) / paces[block]:.1%} of the multiply-adds"
        for what, block in (("slowest", slow), ("fastest", fast))
    ]


def gain_lines(gains: Gains | None) -> list[str]:
    """Return a line for each counterfactual, the largest gain first, then an explanation."""
    if gains is None:
        return ["no counterfactuals: not a network of the space, whose choices can be changed"]
    if not gains.gains:
        return ["no counterfactuals: every choice is the plain one already"]
    base = gains.original
    lines = [gain_line(gain, base.ms, base.provenance) for gain in gains.gains]
    if gains.left_out:
        names = ", ".join(variant.name for variant in gains.left_out)
        lines.append(f"not measured, as they promise least on paper: {names}")
    return [*lines, f"against {base.ms:.3f} ms; {gains.rule}"]


def gain_line(gain: Gain, ms: float, provenance: str) -> str:
    """Describe a counterfactual of a network that takes `ms`."""
    parts = [f"{gain.variant.name}: {gain.ms:+.3f} ms ({gain.ms / ms:+.1%})"]
    if gain.settled is None:
        parts.append(provenance)
    elif gain.ci_ms is None:
        parts.append("no interval")
    else:
        parts.append("95 % {:+.3f} to {:+.3f}".format(*gain.ci_ms))
    if gain.settled is False:
        parts.append("a tie")
    parts.append(f"FLOPs {gain.variant.flops_change / 1e6:+.2f}M")
    return ", ".join(parts)


def explanation_data(explained: Explanation) -> dict[str, Any]:
    """Return the explanation as plain data."""
    gains = explained.gains
    return {
        "name": explained.name,
        "target": explained.target,
        "latency": explained.profile.whole.to_json(),
        "kernels_ms": explained.profile.ms,
        "kinds_ms": explained.profile.kind_ms,
        "blocks": [_block_data(explained, block) for block in explained.scores],
        "waste_unknown": explained.unknown_waste or None,
        "counterfactuals": None if gains is None else [_gain_data(gain) for gain in gains.gains],
        "against_ms": None if gains is None else gains.original.ms,
        "left_out": [] if gains is None else [variant.name for variant in gains.left_out],
        "rule": None if gains is None else gains.rule,
    }


def _block_data(explained: Explanation, block: str) -> dict[str, Any]:
    waste = None if explained.waste is None else explained.waste[block]
    return {
        "block": block,
        "ms": explained.block_ms(block),
        "share": explained.share(block),
        "kinds_ms": explained.profile.block_ms[block],
        "flops": explained.costs[block].flops,
        "pace": explained.pace(block),
        "guidelines": dict(explained.scores[block]),
        "wasted": None if waste is None else {"total": waste.total, **waste.shares},
    }


def _gain_data(gain: Gain) -> dict[str, Any]:
    return {
        "name": gain.variant.name,
        "digest": gain.variant.architecture.digest,
        "ms": gain.ms,
        "ci_ms": None if gain.ci_ms is None else list(gain.ci_ms),
        "settled": gain.settled,
        "flops": gain.variant.flops_change,
    }


def _mostly(kinds: Mapping[RunKind, float]) -> str:
    """Return the kind of operator that takes most of a block's time, with its share."""
    kind = max(kinds, key=kinds.__getitem__)
    whole = sum(kinds.values())
    return f"{kind} {kinds[kind] / whole:.0%}" if whole else "–"


def _wasted(waste: Waste) -> tuple[str, str]:
    worst = max(waste.wasted_us, key=waste.wasted_us.__getitem__)
    if not waste.wasted_us[worst]:
        return "0%", "–"
    return f"{waste.total:.0%}", f"{worst} {waste.shares[worst]:.0%}"
