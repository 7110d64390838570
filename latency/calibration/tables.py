"""Rebuilds the table behind an emulated ARM core for the onnxruntime that is installed.

Tiny graphs run on emulated aarch64 (`arm_emulator`), their blocks are priced for the core
(`arm_blocks`), and a few coefficients are fitted to each kind of kernel (`arm_fit`). A batch that
has run is kept in the folder, so that an interrupted calibration goes on and another core, which
prices the same counts, is a matter of minutes.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nas_sv2.errors import ConfigError
from nas_sv2.latency.calibration.counts import Counts, Run
from nas_sv2.latency.calibration.emulator import Emulator
from nas_sv2.latency.calibration.fit import fit
from nas_sv2.latency.calibration.grid import RESOLUTIONS, batches, output_pairs, overhead_points
from nas_sv2.latency.calibration.point import Point
from nas_sv2.latency.calibration.samples import Overhead, Sample, samples, write_model
from nas_sv2.latency.calibration.table_file import Section, render
from nas_sv2.latency.calibration.workshop import Workshop, prepare
from nas_sv2.latency.emulated.arm_cores import PRECISIONS, Core, core_named
from nas_sv2.latency.kernels.kernel import ArmPrecision

AT_ONCE = 200  # inferences in one emulated process: some minutes, lost where it is interrupted
Progress = Callable[[str, float], None]
"""Told what is being done and the share that is done."""


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
        folder: Where the emulated system and all results are kept; the same folder goes on.
        out: The JSON file to write.
        progress: Told what is being done.
        precisions: What the table shall price.
        resolutions: Sides of the inputs that the table shall cover, each divisible by 32.

    Raises:
        ConfigError: An unknown core or a side that is not divisible by 32.
        DeviceError: A program is missing; the message says how to install all that are.
        MeasurementError: onnxruntime ran other kernels than we foresee.
    """
    chosen = core_named(core)
    for side in resolutions:
        if side < 32 or side % 32:
            raise ConfigError("resolutions", side, "must be divisible by 32")
    progress("preparing", 0.0)
    shop = prepare(folder)
    sections = {}
    for index, precision in enumerate(precisions):

        def told(what: str, share: float, index: int = index) -> None:
            progress(what, (index + share) / len(precisions))

        sections[precision] = _section(shop, chosen, precision, resolutions, told)
    out.parent.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    out.write_text(render(chosen, sections, shop.versions, today), encoding="utf-8")
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
    """One inference of each point, priced for `core`; what has run already is not run again."""
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
