"""Rebuilds the table of an emulated ARM core for the installed onnxruntime.

Tiny graphs run on emulated aarch64, and their blocks are priced for the core (`emulator`). A few
coefficients are fitted to each kind of kernel (`fit`). Finished batches stay in the folder. An
interrupted calibration therefore continues, and another core, which prices the same counts, takes
minutes.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nas_sv2.errors import ConfigError
from nas_sv2.files import write_out
from nas_sv2.latency.calibration.emulator import Counts, Emulator, Run
from nas_sv2.latency.calibration.fit import Overhead, Sample, fit, samples, write_model
from nas_sv2.latency.calibration.grid import RESOLUTIONS, batches, output_pairs, overhead_points
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.calibration.table_file import Section, render
from nas_sv2.latency.calibration.workshop import Workshop, prepare
from nas_sv2.latency.emulated.arm_cores import PRECISIONS, Core, core_named
from nas_sv2.latency.kernels.kernel import ArmPrecision

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
) -> Path:
    """Write the table of `core` for the installed onnxruntime; over an hour for both precisions.

    Args:
        core: One of `arm_cores.CORE_NAMES`.
        folder: Folder of the emulated system and all results; the same folder continues a
            calibration.
        out: JSON file to write.
        progress: Function called with the current step and the finished share.
        precisions: Precisions of the table.
        resolutions: Sides of the inputs that the table covers, each divisible by 32.

    Raises:
        ConfigError: If the core is unknown or a side is not divisible by 32.
        DeviceError: If a program is missing; the message says how to install all missing ones.
        MeasurementError: If onnxruntime ran other kernels than predicted.
    """
    chosen = core_named(core)
    for side in resolutions:
        if side < 32 or side % 32:
            raise ConfigError("resolutions", side, "must be divisible by 32")
    progress("preparing", 0.0)
    shop = prepare(folder)
    sections = {}
    for index, precision in enumerate(precisions):

        def advance(what: str, share: float, index: int = index) -> None:
            progress(what, (index + share) / len(precisions))

        sections[precision] = _section(shop, chosen, precision, resolutions, advance)
    out.parent.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    write_out(out, render(chosen, sections, shop.versions, today))
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
) -> list[Run]:
    """Run one inference of each point that has not run yet, and price all for `core`."""
    emulator = Emulator(shop, core.guest_for(precision))
    work = shop.folder / "work" / f"{precision}_{emulator.guest.name}" / name
    kept = work / "counts.npz"
    counts = Counts.load(kept) if kept.exists() else Counts((), ())
    known = {run.model for run in counts.runs}
    missing = [point for point in points if point.name not in known]
    for start in range(0, len(missing), AT_ONCE):
        some = missing[start : start + AT_ONCE]
        with shop.alone():
            models = [write_model(point.name, point.graph, precision, work) for point in some]
            counts = counts.joined(emulator.run(models, work, profile=profile))
            counts.save(kept)
    runs = {run.model: run for run in counts.runs}
    counts = Counts(counts.blocks, [runs[point.name] for point in points])
    return counts.priced(emulator.pricer(core))


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

    def found() -> Iterator[Sample]:
        for name, points in grid.items():
            for point, run in zip(points, runs[name], strict=True):
                for sample in samples(point.graph, run, overhead, precision):
                    if point.priced in ("", sample.kernel.key):
                        yield sample

    return Section(fit(found(), precision), overhead)
