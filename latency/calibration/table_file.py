"""Makes the table of an emulated core in a runtime, a JSON file, and sets its scale on a device.

Tiny graphs run on emulated aarch64, and their blocks are priced for the core (`emulator`). A few
coefficients are fitted to each kind of kernel (`fit`). Finished batches stay in the folder. An
interrupted calibration therefore continues, and another core, which prices the same counts, takes
minutes.

Cycles of the table leave out caches and memory, and the device may have another clock. If a device
of the same kind is available, latencies of a dozen networks determine the one factor between
cycles and milliseconds. They also show the error of the table on that device.
"""

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.files import write_out
from nas_sv2.latency.calibration.emulator import Counts, Emulator, Run
from nas_sv2.latency.calibration.fit import Overhead, Sample, fit, samples, write_model
from nas_sv2.latency.calibration.formulas import fit_formulas
from nas_sv2.latency.calibration.grid import RESOLUTIONS, batches, output_pairs, overhead_points
from nas_sv2.latency.calibration.litert_grid import litert_points
from nas_sv2.latency.calibration.map_grid import map_batches
from nas_sv2.latency.calibration.ncnn_grid import ncnn_points
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.calibration.whole_run_fit import fit_whole_runs
from nas_sv2.latency.calibration.workshop import Workshop, prepare
from nas_sv2.latency.emulated.arm_cores import (
    CORES,
    EFFICIENCY,
    FITS,
    PRECISIONS,
    TITLES,
    Core,
    check_kernels_known,
    core_named,
)
from nas_sv2.latency.emulated.kernel_table import (
    EXTRAPOLATION,
    MORE_PARTS,
    SCHEMA,
    KernelCost,
    KernelTable,
    table_text,
)
from nas_sv2.latency.emulated.scale import refit_scale
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime
from nas_sv2.space.graph.operators import Graph

PUBLISHED_CORE = CORES["cortex-a57"]
MODEL_TITLES = {"neoverse-n1": "Neoverse N1", "cortex-a55": "Cortex-A55"}
"""LLVM's models that price another core."""
PUBLISHED: dict[str, Any] = {
    "rows": 35,
    "date": "2026-11-25",
    "typical": 0.117,
    "worst": 0.36,
    "spearman": 0.979,
    "kendall": 0.888,
    "equal_flops_pairs_in_order": 0.80,
    "equal_flops_pairs_in_order_but_ties": 0.85,
    "of_published_structure": {
        "rows": 17,
        "typical": 0.101,
        "worst": 0.36,
        "spearman": 0.985,
        "kendall": 0.926,
        "equal_flops_pairs_in_order": 0.84,
        "equal_flops_pairs_in_order_but_ties": 0.92,
    },
}
"""Output of benchmarks/arm_fidelity.py: whole networks in float32 against Table 8."""
SCALE_ROWS = 18
"""Rows of Table 8 that the scale was fitted to: ShuffleNet V1 and V2, MobileNet V1 and V2. A fit
to all 35 rows would be only 0.6 % higher."""
MEANING = (
    "Cycles of a kernel are the sum over `cycles` of term × coefficient. A term is a product of: "
    "1; in and out, channels; parts, of a split or concat; looked, the mean share of a quantised "
    "concat that is looked up and not copied; relu, sigmoid, add, 1 where that is fused and else "
    "0; lone, 1 where ReLU is and nothing else; out^8, channels rounded up to a multiple of 8; "
    "out%4, what is left over by 4; out?4, 1 where anything is; out&8, 1 where that bit is set; "
    "out<64, channels up to 64. A key is the "
    "kind of kernel @ the side of the square map it reads; clipped, with ReLU6 fused; summed, "
    "with a sum and no ReLU; shuffle, in more than two groups; int8 kernels work on pixels (NHWC) "
    "unless it says planes. "
    "channels_in, channels_out: least and most that were calibrated. points: kernels the fit saw; "
    "left_out: others, far above the fit. "
    "error_mean, error_max: relative error of the fit on a kernel it did not see. "
    "formulas: the same by kind, for maps without an entry; rows, columns, area, of the map "
    "written; read, pixels of the map read; inner and deep, columns without 2 and 4 at the edges; "
    "area>2, 1 where there are more; their error_mean and error_max are on maps left out of the "
    "fit, as shares of the kernel's cycles or of 10000, whichever is more."
)
METHOD = (
    "Each kernel ran in onnxruntime's aarch64 build under qemu-user, whose basic blocks were "
    "counted; llvm-mca's scheduling model of the core gave each block's cycles in steady state. "
    "Loads hit the first cache, branches are foreseen. What profiling adds is taken off "
    "(`overhead`, cycles); dispatch of a node is kept, the call of an inference (per_run) is not."
)

LITERT_METHOD = (
    "Tiny networks ran in LiteRT's aarch64 build with XNNPACK under qemu-user, as on this core. "
    "Their basic blocks were counted; llvm-mca's scheduling model of the core gave each block's "
    "cycles in steady state. Loads hit the first cache, branches are foreseen. A kernel is a "
    "whole run less the start of a run (per_run) and less the other kernels in it. `memory` is "
    "added: cycles for each byte of the maps that a kernel reads and writes. ragged, with output "
    "channels that are no multiple of 8; padded, with zeros around the map by an operator."
)
NCNN_METHOD = (
    "Tiny networks ran in ncnn's aarch64 build under qemu-user, as on this core. "
    "Their basic blocks were counted; llvm-mca's scheduling model gave each block's cycles in "
    "steady state. Loads hit the first cache, branches are foreseen. A kernel is a whole run less "
    "the run of the graph's first layer and less the other kernels in it. `memory` is added: "
    "cycles for each byte of the maps that a kernel reads and writes. pack8, pack4, pack1: eight "
    "channels kept together, four or one; pack1to4, a change between them; direct, with no "
    "product of matrices; relu6, 1 where that is fused and else 0."
)
METHODS: Mapping[ArmRuntime, str] = {
    "onnxruntime": METHOD,
    "litert": LITERT_METHOD,
    "ncnn": NCNN_METHOD,
}
POINTS: Mapping[ArmRuntime, Callable[[ArmPrecision], Iterator[Point]]] = {
    "litert": lambda precision: litert_points(),
    "ncnn": ncnn_points,
}
"""The grids of runtimes whose packages have no profiler."""


@dataclass(frozen=True, slots=True)
class Section:
    """The results of a calibration for one precision."""

    entries: Mapping[str, Mapping[str, Any]]
    formulas: Mapping[str, Mapping[str, Any]]
    overhead: Overhead
    runtime: ArmRuntime = "onnxruntime"

    @property
    def fitted(self) -> Mapping[str, Mapping[str, Any]]:
        """The costs whose errors the table states; one of LiteRT or ncnn has few entries."""
        return self.entries if self.runtime == "onnxruntime" else {**self.entries, **self.formulas}


def render(
    core: Core,
    sections: Mapping[ArmPrecision, Section],
    versions: Mapping[str, str],
    day: str,
    runtime: ArmRuntime = "onnxruntime",
) -> str:
    """Return the text of the file."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "core": core.name,
        **({} if runtime == "onnxruntime" else {"runtime": runtime}),
        "model": f"LLVM's scheduling model of {core.model_for(runtime)}",
        "meaning": MEANING,
        "method": METHODS[runtime],
        "versions": dict(versions),
        "built": day,
        "extrapolation": {"channels": EXTRAPOLATION, "parts": MORE_PARTS},
    }
    if core == PUBLISHED_CORE and "fp32" in sections and runtime == "onnxruntime":
        head["published"] = PUBLISHED
    tables = ",\n".join(
        _table(core, precision, section, versions) for precision, section in sections.items()
    )
    start = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{start},\n "tables": {{\n{tables}\n }}\n}}\n'


def with_scale(text: str, precision: ArmPrecision, cycles_per_ms: float, why: str) -> str:
    """Return the text with another scale for `precision`, and with the reason for it."""
    document = json.loads(text)
    table = document["tables"][precision]
    table["scale"] = {"cycles_per_ms": round(cycles_per_ms), "origin": why}
    table["note"] = f"emulated; {why}"
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def scale_origin(core: Core, runtime: ArmRuntime = "onnxruntime") -> str:
    """Return the origin of the factor between cycles and milliseconds."""
    if runtime != "onnxruntime":
        return (
            f"an assumption: {core.efficiency(runtime):.0%} of the {core.clock_ghz:g} GHz of a "
            f"{core.board}, the mean share of the clock on {FITS[runtime][core.name].devices}"
        )
    if core == PUBLISHED_CORE:
        return (
            f"one factor fitted to {SCALE_ROWS} rows of the ShuffleNet V2 paper's Table 8, "
            f"ARM column ({core.board}): {EFFICIENCY:.0%} of the core's nominal "
            f"{core.clock_ghz:g} GHz; caches, memory and branches, which cycles leave out, and "
            "the difference between the paper's library and onnxruntime"
        )
    return (
        f"an assumption: {EFFICIENCY:.0%} of the {core.clock_ghz:g} GHz of a {core.board}, the "
        f"share that was fitted for the {PUBLISHED_CORE.title}; no speeds are published that it "
        "could be held against"
    )


def note_of(core: Core, precision: ArmPrecision, runtime: ArmRuntime = "onnxruntime") -> str:
    """Return the note that accompanies every latency from the table."""
    if runtime != "onnxruntime":
        fit = FITS[runtime][core.name]
        return (
            f"emulated; ratios are off by {fit.typical:.1%} in the mean, {fit.worst:.0%} at "
            f"worst, against published {TITLES[runtime]} speeds of {fit.devices}; ms assume "
            f"{fit.efficiency:.0%} of {core.clock_ghz:g} GHz ({core.board})"
        )
    if core == PUBLISHED_CORE and precision == "fp32":
        return (
            f"emulated, typical error ±{PUBLISHED['typical']:.1%}, worst {PUBLISHED['worst']:.0%} "
            f"against {PUBLISHED['rows']} published Snapdragon 810 rows"
        )
    if core == PUBLISHED_CORE:
        return "emulated; no int8 speeds are published to hold it against; scale of fp32"
    return (
        f"emulated; no speeds are published to hold it against; ms assume {EFFICIENCY:.0%} of "
        f"{core.clock_ghz:g} GHz ({core.board}), compare ratios only"
    )


def memory_of(core: Core, runtime: ArmRuntime) -> dict[str, Any]:
    """Return the cost of memory in a table of LiteRT or ncnn, and its origin."""
    fit, title = FITS[runtime][core.name], TITLES[runtime]
    return {
        "cycles_per_byte": fit.cycles_per_byte,
        "origin": f"fitted to published {title} speeds of {fit.devices}, with a scale for each",
    }


def device_of(
    core: Core,
    precision: ArmPrecision,
    versions: Mapping[str, str],
    runtime: ArmRuntime = "onnxruntime",
) -> str:
    """Return the device in words, for every table and file."""
    parts = versions[runtime].split(".")
    version = ".".join(parts if runtime == "ncnn" else parts[:2])  # ncnn's third part is a date
    by = core.model_for(runtime)
    model = "" if by == core.name else f" (LLVM's {MODEL_TITLES[by]})"
    return (
        f"{core.title} model{model} · {TITLES[runtime]} {version} aarch64 kernels"
        f" · 1 thread · batch 1 · {precision}"
    )


def _table(
    core: Core, precision: ArmPrecision, section: Section, versions: Mapping[str, str]
) -> str:
    runtime = section.runtime
    errors = [entry["error_mean"] for entry in section.fitted.values()]
    about = {
        "device": device_of(core, precision, versions, runtime),
        "note": note_of(core, precision, runtime),
        "scale": {
            "cycles_per_ms": round(core.cycles_per_ms(runtime=runtime)),
            "origin": scale_origin(core, runtime),
        },
        **({"memory": memory_of(core, runtime)} if runtime in FITS else {}),
        "guest": core.guest_for(precision, runtime).name,
        "fit": {
            "entries": len(errors),
            "error_mean": round(sum(errors) / len(errors), 4),
            "error_max": max(entry["error_max"] for entry in section.fitted.values()),
        },
        "overhead": dataclasses.asdict(section.overhead),
    }
    start = json.dumps(about, ensure_ascii=False).removesuffix("}")
    entries, formulas = _lines(section.entries), _lines(section.formulas)
    return f'  {json.dumps(precision)}: {start}, "entries": {entries}, "formulas": {formulas}}}'


def _lines(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return JSON with a line for each entry."""
    lines = ",\n".join(
        f"   {json.dumps(key)}: {json.dumps(entry, separators=(',', ':'))}"
        for key, entry in sorted(entries.items())
    )
    return f"{{\n{lines}\n  }}"


def save_refit(
    core: str | Path,
    precision: ArmPrecision,
    pairs: Sequence[tuple[Graph, float]],
    out: Path,
    figures: str = "networks measured on the device",
    runtime: ArmRuntime = "onnxruntime",
) -> str:
    """Write a table with the scale refitted to a device; its note names the fit and its error.

    Args:
        core: The device's core, whose shipped table is used, or a table's file.
        precision: Precision of the measurements; other tables of the file stay as they are.
        pairs: Graphs as they ran, and their ms.
        out: JSON file to write, for `EmulatedArm.open(file=...)`.
        figures: Says what the scale is fitted to, after the number of networks.
        runtime: The runtime of the table and of the latencies.

    Returns:
        The note.

    Raises:
        ConfigError: If there are fewer than two networks or a latency is not above 0.
        DeviceError: If the table cannot be read.
        MeasurementError: If the table lacks a kernel of a network.
    """
    cycles_per_ms, error = refit_scale(KernelTable.load(core, precision, runtime), pairs)
    note = error.describe(figures)
    write_out(out, with_scale(table_text(core, runtime), precision, cycles_per_ms, note))
    return note


AT_ONCE = 200  # inferences in one emulated process: some minutes, lost if it is interrupted
Progress = Callable[[str, float], None]
"""Function called with the current step and the finished share."""


def calibrate(
    core: str,
    folder: Path,
    out: Path,
    progress: Progress,
    precisions: Sequence[ArmPrecision] = PRECISIONS,
    resolutions: Sequence[int] = RESOLUTIONS,
    runtime: ArmRuntime = "onnxruntime",
) -> Path:
    """Write the table of `core` for the installed runtime.

    It takes over an hour for both precisions of onnxruntime. It takes some minutes for LiteRT and
    ncnn, whose tables are of one precision and of any input.

    Args:
        core: One of `arm_cores.CORE_NAMES`.
        folder: Folder of the emulated system and all results; the same folder continues a
            calibration.
        out: JSON file to write.
        progress: Function called with the current step and the finished share.
        precisions: Precisions of the table.
        resolutions: Sides of the inputs that onnxruntime's table covers, each divisible by 32.
        runtime: The runtime whose kernels are priced.

    Raises:
        ConfigError: If the core is unknown, a side is not divisible by 32, the runtime's kernels
            are not known on the core or in a precision, or the folder cannot be written to.
        DeviceError: If a program is missing; the message says how to install all missing ones.
        MeasurementError: If onnxruntime ran other kernels than predicted.
    """
    chosen = core_named(core)
    for precision in precisions:
        check_kernels_known(core, runtime, precision)
    for side in resolutions:
        if side < 32 or side % 32:
            raise ConfigError("resolution", side, "must be divisible by 32")
    progress("preparing", 0.0)
    shop = prepare(folder, runtime)
    sections = {}
    for index, precision in enumerate(precisions):

        def advance(what: str, share: float, index: int = index) -> None:
            progress(what, (index + share) / len(precisions))

        sections[precision] = (
            _whole_run_section(shop, chosen, precision, runtime, advance)
            if runtime in POINTS
            else _section(shop, chosen, precision, resolutions, advance)
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    write_out(out, render(chosen, sections, shop.versions(runtime), today, runtime))
    progress("done", 1.0)
    return out


def emulate(
    shop: Workshop,
    core: Core,
    precision: ArmPrecision,
    name: str,
    points: Sequence[Point],
    *,
    profile: bool,
    runtime: ArmRuntime = "onnxruntime",
) -> list[Run]:
    """Run one inference of each point that has not run yet, and price all for `core`."""
    emulator = Emulator(shop, core.guest_for(precision, runtime))
    work = shop.folder / "work" / f"{precision}_{emulator.guest.name}" / name
    kept = work / "counts.npz"
    counts = Counts.load(kept) if kept.exists() else Counts((), ())
    known = {run.model for run in counts.runs}
    missing = [point for point in points if point.name not in known]
    for start in range(0, len(missing), AT_ONCE):
        some = missing[start : start + AT_ONCE]
        with shop.alone():
            models = [
                write_model(point.name, point.graph, precision, work, runtime) for point in some
            ]
            counts = counts.joined(emulator.run(models, work, profile=profile))
            counts.save(kept)
    runs = {run.model: run for run in counts.runs}
    counts = Counts(counts.blocks, [runs[point.name] for point in points])
    return counts.priced(emulator.pricer(core, runtime))


def _section(
    shop: Workshop,
    core: Core,
    precision: ArmPrecision,
    resolutions: Sequence[int],
    progress: Progress,
) -> Section:
    grid = batches(precision, resolutions)
    bare = overhead_points(precision, resolutions)
    total = len(bare) + sum(map(len, grid.values()))
    done = 0

    def ran(name: str, points: Sequence[Point], profile: bool) -> list[Run]:
        nonlocal done
        progress(f"{core.name} {precision}: {name}", done / total)
        done += len(points)
        return emulate(shop, core, precision, name, points, profile=profile)

    runs = {name: ran(name, points, True) for name, points in grid.items()}
    whole = ran("unprofiled", bare, False)
    profiled = {run.model: run for batch in runs.values() for run in batch}
    pairs = list(output_pairs(precision))
    ends = ran("outputs", [point for pair in pairs for point in pair], True) if pairs else []
    overhead = Overhead.fit(
        [profiled[run.model] for run in whole],
        whole,
        list(zip(ends[::2], ends[1::2], strict=True)),
    )

    found = (_samples(grid[name], runs[name], overhead, precision) for name in grid)
    entries = fit(chain.from_iterable(found), precision)
    progress(f"{core.name} {precision}: other maps", 1.0)
    costs = {key: KernelCost.from_json(entry) for key, entry in entries.items()}
    return Section(entries, formulas_for(shop, core, precision, costs, overhead), overhead)


def _whole_run_section(
    shop: Workshop,
    core: Core,
    precision: ArmPrecision,
    runtime: ArmRuntime,
    progress: Progress,
) -> Section:
    points = list(POINTS[runtime](precision))
    progress(f"{core.name} {runtime}: {len(points)} kernels", 0.0)
    runs = emulate(shop, core, precision, runtime, points, profile=False, runtime=runtime)
    progress(f"{core.name} {runtime}: fitting", 1.0)
    costs = fit_whole_runs(points, runs, precision, runtime)
    return Section(costs.entries, costs.formulas, Overhead(0, 0, costs.per_run, 0), runtime)


def formulas_for(
    shop: Workshop,
    core: Core,
    precision: ArmPrecision,
    entries: Mapping[str, KernelCost],
    overhead: Overhead,
) -> dict[str, dict[str, Any]]:
    """Emulate kernels on other maps, and fit the formulas that stand beside these entries."""
    found: list[Sample] = []
    for name, points in map_batches(precision).items():
        runs = emulate(shop, core, precision, name, points, profile=True)
        found += _samples(points, runs, overhead, precision)
    return fit_formulas(entries, found, precision)


def _samples(
    points: Sequence[Point], runs: Sequence[Run], overhead: Overhead, precision: ArmPrecision
) -> Iterator[Sample]:
    """Yield the priced kernels of the points."""
    for point, run in zip(points, runs, strict=True):
        for sample in samples(point.graph, run, overhead, precision):
            if point.priced in ("", sample.kernel.key):
                yield sample
