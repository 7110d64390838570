"""Show profiles as tables, notes and plain data."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.console import RenderableType

from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, RunKernel, RunKind
from nas_sv2.show.tables import interval, plain_table

WHAT: Final[dict[RunKind, str]] = {
    "conv": "convolutions but depthwise ones",
    "depthwise": "depthwise convolutions",
    "element-wise": "activations, sums, products, norms",
    "shuffle": "shuffles, splits, concats",
    "data": "changes of layout, copies",
    "other": "pools, classifier, gates",
}


def kind_table(name: str, profile: Profile) -> RenderableType:
    """Make the table of times by kind of kernel."""
    table = plain_table(name, "", "ms", "share", "kernels")
    counts = Counter(kernel.kind for kernel in profile.kernels)
    times = profile.kind_ms
    for kind, shown in zip(RUN_KINDS, adding_up([*times.values()]), strict=True):
        share = f"{times[kind] / profile.ms:.1%}"
        table.add_row(kind, WHAT[kind], shown, share, str(counts[kind]))
    (total,) = adding_up([profile.ms])
    table.add_row("sum", "", total, "100 %", str(len(profile.kernels)), style="bold")
    return table


def block_table(name: str, profile: Profile) -> RenderableType:
    """Make the table of times by block, with its longest kernel and its kinds."""
    table = plain_table(name, "longest kernel", "ms", "share", *RUN_KINDS)
    blocks = {block: kinds for block, kinds in profile.block_ms.items() if sum(kinds.values())}
    totals = adding_up([sum(kinds.values()) for kinds in blocks.values()])
    for (block, kinds), total in zip(blocks.items(), totals, strict=True):
        longest = max((k for k in profile.kernels if k.block == block), key=lambda k: k.us)
        cells = adding_up([*kinds.values()], float(total))
        cells = [ms if took else "–" for ms, took in zip(cells, kinds.values(), strict=True)]
        share = f"{sum(kinds.values()) / profile.ms:.1%}"
        table.add_row(block, longest.name, total, share, *cells)
    (total,) = adding_up([profile.ms])
    sums = adding_up([*profile.kind_ms.values()])
    table.add_row("sum", "", total, "100 %", *sums, style="bold")
    return table


def kernel_table(name: str, profile: Profile) -> RenderableType:
    """Make the table of kernels, the longest first, with the operators fused into each."""
    table = plain_table(name, "with", "runs as", "block", "kind", "ms", "share")
    kernels = sorted(profile.kernels, key=lambda kernel: -kernel.us)
    shown = adding_up([kernel.us / 1e3 for kernel in kernels])
    for kernel, ms in zip(kernels, shown, strict=True):
        share = f"{kernel.us / 1e3 / profile.ms:.1%}"
        besides = ", ".join(op.removeprefix(f"{kernel.block}.") for op in _besides(kernel))
        table.add_row(kernel.name, besides, kernel.runs_as, kernel.block, kernel.kind, ms, share)
    (total,) = adding_up([profile.ms])
    table.add_row("sum", "", "", "", "", total, "100 %", style="bold")
    return table


def adding_up(values_ms: Sequence[float], total_ms: float | None = None) -> list[str]:
    """Round values in ms to the µs such that the shown values add up to the shown sum.

    Args:
        values_ms: The parts, in ms.
        total_ms: The sum as it is shown, in ms; None for the rounded sum of the parts.
    """
    parts = [value * 1e3 for value in values_ms]
    total = round(sum(parts) if total_ms is None else total_ms * 1e3)
    whole = [math.floor(part) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda index: whole[index] - parts[index])
    for index in by_rest[: total - sum(whole)]:
        whole[index] += 1
    return [f"{us / 1e3:.3f}" for us in whole]


def profile_notes(name: str, profile: Profile) -> list[str]:
    """Return the notes on a profile, one fact a line."""
    notes = [f"{name}: {sum_in_words(profile)}"]
    melted = Counter(op.rpartition(".")[2] for op in _melted(profile))
    if melted:
        names = ", ".join(f"{count} × {op}" for op, count in melted.most_common())
        notes.append(f"{name}: run within another's kernel, and counted to it: {names}")
    whole = profile.whole
    if whole.note:
        notes.append(f"{name}: {whole.note}")
    return notes


def device_note(profile: Profile) -> str:
    """Name the device and the origin of the times."""
    return f"{profile.whole.device} · {profile.whole.provenance}"


def sum_in_words(profile: Profile) -> str:
    """Compare the sum of the kernels with the whole network, and explain the difference."""
    whole, kernels = profile.whole, len(profile.kernels)
    total = f"{kernels} kernels sum to {profile.ms:.3f} ms"
    if whole.runs is None:
        return f"{total}, which is the estimate; nothing ran"
    unprofiled = f"without the profiler the network took {whole.ms:.3f} ms"
    if whole.ci_ms is not None:
        unprofiled += f" (95 % interval {interval(whole.ci_ms)})"
    each_us = abs(whole.ms - profile.ms) * 1e3 / kernels
    if whole.contended:
        why = "other programs ran, so the difference says little"
    elif profile.beyond < 0:
        why = f"the profiler adds {each_us:.1f} µs to a kernel"
    else:
        why = f"gaps between kernels, {each_us:.1f} µs each"
    return f"{total}; {unprofiled}, {profile.beyond:+.1%}: {why}"


def profile_data(name: str, target: str, digest: str, profile: Profile) -> dict[str, Any]:
    """Return a profile as plain data; blocks are in the network's order, kernels in the run's."""
    return {
        "name": name,
        "digest": digest,
        "target": target,
        "provenance": profile.whole.provenance,
        "device": profile.whole.device,
        "sum_ms": profile.ms,
        "whole": profile.whole.to_json(),
        "whole_beyond_sum": profile.beyond,
        "kind_ms": profile.kind_ms,
        "block_ms": profile.block_ms,
        "kernels": [
            {
                "name": kernel.name,
                "runs_as": kernel.runs_as,
                "ops": list(kernel.ops),
                "block": kernel.block,
                "kind": kernel.kind,
                "us": kernel.us,
            }
            for kernel in profile.kernels
        ],
    }


def _melted(profile: Profile) -> dict[str, None]:
    """Return the operators without a kernel of their own, each once."""
    return {op: None for kernel in profile.kernels for op in _besides(kernel)}


def _besides(kernel: RunKernel) -> tuple[str, ...]:
    """Return a kernel's operators after the first, which gives the kind."""
    return kernel.ops[1:]
