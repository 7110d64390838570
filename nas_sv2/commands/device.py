"""The commands `device`: name devices, try and grade them, and learn their costs."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_sv2.commands.options import (
    ARCH_HELP,
    SPACE_HELP,
    STORAGE,
    STORAGE_VARIABLE,
    Affinity,
    AsJson,
    Batch,
    Force,
    Fresh,
    OneTarget,
    Precision,
    Runtime,
    Storage,
    Threads,
    Yes,
    ask_first,
    open_database,
    plan_changes,
    print_notes,
    side,
    waiting,
)
from nas_sv2.errors import ConfigError, DeviceError
from nas_sv2.plain_data import parse_toml
from nas_sv2.show.terminal import say, say_json

app = typer.Typer(
    help="Name devices, try and grade them, and learn what their operators cost.",
    no_args_is_help=True,
)

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
TableRuntime = Annotated[
    str, typer.Option("--runtime", help="The runtime of the kernels: onnxruntime, litert or ncnn.")
]


@app.command("list")
def list_devices(as_json: AsJson = False) -> None:
    """List the targets: the devices that can say how long a network takes."""
    from nas_sv2.api.devices import describe_targets
    from nas_sv2.show.console import output
    from nas_sv2.show.measure_tables import targets_table

    infos = describe_targets()
    if as_json:
        say_json([dataclasses.asdict(info) for info in infos])
    else:
        output().print(targets_table(infos))


@app.command("catalogue")
def list_catalogue(as_json: AsJson = False) -> None:
    """List real phones and boards that are emulated by figures that others published."""
    from nas_sv2.api.devices import describe_catalogue
    from nas_sv2.show.console import output
    from nas_sv2.show.measure_tables import catalogue_table

    rows = describe_catalogue()
    if as_json:
        say_json([dataclasses.asdict(row) for row in rows])
        return
    output().print(catalogue_table(rows))
    print_notes(
        [
            "Emulated, one thread: kernels on that core, scaled to published figures of the "
            "device. --json prints their sources.",
            "Kernels: of LiteRT for TensorFlow Lite in fp32 but on a Cortex-A53, of ncnn for ncnn "
            "but in fp32 on a Cortex-A76; else of onnxruntime.",
            "unseen: the error on a network that is left out of the fit. The cost of memory of "
            "LiteRT and ncnn is fitted to the same devices; fitted to the others, the mean is 1.7 "
            "to 9.7 %.",
            "gtx-1080ti: the paper's GPU as a formula; unseen: a family of its Table 8.",
        ]
    )


@app.command()
def add(
    name: Name,
    ssh: Annotated[
        str | None,
        typer.Option(
            "--ssh", help="user@host, user@host:port, or an alias of your ssh configuration."
        ),
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
        str | None, typer.Option("--precision", help="With --core: fp32, int8, or fp16 of ncnn.")
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
    runtime: Runtime = None,
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
    from nas_sv2.api.devices import add_device

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
    described, file = add_device(
        name,
        given[0],
        project=project,
        replace=force,
        runtime=runtime,
        host=ssh,
        port=port,
        ssh_config=ssh_config,
        command=command,
        core=core,
        precision=precision,
        table=table,
        clock_ghz=clock_ghz,
        python=python,
        max_mib=max_mib,
        plan=dict(map(_plan_field, plan)) if plan else None,
    )
    say(f"{name} is {described}, in {file}")
    say(f"nas-sv2 device test {name}")


@app.command()
def remove(name: Name, yes: Yes = False) -> None:
    """Forget a device; its measurements stay in the database."""
    from nas_sv2.api.devices import file_of, remove_device

    file = file_of(name)
    if not yes:
        ask_first(f"Remove the device {name} from {file}?")
    say(f"{name} is no longer in {remove_device(name)}")


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
    from nas_sv2.api.devices import price_device, try_device
    from nas_sv2.show.measure_tables import check_line, price_line

    latency = price_device(name)
    if latency is not None:
        if as_json:
            say_json(latency.to_json())
        else:
            say(price_line(latency))
        return
    db = None if storage is None else open_database(storage)
    passed = True
    for check in try_device(name, storage=db, notify=_say):
        passed = passed and check.passed
        if as_json:
            say_json(dataclasses.asdict(check))
        else:
            say(check_line(check))
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
    runtime: Runtime = None,
    precision: Precision = None,
    threads: Threads = None,
    batch: Batch = None,
    affinity: Affinity = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Grade how far the latencies of a device can be trusted; exit 1 if poor."""
    from nas_sv2.api.devices import grade as grade_device
    from nas_sv2.show.console import output
    from nas_sv2.show.measure_tables import grade_notes, grade_table

    changes = plan_changes(runtime, precision, threads, batch, affinity)
    with waiting(f"examining {target}") as update:
        found = grade_device(
            target,
            quick=quick,
            sessions=sessions,
            pause_s=pause,
            plan=changes,
            storage=open_database(storage),
            notify=update,
            progress=lambda done, total: update(f"{target}: session {done + 1} of {total}"),
        )
    if as_json:
        say_json({"target": target, **found.to_json()})
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
    from nas_sv2.api.device_costs import run_guidelines
    from nas_sv2.show.console import output
    from nas_sv2.show.paper_tables import (
        experiment_table,
        guidelines_data,
        run_notes,
        table_notes,
    )

    with waiting(f"opening {target}") as update:
        found = run_guidelines(
            target, out, fresh=fresh, storage=open_database(storage), notify=update
        )
    if as_json:
        say_json(guidelines_data(found))
        return
    console = output()
    for timed in found.tables:
        say(f"{timed.table.name}: {timed.table.title}")
        console.print(experiment_table(timed))
        print_notes(table_notes(timed))
        say()
    print_notes(run_notes(found.tables))
    profile = found.profile
    say(f"guideline profile {profile.digest}, {profile.accuracy.describe()}; searches use it")
    say("drawn: " + ", ".join(map(str, found.files)))


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
    from nas_sv2.api.device_costs import fit_predictor

    with waiting("timing what networks consist of") as update:
        named, found = fit_predictor(
            target,
            space,
            fresh=fresh,
            storage=open_database(storage),
            progress=lambda done, total: update(f"{done} of {total} networks timed"),
        )
    report = found.predictor.report
    if as_json:
        say_json({"device": found.description, "space": named, **dataclasses.asdict(report)})
    else:
        say(f"{found.description} · space {named}: {report.describe()}")


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
        typer.Option(
            "--precision",
            help="fp32, int8 or fp16, repeatable; all that are known of the runtime if left out.",
        ),
    ] = None,
    resolution: Annotated[
        list[int] | None,
        typer.Option(
            "--resolution",
            parser=side,
            metavar="SIDE",
            help="Side of an input, repeatable; all if left out.",
        ),
    ] = None,
    runtime: TableRuntime = "onnxruntime",
) -> None:
    """Make the table of an emulated core for the runtime that is installed here."""
    from nas_sv2.api.device_costs import calibrate as make_table

    with waiting("preparing") as update:
        written, of = make_table(
            core,
            out or Path(f"{core}.json"),
            folder or Path(typer.get_app_dir("nas-sv2"), "calibration"),
            precisions=precision or (),
            resolutions=resolution or (),
            runtime=runtime,
            progress=lambda what, share: update(f"{share:4.0%} {what}"),
        )
    say(f"{written} holds the table; use it with: {_use(core, written, of.runtime, of.precision)}")


@app.command()
def refit(
    name: Annotated[
        str,
        typer.Argument(
            help="A device that is a real ARM core of that kind; with --from, your name of it."
        ),
    ],
    core: Core,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take the latencies of this CSV file, with the columns network and ms; nothing "
            "is measured.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="With --from, that of its figures: fp32, int8 or fp16; fp32 if left out.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime", help="With --from, that of its figures: onnxruntime, litert or ncnn."
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="A table that calibrate wrote, not the shipped one."),
    ] = None,
    out: TableFile = None,
    storage: Storage = STORAGE,
) -> None:
    """Scale the table of an emulated core by networks measured on a real one, or by figures."""
    from nas_sv2.api.device_costs import refit as refit_table
    from nas_sv2.api.device_costs import refit_to_figures
    from nas_sv2.api.devices import check_name

    file = out or Path(f"{core}.json")
    if figures is not None:
        check_name(name)  # the command that is printed adds a device of this name
        db = open_database(storage)
        kernels_of, at = runtime or "onnxruntime", precision or "fp32"
        note = refit_to_figures(
            *(figures, core, file), precision=at, runtime=kernels_of, table=table, storage=db
        )
        say(note)
        say(f"{file} holds the table; use it with: {_use(core, file, kernels_of, at, name)}")
        return
    for field, given in (("precision", precision), ("runtime", runtime)):
        if given is not None:
            allowed = "must be left out without --from: it is that of the device's plan"
            raise ConfigError(field, given, allowed)
    with waiting(f"measuring on {name}") as update:
        error, of = refit_table(
            name,
            core,
            file,
            table=table,
            storage=open_database(storage),
            notify=update,
        )
    say(error)
    say(f"{file} holds the table; use it with: {_use(core, file, of.runtime, of.precision)}")


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
    from nas_sv2.api.device_costs import time_paper_table
    from nas_sv2.show import paper_tables as tables
    from nas_sv2.show.console import output

    with waiting(f"comparing on {target}") as update:
        timed = time_paper_table(
            target,
            out,
            level=level,
            others=vs or [],
            fresh=fresh,
            storage=open_database(storage),
            notify=update,
        )
    found, files = timed.comparison, list(map(str, timed.files))
    if as_json:
        say_json({**tables.comparison_data(found), "files": files})
        return
    console = output()
    for one in timed.levels:
        console.print(tables.level_table(found, one))
        say()
    print_notes(tables.comparison_notes(found))
    say()
    if timed.inversions:
        console.print(tables.inversion_table(timed.inversions))
    print_notes(tables.inversion_notes(found, timed.inversions))
    say()
    console.print(tables.agreement_table(found))
    print_notes(tables.agreement_notes(found))
    say("drawn: " + ", ".join(files))


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
        return field, parse_toml(f"value = {value}")["value"]
    except ValueError:
        return field, value


def _say(line: str) -> None:
    say(line, error=True)


def _use(core: str, file: Path, runtime: str, precision: str, name: str | None = None) -> str:
    words = ["nas-sv2", "device", "add", name or core, "--core", core, "--table", str(file)]
    words += [] if runtime == "onnxruntime" else ["--runtime", runtime]
    words += [] if precision == "fp32" else ["--precision", precision]
    return shlex.join(words)
