"""Profiles as tables for people and data for programs."""

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
    """The time by kind of kernel."""
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
    """The time by block, with the longest kernel of each and the kinds as columns."""
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
    """Every kernel, the longest first, with what it carries out besides."""
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
    """Values in ms to the µs, rounded so that what is shown adds up to the sum that is shown.

    Args:
        values_ms: The parts.
        total_ms: What they shall add up to, where it is shown rounded already.
    """
    parts = [value * 1e3 for value in values_ms]
    total = round(sum(parts) if total_ms is None else total_ms * 1e3)
    whole = [math.floor(part) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda index: whole[index] - parts[index])
    for index in by_rest[: total - sum(whole)]:
        whole[index] += 1
    return [f"{us / 1e3:.3f}" for us in whole]


def profile_notes(name: str, profile: Profile) -> list[str]:
    """What has to be known of a profile, one fact a line."""
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
    """Where, and how the times were had."""
    return f"{profile.whole.device} · {profile.whole.provenance}"


def sum_in_words(profile: Profile) -> str:
    """The sum of the kernels and the network as a whole, and where they differ why."""
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
    """A profile as plain data; blocks and kernels in the order of the network and of the run."""
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
    """Operators that have no kernel of their own, each once."""
    return {op: None for kernel in profile.kernels for op in _besides(kernel)}


def _besides(kernel: RunKernel) -> tuple[str, ...]:
    """What a kernel carries out besides the first of its operators, which says its kind."""
    return kernel.ops[1:]
