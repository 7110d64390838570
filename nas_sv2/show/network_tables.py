"""Show one network as tables, lines and plain data: cost, time, variants, channels, forms."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import RenderableType

from nas_sv2.api.inspection import Explanation, NetworkCost
from nas_sv2.counts import counted
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.breakdown.what_if import Gain, Gains
from nas_sv2.latency.guidelines.waste import Waste
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, RunKernel, RunKind
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.resolution import height_and_width, in_pixels
from nas_sv2.show.console import plain_table
from nas_sv2.show.measure_tables import interval
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.space.model_files.model_file import ModelFile
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.reuse.channel_reuse import Matrix, PerPair, Reuse, ReusedWeights

if TYPE_CHECKING:  # they load torch
    from nas_sv2.studies.package.build import Exported
    from nas_sv2.studies.package.detector_export import ExportedDetector
    from nas_sv2.studies.package.file_latency import FileLatency


def cost_table(found: NetworkCost) -> RenderableType:
    """Make the table of a network's cost on paper."""
    network, cost, memory = found.named.network, found.cost, found.memory
    table = plain_table(found.named.name, "")
    rows = {
        "digest": network.digest,
        **_inputs(network),
        "multiply-adds": f"{cost.flops / 1e6:.2f} M",
        "params": f"{cost.params:,}",
        "memory access": f"{cost.memory_access_bytes / 1e6:.2f} MB",
        "  element-wise": f"{cost.elementwise_bytes / 1e6:.2f} MB",
        "operators": str(cost.kernel_count),
        "peak memory": memory_in_words(memory.bytes),
        "  weights": memory_in_words(memory.weight_bytes),
        "  activations": f"{memory_in_words(memory.activation_bytes)}, at {memory.at}",
        **{
            f"  set aside in {name}": memory_in_words(p.bytes) for name, p in found.planned.items()
        },
        **{f"{g} beyond its limit": f"{excess:+.1%}" for g, excess in found.excesses.items()},
    }
    for key, value in rows.items():
        table.add_row(key, value)
    return table


def _inputs(network: Network) -> dict[str, str]:
    """Return the row of the input, or of each input of an ONNX file."""
    if isinstance(network, OnnxModel):
        return {
            f"input {one.name}": f"{' × '.join(map(str, one.shape))}, {one.kind}"
            for one in network.inputs
        }
    if isinstance(network, ModelFile):
        return {}
    height, width = height_and_width(network.resolution)
    return {"input": f"{network.channels} × {height} × {width}"}


def batch_notes(networks: Iterable[Network]) -> list[str]:
    """Return a line for each ONNX file whose batch is open, so that 1 was taken."""
    files = [net.file for net in networks if isinstance(net, OnnxModel) and net.batch_taken]
    said = "leaves its batch open: taken as 1; --input names another"
    return [f"{file} {said}" for file in dict.fromkeys(files)]


def cost_data(found: NetworkCost) -> dict[str, Any]:
    """Return a network, its cost on paper and its peak memory as plain data."""
    return {
        **network_data(found.named.name, found.named.network, found.cost),
        "peak_memory_bytes": found.memory.bytes,
        "weight_bytes": found.memory.weight_bytes,
        "activation_bytes": found.memory.activation_bytes,
        "planned_memory_bytes": {name: p.bytes for name, p in found.planned.items()},
        "guidelines": dict(found.excesses),
    }


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


def explanation_table(explained: Explanation) -> RenderableType:
    """Make the table of blocks with times, multiply-adds and guidelines."""
    columns = ("ms", "share", "MFLOPs", "time/FLOP", "G1", "G2", "G3", "G4")
    wasted = () if explained.waste is None else ("wasted", "most by")
    table = plain_table(explained.name, "mostly", *columns, *wasted)
    for block, scores in explained.scores.items():
        relative = explained.time_per_flop(block)
        cells = [
            f"{explained.block_ms(block):.3f}",
            f"{explained.share(block):.1%}",
            f"{explained.costs[block].flops / 1e6:.2f}",
            "–" if relative is None else f"{relative:.2f}",
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
        "time/FLOP: time a multiply-add, that of the whole network being 1; "
        "G1, G2: memory access beyond the ideal; G3: operators a MFLOP; "
        "G4: share of memory access that is element-wise",
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
    times = {b: time for b in explained.scores if (time := explained.time_per_flop(b)) is not None}
    if len(times) < 2:
        return []
    slow, fast = max(times, key=times.__getitem__), min(times, key=times.__getitem__)
    return [
        f"{what} for its multiply-adds: {block}, {explained.share(block):.1%} of the time, "
        f"{explained.share(block) / times[block]:.1%} of the multiply-adds"
        for what, block in (("slowest", slow), ("fastest", fast))
    ]


def gain_lines(gains: Gains | None) -> list[str]:
    """Return a line for each variant, the largest gain first, then an explanation."""
    if gains is None:
        return ["no variants: not a network of the space, whose choices can be changed"]
    if not gains.gains:
        return ["no variants: every choice is the plain one already"]
    base = gains.original
    lines = [gain_line(gain, base.ms, base.provenance) for gain in gains.gains]
    if gains.left_out:
        names = ", ".join(variant.name for variant in gains.left_out)
        lines.append(f"not measured, as they promise least on paper: {names}")
    return [*lines, f"against {base.ms:.3f} ms; {gains.rule}"]


def gain_line(gain: Gain, ms: float, provenance: str) -> str:
    """Describe a variant of a network that takes `ms`."""
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
        "variants": None if gains is None else [_gain_data(gain) for gain in gains.gains],
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
        "time_per_flop": explained.time_per_flop(block),
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


WHAT: Final[dict[RunKind, str]] = {
    "conv": "convolutions but depthwise ones",
    "depthwise": "depthwise convolutions",
    "element-wise": "activations, sums, products, norms",
    "shuffle": "shuffles, splits, concats",
    "data": "changes of layout, copies",
    "other": "pools, classifier, gates",
}


def divisions(network: Network) -> Sequence[str]:
    """Return how a network's time is divided unless asked; an ONNX file has no blocks."""
    return ("kind",) if isinstance(network, OnnxModel) else ("kind", "block")


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
    table = plain_table(name, "with", "runs as", "block", "kind", "ms", "share", wrapped=(1,))
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
    sums = "sums" if kernels == 1 else "sum"
    total = f"{counted(kernels, 'kernel')} {sums} to {profile.ms:.3f} ms"
    if whole.runs is None:
        rest = whole.ms - profile.ms
        if rest < 1e-3:
            return f"{total}, which is the estimate; nothing ran"
        return f"{total}; the estimate has {rest:.3f} ms more, of no kernel; nothing ran"
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


def exported_lines(exported: "Exported | ExportedDetector") -> list[str]:
    """Return a line for each form's accuracy and each file's latency."""
    from nas_sv2.show.detection_tables import exported_detector_lines
    from nas_sv2.studies.package.build import Exported

    if not isinstance(exported, Exported):
        return exported_detector_lines(exported)
    from nas_sv2.studies.package.forms import TORCH

    lines = []
    for name, form in exported.forms.items():
        line = f"{name}: {form.images:,} training images that the study kept"
        if (figure := form.figure) is not None:
            shown = f"{figure.name} {figure.describe()}"
            line = f"{name}: {shown} of {form.images:,} validation images"
        if name != TORCH:
            line += f"; {form.differs()}{form.alike()}"
        lines.append(line)
    return [*lines, *_latencies(exported.latencies)]


def metrics_lines(metrics: Mapping[str, Any]) -> list[str]:
    """How good a trained network is, and how well each form agrees with it, a line each."""
    from nas_sv2.studies.package.form_checks import Agreement
    from nas_sv2.studies.package.forms import TORCH
    from nas_sv2.studies.package.full_package import int8_lines

    lines = int8_lines(metrics["int8_training"]) if "int8_training" in metrics else []
    lines += [
        f"{part} {_figure(found)}{_balance(found)}{_beside(found, metrics)}"
        f"{_cross_entropy(found)} ({found['images']:,} images)"
        for part in ("validation", "test")
        if (found := metrics[part]) is not None
    ]
    lines += [
        f"{name}: {_figure(form)}, {Agreement(**form).differs()}"
        for name, form in metrics["forms"].items()
        if name != TORCH
    ]
    return [*lines, *([f"no int8 form: {why}"] if (why := metrics["no_int8"]) else [])]


def _figure(found: Mapping[str, Any]) -> str:
    """Name top-1, the mean average precision of several labels, or the error of numbers."""
    from nas_sv2.evaluate.fitting.evaluation import Figure

    figure = Figure.find(found)
    assert figure is not None, "the labels were known"
    return f"{figure.name} {figure.describe()}"


def _cross_entropy(found: Mapping[str, Any]) -> str:
    return "" if found.get("mae") is not None else f", cross-entropy {found['loss']:.4f}"


def _beside(found: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Name the score of the recipe; nothing for top-1 and cross-entropy, which are shown."""
    from nas_sv2.evaluate.fitting.validation import Validation

    return Validation(**found).beside(metrics["recipe"]["score"])


def _balance(found: Mapping[str, Any]) -> str:
    """Say how a network that always names one class compares; empty in a resumed old training."""
    if found["balanced_accuracy"] is None:
        return ""
    return (
        f" (balanced {found['balanced_accuracy']:.2%}; always naming the commonest class "
        f"{found['majority']:.2%})"
    )


def _latencies(rows: Sequence["FileLatency"]) -> list[str]:
    """Name each file with its latency, then, for each reason, those that have none."""
    lacking: dict[str, list[str]] = {}
    for row in rows:
        if row.latency is None:
            lacking.setdefault(row.why, []).append(row.file)
    timed = [_timed(row, row.latency) for row in rows if row.latency is not None]
    return timed + [f"no latency of {', '.join(f)}: {why}" for why, f in lacking.items()]


def _timed(row: "FileLatency", latency: Latency) -> str:
    against = ""
    if row.against is not None:
        against = f", {row.against[0]:.3f} times as long as in float32"
    where = f"{row.file}, {in_pixels(row.side, ' × ')}, on {row.target}"
    return f"{where}: {latency.ms:.3f} ms {latency.provenance}{against}"
