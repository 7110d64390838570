"""`measure`, and the commands `network`: cost, time, training and files of networks."""

from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    Affinity,
    Arch,
    AsJson,
    Batch,
    Data,
    Fit,
    Form,
    Fresh,
    ImageSize,
    Inputs,
    OneTarget,
    Precision,
    RequireMeasured,
    RunArch,
    RunArchs,
    Runtime,
    SeveralTargets,
    SkipUnreadable,
    StartingWeights,
    Storage,
    Threads,
    TrainThreads,
    counting_bar,
    factors,
    formats,
    height_and_width,
    input_shapes,
    open_database,
    plan_changes,
    print_notes,
    waiting,
)
from nas_sv2.errors import ConfigError
from nas_sv2.files import PICTURES, checked_out
from nas_sv2.show.terminal import say, say_json

app = typer.Typer(
    help="Look at one network: a reference name, a file, or STUDY:NUMBER.", no_args_is_help=True
)
BY = ("kind", "block", "op")


def measure(
    archs: RunArchs,
    target: SeveralTargets,
    inputs: Inputs = None,
    fresh: Fresh = False,
    sustained: Annotated[
        float | None,
        typer.Option(
            "--sustained",
            help="Run for so many minutes first: the latency of a device that is hot.",
        ),
    ] = None,
    sessions: Annotated[
        int | None,
        typer.Option(
            "--sessions",
            help="How many sessions, each in a process of its own; 3 or 4 if left out.",
        ),
    ] = None,
    runtime: Runtime = None,
    precision: Precision = None,
    threads: Threads = None,
    batch: Batch = None,
    affinity: Affinity = None,
    require_measured: RequireMeasured = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Measure networks; of several, print which are faster and which are tied.

    A single network is read from the database if it was measured before. Several are measured
    together, in alternation.
    """
    from nas_sv2.api.devices import target_names
    from nas_sv2.api.measuring import measure as compare
    from nas_sv2.show import measure_tables as tables
    from nas_sv2.show.console import output
    from nas_sv2.show.network_tables import batch_notes

    shapes = input_shapes(inputs)
    changes = plan_changes(runtime, precision, threads, batch, affinity, sustained, sessions)
    found, db = [], open_database(storage)
    for name in target_names(target):
        with waiting(f"measuring on {name}") as update:
            found.append(
                compare(
                    archs,
                    target=name,
                    storage=db,
                    fresh=fresh,
                    require_measured=require_measured,
                    plan=changes,
                    inputs=shapes,
                    notify=update,
                )
            )
    print_notes(batch_notes(one.network for one in found[0].networks), error=True)
    if as_json:
        say_json([row for comparison in found for row in comparison.to_json()])
        return
    rows = [row for comparison in found for row in tables.latency_rows(comparison)]
    output().print(tables.latency_table(rows))
    print_notes(tables.latency_notes(rows))
    for comparison in found:
        if comparison.orders is not None:
            say()
            output().print(
                tables.order_table(comparison.target, comparison.names, comparison.orders)
            )
            print_notes(tables.order_notes(comparison.names, comparison.orders))


@app.command()
def cost(
    arch: RunArch, inputs: Inputs = None, storage: Storage = STORAGE, as_json: AsJson = False
) -> None:
    """Print the cost of a network on paper, its peak memory, its distance from the guidelines.

    An ONNX file is of no family, so that no guidelines are for it.
    """
    from nas_sv2.api.inspection import on_paper
    from nas_sv2.show.console import output
    from nas_sv2.show.network_tables import batch_notes, cost_data, cost_table

    found = on_paper(arch, inputs=input_shapes(inputs), storage=open_database(storage))
    print_notes(batch_notes([found.named.network]), error=True)
    say_json(cost_data(found)) if as_json else output().print(cost_table(found))


@app.command()
def explain(
    arch: Arch,
    target: OneTarget,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Explain why a network is slow or fast: time by block, guidelines, faster variants.

    Each variant differs from the network in one thing. It is timed against the network in one
    session.
    """
    from nas_sv2.api.inspection import explain as explained_on
    from nas_sv2.show.console import output
    from nas_sv2.show.network_tables import (
        explanation_data,
        explanation_notes,
        explanation_table,
        gain_lines,
    )

    with waiting(f"asking {target}") as update:
        explained = explained_on(arch, target, storage=open_database(storage), notify=update)
    if as_json:
        say_json({"digest": explained.digest, **explanation_data(explained)})
        return
    output().print(explanation_table(explained))
    print_notes(explanation_notes(explained))
    say()
    print_notes(gain_lines(explained.gains))


@app.command()
def profile(
    archs: RunArchs,
    target: OneTarget,
    inputs: Inputs = None,
    by: Annotated[
        str | None,
        typer.Option("--by", help="kind, block or op; by kind and by block if left out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture to write: .png, .svg or .pdf.")
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print how the time of networks on a target divides, by kind of kernel and by block."""
    from nas_sv2.api.inspection import draw_profile
    from nas_sv2.api.inspection import profile as profile_networks
    from nas_sv2.show import network_tables as tables
    from nas_sv2.show.console import output

    files = [arch for arch in archs if arch.lower().endswith(".onnx")]
    if by == "block" and files:
        raise ConfigError("by", by, f"must be kind or op: {files[0]} does not name its blocks")
    if by is not None and by not in BY:
        raise ConfigError("by", by, "must be one of " + ", ".join(BY))
    if out is not None:
        checked_out(out, endings=PICTURES)
    with waiting(f"profiling on {target}") as update:
        db, shapes = open_database(storage), input_shapes(inputs)
        found = profile_networks(archs, target, inputs=shapes, storage=db, notify=update)
    print_notes(tables.batch_notes(one.network for one, _ in found), error=True)
    if out is not None:
        draw_profile(found, out)
    if as_json:
        say_json(
            [
                tables.profile_data(one.name, target, one.network.digest, profiled)
                for one, profiled in found
            ]
        )
        return
    shown = {"kind": tables.kind_table, "block": tables.block_table, "op": tables.kernel_table}
    console = output()
    for one, profiled in found:
        for which in tables.divisions(one.network) if by is None else [by]:
            console.print(shown[which](one.name, profiled))
            say()
    say(tables.device_note(found[0][1]))
    for one, profiled in found:
        print_notes(tables.profile_notes(one.name, profiled))
    if out is not None:
        say(f"drawn: {out}")


@app.command()
def reuse(
    arch: Arch,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="FILE.safetensors or STUDY:NUMBER; those of ARCH, if it is a trial, if left out.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Heat maps to write: .png, .svg or .pdf.")
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print which channels connect a network's blocks untouched, and how they are weighed.

    The paper's Figure 4 for any network, exact from its operators.
    """
    from nas_sv2.api.inspection import draw_reuse
    from nas_sv2.api.inspection import reuse as find_reuse
    from nas_sv2.show.console import output
    from nas_sv2.show.measure_tables import network_name
    from nas_sv2.show.network_tables import reuse_data, reuse_notes, reuse_table

    if out is not None:
        checked_out(out, endings=PICTURES)
    found = find_reuse(
        arch,
        weights=weights,
        storage=open_database(storage),
        notify=lambda line: say(line, error=True),
    )
    name, digest, kept = found.named.name, found.named.network.digest, found.kept
    if out is not None:
        draw_reuse(found, network_name(digest), out)
    if as_json:
        facts = ("source", "recipe", "seed", "data")
        of = None if kept is None else {fact: getattr(kept, fact) for fact in facts}
        data = reuse_data(found.reuse, found.weighed)
        say_json({"name": name, "digest": digest, **data, "weights": of})
        return
    output().print(reuse_table(name, found.reuse, found.weighed))
    print_notes(reuse_notes(found.reuse) + ([] if kept is None else [kept.describe()]))


@app.command()
def train(
    arch: Arch,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder to write; a training that was killed there is resumed."
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option("--recipe", help="paper, megvii, torchvision-new, quick, ..., or a file."),
    ] = "paper",
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="Input to bring the network to, as 64x64x3, with the stem of the recipe; its own "
            "if left out.",
            metavar="HxWxC",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of weights, order and augmentation.")
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu or cuda; cuda, if there is a GPU, if left out."),
    ] = None,
    weights: StartingWeights = None,
    freeze: Annotated[
        str | None,
        typer.Option("--freeze", help="Parts that keep these weights, as stem,stage2."),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option("--rates", help="Factors of the rate by part, as stage2=0.1,stage3=0.3."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="Network whose answers are learnt too: DIR, FILE.onnx or module:attribute.",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="Temperature of its answers; 4 if left out."),
    ] = None,
    qat: Annotated[
        bool,
        typer.Option(
            "--qat", help="Train with the rounding of int8, from --weights of this network."
        ),
    ] = False,
    train_threads: TrainThreads = 1,
    form: Form = None,
    fit: Fit = None,
    skip_unreadable: SkipUnreadable = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Train a network for real: checkpoints, logs, weights and models in a folder.

    The same command resumes a training that was killed. With several processes: torchrun
    --nproc-per-node 2 -m nas_sv2 network train ...
    """
    from nas_sv2.api.data_sets import with_fit
    from nas_sv2.api.training import is_first_process
    from nas_sv2.api.training import train as train_network
    from nas_sv2.show.network_tables import metrics_lines

    with counting_bar(quiet=not is_first_process()) as bar:
        task = bar.add_task("", total=None, visible=False)
        metrics = train_network(
            arch,
            out,
            data=with_fit(data, fit),
            recipe=recipe,
            input=input,
            seed=seed,
            device=device,
            train_threads=train_threads,
            skip_unreadable=skip_unreadable,
            weights=weights,
            freeze=freeze.split(",") if freeze else (),
            rates=factors(rates),
            teacher=teacher,
            temperature=temperature,
            qat=qat,
            forms=formats(form) or ("onnx",),
            storage=open_database(storage),
            notify=bar.console.print,
            progress=lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            ),
        )
    if metrics is None:
        return
    if as_json:
        say_json(metrics)
    else:
        print_notes(metrics_lines(metrics))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that export or network train wrote.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", help="Images to compare the forms on; random ones if left out."
        ),
    ] = None,
    run_model_py: Annotated[
        bool,
        typer.Option(
            "--run-model-py", help="Run model.py although this nas-sv2 did not write it."
        ),
    ] = False,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Check an exported network again: its files, its forms, its accuracy; exit 1 if one fails."""
    from nas_sv2.api.networks import verify as verified

    checks = []
    found = verified(folder, data=data, run_model_py=run_model_py, skip_unreadable=skip_unreadable)
    for check in found:
        checks.append(check)
        if not as_json:
            say(f"{'ok  ' if check.holds else 'FAIL'}  {check.what}: {check.found}")
    if as_json:
        rows = [{"what": c.what, "holds": c.holds, "found": c.found} for c in checks]
        say_json({"folder": str(folder), "checks": rows})
    if not all(check.holds for check in checks):
        raise typer.Exit(1)


@app.command("detect-table")
def detect_table(
    target: OneTarget,
    level: Annotated[str, typer.Option("--level", help="40M, 140M, 300M, 500M or all.")] = "all",
    image_size: ImageSize = "800x1200",
    alone: Annotated[
        bool, typer.Option("--alone", help="Time the backbones alone, not whole detectors.")
    ] = False,
    trained: Annotated[
        list[Path] | None,
        typer.Option("--trained", help="Folder of a trained detector, repeatable."),
    ] = None,
    fresh: Fresh = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Time the paper's detectors on a device: its Table 7, beside the published speeds."""
    from nas_sv2.api.detection import time_detection_table
    from nas_sv2.show import detection_tables as tables
    from nas_sv2.show.console import output

    height, width = height_and_width(image_size)
    with waiting(f"timing detectors on {target}") as update:
        found = time_detection_table(
            target,
            level=level,
            height=height,
            width=width,
            whole=not alone,
            trained=trained or (),
            fresh=fresh,
            storage=open_database(storage),
            notify=update,
        )
    if as_json:
        say_json(tables.detection_data(found))
        return
    console = output()
    for one in found.levels:
        console.print(tables.detection_table(found, one))
        say()
    console.print(tables.agreement_table(found))
    print_notes(tables.detection_notes(found))


@app.command("train-detector")
def train_detector(
    arch: Arch,
    data: Annotated[str, typer.Option("--data", "-d", help="drawn, the demo data, or coco:PATH.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder to write; a training that was killed there is resumed."
        ),
    ],
    head: Annotated[str, typer.Option("--head", help="light-head or ssdlite.")] = "light-head",
    image_size: ImageSize = "800x1200",
    recipe: Annotated[
        str, typer.Option("--recipe", help="detector, detector-quick, or a file.")
    ] = "detector",
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of weights, order and sampled boxes.")
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu or cuda; cuda, if there is a GPU, if left out."),
    ] = None,
    weights: StartingWeights = None,
    train_threads: TrainThreads = 1,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Train a detector on a network: checkpoint, log, weights, ONNX and mmAP in a folder.

    The same command resumes a training that was killed.
    """
    from nas_sv2.api.detection import DetectorPlan
    from nas_sv2.api.detection import train_detector as train_on
    from nas_sv2.show.detection_tables import metrics_lines

    height, width = height_and_width(image_size)
    plan = DetectorPlan(data, head, height, width, recipe, seed, device, train_threads, weights)
    with counting_bar() as bar:
        task = bar.add_task("", total=None, visible=False)
        metrics = train_on(
            arch,
            out,
            plan,
            storage=open_database(storage),
            notify=bar.console.print,
            progress=lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            ),
        )
    if as_json:
        say_json(metrics)
    else:
        print_notes(metrics_lines(metrics))
