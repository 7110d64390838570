"""The commands `device`: name devices, try and grade them, and learn their costs."""

import dataclasses
import tomllib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import (
    ARCH_HELP,
    SPACE_HELP,
    STORAGE,
    STORAGE_VARIABLE,
    AsJson,
    Force,
    Fresh,
    OneTarget,
    Storage,
    Yes,
    ask_first,
    open_database,
    output_folder,
    print_json,
    print_notes,
    waiting,
)
from nas_sv2.commands.plan_options import (
    Affinity,
    Batch,
    Precision,
    Threads,
    plan_changes,
)
from nas_sv2.errors import ConfigError, DeviceError, StoreError

if TYPE_CHECKING:
    from nas_sv2.latency.kernels.kernel import ArmPrecision
    from nas_sv2.latency.targets.device_file import DeviceEntry

app = typer.Typer(
    help="Name devices, try and grade them, and learn what their operators cost.",
    no_args_is_help=True,
)

GUIDELINES, FURTHER = "guidelines.png", "guidelines_further.png"
COMPARISON, COMPARISON_PAGE = "compare.png", "compare.html"
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

Name = Annotated[str, typer.Argument(help="Your name of the device; --target takes it too.")]
PictureFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder of the pictures.")]
Core = Annotated[
    str,
    typer.Option(
        "--core", help="The emulated core: cortex-a53, cortex-a55, cortex-a57 or cortex-a76."
    ),
]
TableFile = Annotated[
    Path | None, typer.Option("--out", "-o", help="Table to write; CORE.json if left out.")
]


@app.command("list")
def list_devices(as_json: AsJson = False) -> None:
    """List the targets: the devices that can say how long a network takes."""
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.show.tables import output, targets_table

    infos = TargetBook.read().describe()
    if as_json:
        print_json([dataclasses.asdict(info) for info in infos])
    else:
        output().print(targets_table(infos))


@app.command()
def add(
    name: Name,
    ssh: Annotated[
        str | None,
        typer.Option("--ssh", help="user@host, or an alias of your ssh configuration."),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="With --ssh, its port.")] = None,
    ssh_config: Annotated[
        str | None,
        typer.Option("--ssh-config", help="With --ssh, a file in place of your configuration."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option("--command", help="A command that starts python3: \"adb shell '{remote}'\"."),
    ] = None,
    core: Annotated[
        str | None,
        typer.Option("--core", help="An emulated ARM core, priced from a table: cortex-a55."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="With --core: fp32 or int8.")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--table", help="With --core, a table of device calibrate or refit."),
    ] = None,
    clock_ghz: Annotated[
        float | None, typer.Option("--clock-ghz", help="With --core, the clock of your core.")
    ] = None,
    cuda: Annotated[bool, typer.Option("--cuda", help="This machine's GPU.")] = False,
    local: Annotated[bool, typer.Option("--local", help="This machine's CPU.")] = False,
    python: Annotated[
        str | None, typer.Option("--python", help="The python3 there, a name or a path.")
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option("--plan", help="FIELD=VALUE of how it is measured, repeatable: threads=4."),
    ] = None,
    max_mib: Annotated[
        float | None, typer.Option("--max-mib", help="Size of the largest network to send there.")
    ] = None,
    project: Annotated[
        bool, typer.Option("--project", help="Write nas-sv2.toml here, not your own file.")
    ] = False,
    force: Force = False,
) -> None:
    """Give a device a name; nothing is contacted yet."""
    from nas_sv2.latency.devices.command import command_words
    from nas_sv2.latency.targets.device_file import PROJECT_FILE, add_device, user_file

    kinds = {
        "ssh": ssh is not None,
        "command": command is not None,
        "emulated": core is not None,
        "cuda": cuda,
        "local": local,
    }
    given = [kind for kind, is_given in kinds.items() if is_given]
    if len(given) != 1:
        allowed = "must be exactly one of --ssh, --command, --core, --cuda, --local"
        raise ConfigError("kind", " ".join(map(_option, given)), allowed)
    settings: dict[str, Any] = {
        "kind": given[0],
        "host": ssh,
        "port": port,
        "ssh_config": None if ssh_config is None else str(Path(ssh_config).absolute()),
        "command": None if command is None else command_words(command),
        "core": core,
        "precision": precision,
        "table": None if table is None else str(Path(table).absolute()),
        "clock_ghz": clock_ghz,
        "python": python,
        "max_mib": max_mib,
        "plan": dict(map(_plan_field, plan)) if plan else None,
    }
    file = PROJECT_FILE if project or PROJECT_FILE.exists() else user_file()
    entry = add_device(name, settings, file=file, replace=force)
    print(f"{name} is {entry.describe()}, in {file}")
    print(f"nas-sv2 device test {name}")


@app.command()
def remove(name: Name, yes: Yes = False) -> None:
    """Forget a device; its measurements stay in the database."""
    from nas_sv2.latency.targets.device_file import remove_device

    if not yes:
        ask_first(f"Forget the device {name}?")

    print(f"{name} is no longer in {remove_device(name)}")


@app.command()
def test(
    name: Name,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            "-s",
            envvar=STORAGE_VARIABLE,
            help="Database in which other machines see that it is in use, a URL.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a device: connect, check what is installed, compute and time a network."""
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.latency.targets.device_file import EmulatedCore
    from nas_sv2.latency.targets.try_out import check_device

    entry = _named(name)
    if isinstance(entry.place, EmulatedCore) or entry.plan is None:
        _price(name)
        return
    store = None if storage is None else MeasurementStore(open_database(storage))
    device = TargetBook.read().device(name, _say, store)
    passed = True
    try:
        for check in check_device(entry.place, entry.plan, device):
            passed = passed and check.passed
            if as_json:
                print_json(dataclasses.asdict(check))
            else:
                result = "ok    " if check.passed else "failed"
                print(f"{check.name:8} {result} {check.seconds:6.2f} s  {check.text}", flush=True)
    finally:
        device.close()
    if not passed:
        raise DeviceError(f"{name} cannot be used as it is")


@app.command()
def grade(
    target: OneTarget,
    quick: Annotated[
        bool, typer.Option("--quick", help="Three sessions in a row, for a first look.")
    ] = False,
    sessions: Annotated[
        int | None, typer.Option("--sessions", help="How many sessions; 5 if left out.")
    ] = None,
    pause: Annotated[
        float | None, typer.Option("--pause", help="Seconds between sessions; 5 if left out.")
    ] = None,
    precision: Precision = None,
    threads: Threads = None,
    batch: Batch = None,
    affinity: Affinity = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Grade how far the latencies of a device can be trusted; exit 1 if poor."""
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets import doctor as doctors
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.latency.targets.target import device_of
    from nas_sv2.show.measure_tables import grade_notes, grade_table
    from nas_sv2.show.tables import output

    changes = plan_changes(precision, threads, batch, affinity)
    usual = (
        (doctors.QUICK_SESSIONS, doctors.QUICK_PAUSE_S)
        if quick
        else (doctors.SESSIONS, doctors.PAUSE_S)
    )
    count = usual[0] if sessions is None else sessions
    pause_s = usual[1] if pause is None else pause
    doctors.check_request(count, pause_s)
    book = TargetBook.read()
    target = book.one(target)
    store = MeasurementStore(open_database(storage))
    with (
        waiting(f"examining {target}") as status,
        closing(book.open(target, store=store, told=status.update)) as opened,
    ):
        device = device_of(opened.with_plan(**changes))

        def progress(done: int, total: int) -> None:
            status.update(f"{target}: session {done + 1} of {total}")

        found = doctors.examine(device, count, pause_s, progress)
    if as_json:
        print_json({"target": target, **found.to_json()})
    else:
        output().print(grade_table(target, found))
        print_notes(grade_notes(found))
    if found.grade == "poor":
        raise typer.Exit(1)


@app.command()
def guidelines(
    target: OneTarget,
    out: PictureFolder = Path("."),
    fresh: Fresh = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Run the experiments behind guidelines G1-G4 on a device, and further ones."""
    from nas_sv2.latency.guidelines.experiment_run import run_experiments, times_of, with_one_image
    from nas_sv2.latency.guidelines.profile import profile_device
    from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.show.guideline_tables import (
        experiment_table,
        experiments_data,
        run_notes,
        table_notes,
    )
    from nas_sv2.show.tables import output
    from nas_sv2.studies.paper.guideline_picture import draw_further, draw_guidelines

    book = TargetBook.read()
    target = book.one(target)
    folder = output_folder(out)
    db = open_database(storage)
    store = MeasurementStore(db)
    with (
        waiting(f"opening {target}") as status,
        closing(book.open(target, store=store, fresh=fresh, told=status.update)) as opened,
    ):

        def progress(what: str, done: int, total: int) -> None:
            status.update(f"{target}: table {done + 1} of {total}: {what}")

        key = DeviceKey.of(opened)  # refused before anything is timed
        asked = with_one_image(opened)
        tables = run_experiments(asked, progress)
        times = times_of(tables)
        # The profile answers for the target as a search uses it, so with its own batch.
        own = times if asked == opened else times_of(run_experiments(opened, progress))
        profile = profile_device(opened, own, status.update)
        ProfileStore(db).save(key, profile)
    files = [str(folder / GUIDELINES), str(folder / FURTHER)]
    draw_guidelines(tables, folder / GUIDELINES)
    draw_further(tables, folder / FURTHER)
    if as_json:
        latency = times[0].latency
        print_json(
            {
                "target": target,
                "device": latency.device,
                "provenance": latency.provenance,
                "tables": experiments_data(tables),
                "profile": {
                    "digest": profile.digest,
                    "accuracy": dataclasses.asdict(profile.accuracy),
                },
                "files": files,
            }
        )
        return
    console = output()
    for timed in tables:
        print(f"{timed.table.name}: {timed.table.title}")
        console.print(experiment_table(timed))
        print_notes(table_notes(timed))
        print()
    print_notes(run_notes(tables))
    print(f"guideline profile {profile.digest}, {profile.accuracy.describe()}; searches use it")
    print("drawn: " + ", ".join(files))


@app.command()
def predictor(
    target: OneTarget,
    space: Annotated[
        str,
        typer.Option("--space", help=f"{SPACE_HELP}: the networks that it can predict."),
    ] = "140M",
    fresh: Fresh = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Fit a predictor of latency, or find the stored one, and print its error."""
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.search.walk.predict_first import predictor_of
    from nas_sv2.show.tables import output
    from nas_sv2.space.choices.space_files import open_space

    named = open_space(space)
    store = MeasurementStore(open_database(storage))
    book = TargetBook.read()
    opened = book.open(book.one(target), store=store)
    try:
        with output().status("timing what networks consist of") as status:
            found = predictor_of(
                opened,
                named,
                lambda done, total: status.update(f"{done} of {total} networks timed"),
                fresh,
            )
    finally:
        opened.close()
    report = found.predictor.report
    if as_json:
        print_json(
            {"device": found.description, "space": named.name, **dataclasses.asdict(report)}
        )
    else:
        print(f"{found.description} · space {named.name}: {report.describe()}")


@app.command()
def calibrate(
    core: Core,
    out: TableFile = None,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Folder of the intermediate results, to resume from."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="fp32 or int8, repeatable; both if left out."),
    ] = None,
    resolution: Annotated[
        list[int] | None,
        typer.Option("--resolution", help="Side of an input, repeatable; all if left out."),
    ] = None,
) -> None:
    """Make the table of an emulated core for the onnxruntime that is installed here."""
    from nas_sv2.latency.calibration.grid import RESOLUTIONS
    from nas_sv2.latency.calibration.tables import calibrate as make_table
    from nas_sv2.show.tables import output

    precisions = _precisions(precision or ["fp32", "int8"])
    place = folder or Path(typer.get_app_dir("nas-sv2"), "calibration")
    target = _checked(out or Path(f"{core}.json"))
    console = output()
    with console.status("preparing") as status:

        def progress(what: str, share: float) -> None:
            status.update(f"{share:4.0%} {what}")

        written = make_table(core, place, target, progress, precisions, resolution or RESOLUTIONS)
    print(f"{written} holds the table; use it with: {_use(core, written)}")


@app.command()
def refit(
    name: Annotated[str, typer.Argument(help="A device that is a real ARM core of that kind.")],
    core: Core,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="A table that calibrate wrote, not the shipped one."),
    ] = None,
    out: TableFile = None,
    storage: Storage = STORAGE,
) -> None:
    """Scale the table of an emulated core by eight networks measured on a real one."""
    from nas_sv2.latency.calibration.refit import save_refit
    from nas_sv2.latency.devices.local import ARM_MACHINES
    from nas_sv2.latency.emulated.arm_cores import core_named
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.latency.targets.target import device_of
    from nas_sv2.show.tables import output
    from nas_sv2.space.units.reference import reference

    core = core_named(core).name
    target_file = _checked(out or Path(f"{core}.json"))
    db = open_database(storage)
    store = MeasurementStore(db)
    with (
        output().status(f"measuring on {name}") as status,
        closing(TargetBook.read().open(name, store=store, told=status.update)) as target,
    ):
        device = device_of(target, "name")
        plan = device.plan
        machine = device.fingerprint().facts.get("machine")
        if machine not in ARM_MACHINES:
            raise ConfigError("name", name, f"must be a 64-bit ARM; this one is {machine}")
        if (plan.runtime, plan.threads, plan.batch) != ("onnxruntime", 1, 1):
            allowed = "must be a device with a plan of onnxruntime, one thread and batch 1"
            raise ConfigError("name", name, allowed)
        (precision,) = _precisions([plan.precision])
        pairs = []
        for number, network in enumerate(REFIT_NETWORKS, 1):
            status.update(f"measuring {network} on {name}, {number} of {len(REFIT_NETWORKS)}")
            architecture = reference(network)
            pairs.append((target.graph_of(architecture), target.estimate(architecture).ms))
    try:
        error = save_refit(table or core, precision, pairs, target_file)
    except OSError as fault:
        raise StoreError(f"{target_file} cannot be written: {fault}") from fault
    print(error)
    print(f"{target_file} holds the table; use it with: {_use(core, target_file)}")


@app.command("paper-table")
def paper_table(
    target: OneTarget,
    level: Annotated[str, typer.Option("--level", help="40M, 140M, 300M, 500M or all.")] = "all",
    vs: Annotated[
        list[str] | None,
        typer.Option("--vs", help="A network of yours among them, repeatable. " + ARCH_HELP),
    ] = None,
    out: PictureFolder = Path("."),
    fresh: Fresh = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Time the paper's networks head to head on a device, beside the published latencies."""
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.show import compare_tables as tables
    from nas_sv2.show.tables import output
    from nas_sv2.studies.paper import comparison_run
    from nas_sv2.studies.paper.comparison_orders import inversions
    from nas_sv2.studies.paper.comparison_page import write_page
    from nas_sv2.studies.paper.comparison_picture import draw_comparison
    from nas_sv2.studies.paper.published_figures import levels_of
    from nas_sv2.studies.storage.named_networks import find_network

    book = TargetBook.read()
    target = book.one(target)
    levels = levels_of(level)
    db = open_database(storage)
    others = [find_network(text, db) for text in vs or []]
    output_folder(out)
    store = MeasurementStore(db)
    with (
        waiting(f"comparing on {target}") as status,
        closing(book.open(target, store=store, fresh=fresh, told=status.update)) as opened,
    ):

        def begun(of_level: str) -> None:
            status.update(f"{target}: the networks of the {of_level} level")

        found = comparison_run.compare(opened, levels, others, begun)
    draw_comparison(found, out / COMPARISON)
    write_page(found, out / COMPARISON_PAGE)
    files = [str(out / COMPARISON), str(out / COMPARISON_PAGE)]
    if as_json:
        print_json({**tables.comparison_data(found), "files": files})
        return
    console = output()
    for one in levels:
        console.print(tables.level_table(found, one))
        print()
    print_notes(tables.comparison_notes(found))
    print()
    wrong = inversions(found)
    if wrong:
        console.print(tables.inversion_table(wrong))
    print_notes(tables.inversion_notes(found, wrong))
    print()
    console.print(tables.agreement_table(found))
    print_notes(tables.agreement_notes(found))
    print("drawn: " + ", ".join(files))


def _named(name: str) -> "DeviceEntry":
    from nas_sv2.latency.targets.device_file import read_devices

    known = read_devices()
    if name not in known:
        known_names = ", ".join(known) or "none yet"
        raise ConfigError("name", name, f"must be a device that was added: {known_names}")
    return known[name]


def _price(name: str) -> None:
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.latency.targets.try_out import NETWORK
    from nas_sv2.space.units.reference import reference

    latency = TargetBook.read().open(name).estimate(reference(NETWORK))
    print(f"{NETWORK}: {latency.ms:.3f} ms, {latency.provenance}; {latency.note}")


def _option(kind: str) -> str:
    return "--core" if kind == "emulated" else f"--{kind}"


def _plan_field(text: str) -> tuple[str, Any]:
    """A field of the plan; its value is read as TOML, or as a word if that fails."""
    field, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            "plan", text, "must have the form FIELD=VALUE, as threads=4 or affinity=[4,5]"
        )
    try:
        return field, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return field, value


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _precisions(names: list[str]) -> "list[ArmPrecision]":
    from nas_sv2.latency.emulated.arm_cores import PRECISIONS

    for name in names:
        if name not in PRECISIONS:
            raise ConfigError("precision", name, "must be one of " + ", ".join(PRECISIONS))
    return [known for known in PRECISIONS if known in names]


def _checked(out: Path) -> Path:
    """Refuse `out` now, and not after half an hour, if it exists or its folder does not."""
    if out.exists() or not out.absolute().parent.is_dir():
        raise ConfigError("out", str(out), "must name a new file in a folder that exists")
    return out


def _use(core: str, file: Path) -> str:
    return f"nas-sv2 device add {core} --core {core} --table {file}"
