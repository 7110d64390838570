"""What operators and networks cost on a device: guidelines, predictors, tables, Table 8."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.api.arguments import Notify, Progress, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.files import making_folder, new_file, read_bounded
from nas_sv2.latency.calibration.grid import RESOLUTIONS
from nas_sv2.latency.calibration.table_file import calibrate as make_table
from nas_sv2.latency.calibration.table_file import save_refit
from nas_sv2.latency.devices.local import ARM_MACHINES
from nas_sv2.latency.emulated.arm_cores import (
    RUNTIMES,
    core_named,
    precision_named,
    precisions_known,
    runtime_named,
)
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.scale import FEWEST
from nas_sv2.latency.guidelines.experiment_run import (
    TimedTable,
    run_experiments,
    times_of,
    with_one_image,
)
from nas_sv2.latency.guidelines.profile import GuidelineProfile, check_covered, profile_device
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.predictor.predicted_target import PredictedTarget, open_predicted
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.entries import Execution
from nas_sv2.latency.targets.target import device_of
from nas_sv2.plain_data import decode
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.paper.comparison import PaperComparison, run_comparison
from nas_sv2.studies.paper.comparison_orders import Inversion, inversions
from nas_sv2.studies.paper.published_figures import levels_of
from nas_sv2.studies.storage.named_networks import find_network, find_networks

MOST_FIGURES_BYTES = 1 << 20
REFIT_NETWORKS = (
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "shufflenet_v2_se_x1_0",
    "shufflenet_v2_residual_x1_0",
    "shufflenet_v2_star_x0_5",
    "torchvision_shufflenet_v2_x1_0",
)
"""Networks that a scale is refitted with: the paper's sizes, and one of each kind of operator."""


@dataclass(frozen=True)
class GuidelineRun:
    """The experiments behind G1 to G4 on a target.

    Attributes:
        target: The name of the target.
        tables: The experiments with their times, for one image.
        profile: The guideline profile that follows; searches use it.
        files: The pictures.
    """

    target: str
    tables: Sequence[TimedTable]
    profile: GuidelineProfile
    files: Sequence[Path]


@dataclass(frozen=True)
class PaperTable:
    """The paper's Table 8 on a target.

    Attributes:
        levels: The levels that were timed.
        comparison: The networks with their times and the published ones.
        inversions: Pairs that FLOPs order wrongly, the worst first.
        files: The picture and the page.
    """

    levels: Sequence[str]
    comparison: PaperComparison
    inversions: list[Inversion]
    files: Sequence[Path]


def run_guidelines(
    target: str,
    folder: Path,
    *,
    fresh: bool = False,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> GuidelineRun:
    """Run the experiments behind guidelines G1 to G4 on a target, and further ones.

    Args:
        target: The name of one target.
        folder: Folder of the pictures; made if it does not exist.
        fresh: Measure although a result is stored.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line before each step.

    Raises:
        ConfigError: The target is not known, or the folder cannot be written.
        NasError: The target failed, or its profile cannot be stored.
    """
    book, db = TargetBook.read(), database_of(storage)
    name = book.one(target)

    def progress(what: str, done: int, total: int) -> None:
        notify(f"{name}: table {done + 1} of {total}: {what}")

    with (
        making_folder(folder) as folder,  # refused before the database is made
        closing(book.open(name, store=MeasurementStore(db), fresh=fresh, notify=notify)) as opened,
    ):
        key = DeviceKey.of(opened)  # refused before anything is timed
        asked = with_one_image(opened)
        tables = run_experiments(asked, progress)
        # The profile answers for the target as a search uses it, so with its own batch.
        own = tables if asked == opened else run_experiments(opened, progress)
        check_covered(name, own)
        profile = profile_device(opened, times_of(own), notify)
        ProfileStore(db).save(key, profile)
    from nas_sv2.studies.paper.guidelines import draw_further, draw_guidelines

    files = [folder / "guidelines.png", folder / "guidelines_further.png"]
    draw_guidelines(tables, files[0])
    draw_further(tables, files[1])
    return GuidelineRun(name, tables, profile, files)


def fit_predictor(
    target: str,
    space: str,
    *,
    fresh: bool = False,
    storage: str | Database = DEFAULT_STORAGE,
    progress: Progress = ignore,
) -> tuple[str, PredictedTarget]:
    """Fit a predictor of latency for the networks of a space, or find the stored one.

    Args:
        target: The name of one target.
        space: A built-in space or a file.
        fresh: Fit although a predictor is stored.
        storage: The URL of the database, or the `db` of a study.
        progress: Is called with the networks timed and all networks.

    Returns:
        The name of the space, and the predictor as a target.

    Raises:
        ConfigError: The target or the space is not known.
        NasError: The target failed.
    """
    named, book = open_space(space), TargetBook.read()
    name = book.one(target)
    store = MeasurementStore(database_of(storage))
    with closing(book.open(name, store=store)) as opened:
        return named.name, open_predicted(opened, named, progress, fresh)


def calibrate(
    core: str,
    file: Path,
    folder: Path,
    *,
    precisions: Sequence[str] = (),
    resolutions: Sequence[int] = (),
    runtime: str = "onnxruntime",
    progress: Callable[[str, float], None] = ignore,
) -> tuple[Path, Execution]:
    """Make the table of an emulated core for the runtime that is installed here.

    Args:
        core: The name of the core.
        file: The table to write.
        folder: Folder of the intermediate results, to resume from.
        precisions: `fp32`, `int8` or both, `fp16` for ncnn on a Cortex-A55 or A76; all that the
            runtime's kernels are known in on that core if empty.
        resolutions: Sides of the inputs; all if empty. Tables of LiteRT and ncnn are of any input.
        runtime: `onnxruntime`, `litert` or `ncnn`.
        progress: Is called with the step and the share of the work that is done.

    Returns:
        The file, and the runtime and first precision of its tables.

    Raises:
        ConfigError: A value is not allowed, or the file exists.
        NasError: The emulator failed.
    """
    chosen = runtime_named(runtime)
    if chosen != "onnxruntime" and resolutions:
        raise ConfigError("resolution", resolutions[0], f"must be left out: {chosen} needs none")
    named = list(dict.fromkeys(map(precision_named, precisions)))
    wanted = named or precisions_known(core_named(core).name, chosen)
    sides, file = resolutions or RESOLUTIONS, new_file(file)
    try:
        made = make_table(core, folder, file, progress, wanted, sides, chosen)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    return made, Execution(chosen, wanted[0])


def refit(
    name: str,
    core: str,
    file: Path,
    *,
    table: Path | None = None,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> tuple[str, Execution]:
    """Scale the table of an emulated core by eight networks measured on a real one.

    Args:
        name: A device that is a real ARM core of that kind.
        core: The name of the core.
        file: The table to write.
        table: A table that `calibrate` wrote; the shipped one if left out.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line before each measurement.

    Returns:
        The scale and its error, in words, and the device's runtime and precision, which the
        table is of.

    Raises:
        ConfigError: The device is not such a core, or the file exists.
        NasError: The device failed, or the file cannot be written.
    """
    core, file = core_named(core).name, new_file(file)
    store = MeasurementStore(database_of(storage))
    with closing(TargetBook.read().open(name, store=store, notify=notify)) as target:
        device = device_of(target, "name")
        plan, machine = device.plan, device.fingerprint().facts.get("machine")
        if machine not in ARM_MACHINES:
            raise ConfigError("name", name, f"must be a 64-bit ARM; this one is {machine}")
        if plan.runtime not in RUNTIMES or (plan.threads, plan.batch) != (1, 1):
            known = " or ".join(RUNTIMES)
            allowed = f"must be a device with a plan of {known}, one thread and batch 1"
            raise ConfigError("name", name, allowed)
        runtime = runtime_named(plan.runtime)
        precision = precision_named(plan.precision)
        # Another core, runtime or precision is refused before minutes of measuring.
        EmulatedArm.open(core, precision, file=table, runtime=runtime)
        pairs = []
        for number, network in enumerate(REFIT_NETWORKS, 1):
            notify(f"measuring {network} on {name}, {number} of {len(REFIT_NETWORKS)}")
            architecture = reference(network)
            pairs.append((target.graph_of(architecture), target.estimate(architecture).ms))
    try:
        note = save_refit(table or core, precision, pairs, file, runtime=runtime)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error}") from error
    return note, Execution(runtime, precision)


def refit_to_figures(
    figures: Path,
    core: str,
    file: Path,
    *,
    precision: str = "fp32",
    runtime: str = "onnxruntime",
    table: Path | None = None,
    storage: str | Database = DEFAULT_STORAGE,
) -> str:
    """Scale the table of an emulated core by latencies that a file gives.

    Args:
        figures: A CSV file with the columns `network` and `ms`: one thread, batch 1. A network is
            a name of `nas.reference`, a file, also of ONNX, or `STUDY:NUMBER`.
        core: The name of the core.
        file: The table to write.
        precision: The number format of the figures: `fp32`, `int8` or `fp16`.
        runtime: The runtime of the figures, `onnxruntime`, `litert` or `ncnn`.
        table: A table that `calibrate` wrote; the shipped one if left out.
        storage: The URL of the database, or the `db` of a study.

    Returns:
        The scale and its error, in words.

    Raises:
        ConfigError: The file has other columns, an unknown network, or fewer than two rows.
        NasError: The table lacks a kernel of a network, or the new one cannot be written.
    """
    core, file = core_named(core).name, new_file(file)
    chosen = precision_named(precision)
    kernels_of = runtime_named(runtime)
    target = EmulatedArm.open(core, chosen, file=table, runtime=kernels_of)
    given = read_figures(figures)
    if len(given) < FEWEST:
        allowed = f"must have the latencies of at least {FEWEST} networks"
        raise ConfigError("from", str(figures), allowed)
    named = find_networks(list(given), database_of(storage))
    for text, one in zip(given, named, strict=True):
        if sum(each.network.digest == one.network.digest for each in named) > 1:
            allowed = f"must have each network once; {text} is there by another name too"
            raise ConfigError("from", str(figures), allowed)
    found = zip(named, given.values(), strict=True)
    pairs = [(target.graph_of(one.network), ms) for one, ms in found]
    try:
        why = f"figures of {figures.name}"
        return save_refit(table or core, chosen, pairs, file, why, kernels_of)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error}") from error


def read_figures(file: Path) -> dict[str, float]:
    """Read a CSV file with the columns `network` and `ms`.

    Raises:
        ConfigError: It cannot be read, or a row has no network or no latency above 0.
    """
    try:
        text = decode(read_bounded(file, MOST_FIGURES_BYTES))
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError("from", str(file), f"must be a CSV file ({error})") from error
    found: dict[str, float] = {}
    for number, row in enumerate(rows, 2):
        network, typed = ((row.get(column) or "").strip() for column in ("network", "ms"))
        ms = float(typed) if re.fullmatch(r"\d{1,9}(\.\d{1,20})?", typed) else 0.0
        if not network or network in found or ms <= 0:
            allowed = (
                "must have the columns network, each once, and ms, a number above 0 such as 12.5"
            )
            raise ConfigError("from", f"{file}, line {number}", allowed)
        found[network] = ms
    return found


def time_paper_table(
    target: str,
    folder: Path,
    *,
    level: str = "all",
    others: Sequence[str] = (),
    fresh: bool = False,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> PaperTable:
    """Time the paper's networks head to head on a target, beside the published latencies.

    Args:
        target: The name of one target.
        folder: Folder of the picture and the page; made if it does not exist.
        level: `40M`, `140M`, `300M`, `500M` or `all`.
        others: Networks of yours among them.
        fresh: Measure although a result is stored.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line before each level.

    Raises:
        ConfigError: A value is not allowed.
        NasError: The target failed.
    """
    book, db = TargetBook.read(), database_of(storage)
    name, levels = book.one(target), levels_of(level)
    named = [find_network(text, db) for text in others]
    with (
        making_folder(folder) as folder,  # refused before the database is made
        closing(book.open(name, store=MeasurementStore(db), fresh=fresh, notify=notify)) as opened,
    ):
        found = run_comparison(
            opened, levels, named, lambda each: notify(f"{name}: the networks of level {each}")
        )
    from nas_sv2.studies.paper.comparison_page import draw_comparison, write_page

    files = [folder / "compare.png", folder / "compare.html"]
    draw_comparison(found, files[0])
    write_page(found, files[1])
    return PaperTable(levels, found, inversions(found), files)
