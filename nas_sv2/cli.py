"""The command line: parse, call one function, print.

Heavy packages are imported inside the commands, so that `--help` answers at once. `main` is the
one place where an error becomes a line and an exit code.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from nas_sv2 import __version__
from nas_sv2.errors import ConfigError, NasError

app = typer.Typer(
    name="nas-sv2",
    help="Latency-aware neural architecture search over the ShuffleNet V2 unit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130

Storage = Annotated[str, typer.Option(help="Database of studies and measurements, a URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain data for programs.")]
Target = Annotated[
    str, typer.Option(help="Where latency counts: arm, cpu, gpu; several as arm,cpu.")
]
ARCH_HELP = "A reference name, a YAML or JSON file, or STUDY:NUMBER."
Arch = Annotated[str, typer.Argument(help=ARCH_HELP)]
STORAGE = "sqlite:///nas-sv2.db"


def main() -> NoReturn:
    """Run the command line; exit 0, 1 fault, 2 bad input, 3 infeasible, 130 interrupted."""
    usage_error: Any = typer.BadParameter.__base__  # typer has moved the class between releases
    try:
        code = app(standalone_mode=False)
    except NasError as error:
        _fail(str(error), error.exit_code)
    except usage_error as error:
        _fail(error.format_message(), ConfigError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is left to be said
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    print(f"nas-sv2: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _version(asked: bool) -> None:
    if asked:
        print(f"nas-sv2 {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Latency-aware neural architecture search over the ShuffleNet V2 unit."""


@app.command()
def search(
    target: Target,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="Upper limit, repeatable: 140M (FLOPs), 25ms, arm=25ms, 2.5Mparams."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="40M, 140M, 300M, 500M, large or a file; else the nearest to the budget."
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(help="animals, fashion-mnist, cifar10, cifar100 or imagefolder:PATH."),
    ] = "animals",
    recipe: Annotated[
        str, typer.Option(help="How candidates are trained: smoke, quick, standard.")
    ] = "quick",
    trials: Annotated[
        int, typer.Option(help="Finished candidates to reach, baselines among them.")
    ] = 16,
    timeout: Annotated[
        str | None, typer.Option(help="Begin no trial after this time: 90s, 10m, 2h.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="tpe, nsga2, gp or random.")] = "tpe",
    seed: Annotated[int, typer.Option(help="Of sampler and trainings.")] = 0,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; the same name goes on with it.")
    ] = None,
    storage: Storage = STORAGE,
    tolerance: Annotated[
        float, typer.Option(help="Share by which a FLOPs budget may be exceeded.")
    ] = 0.05,
    guidelines: Annotated[
        str, typer.Option(help="Prune by G1-G4 with the paper's networks as limits: paper, off.")
    ] = "paper",
    require_measured: Annotated[
        bool, typer.Option(help="Refuse targets whose latency is not measured.")
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option(help="Go on without images of a folder that cannot be read.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search networks that are accurate and fast on the target, within the budget."""
    from nas_sv2.progress import shown_on
    from nas_sv2.search.session import Request, run_search
    from nas_sv2.tables import front_data, front_notes, front_table, output

    request = Request(
        targets=target,
        budgets=budget or [],
        space=space,
        data=data,
        recipe=recipe,
        sampler=sampler,
        trials=trials,
        timeout=timeout,
        seed=seed,
        study=study,
        storage=storage,
        tolerance=tolerance,
        guidelines=guidelines,
        require_measured=require_measured,
        skip_unreadable=skip_unreadable,
    )
    console = output()
    with shown_on(console, as_json) as listener:
        found = run_search(request, listener)
    if as_json:
        _print_json({"study": found.study, "entries": front_data(found.records)})
    else:
        console.print(front_table(found.records))
        _print_notes(front_notes(found.records))
        print(f"nas-sv2 export {found.study} --trial best --out winner")
    if found.ended_by is not None:
        raise found.ended_by


@app.command()
def front(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print the front of a study, with its baselines."""
    from nas_sv2.studies.lookup import records_of
    from nas_sv2.tables import front_data, front_notes, front_table, output

    records = records_of(storage, study)
    if as_json:
        _print_json({"study": study, "entries": front_data(records)})
    else:
        output().print(front_table(records))
        _print_notes(front_notes(records))


@app.command()
def export(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    trial: Annotated[str, typer.Option(help="A number, or best: the most accurate.")] = "best",
    storage: Storage = STORAGE,
    force: Annotated[bool, typer.Option(help="Write over an earlier export.")] = False,
) -> None:
    """Write a found network as configuration, ONNX and weights, with a card."""
    from nas_sv2.studies.packaging import export_trial

    def training_again() -> None:
        print("its weights were not kept; training it again", file=sys.stderr)

    number, parity = export_trial(
        storage, study, trial, out, force=force, training_again=training_again
    )
    print(f"trial {number} is in {out}; logits of torch and ONNX differ by {parity:.1e} at most")


@app.command()
def dashboard(
    storage: Storage = STORAGE,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 8080,
) -> None:
    """Open the Optuna dashboard on the studies, for this machine only."""
    from nas_sv2.studies.dashboard import HOST, dashboard_storage, serve_dashboard

    opened = dashboard_storage(storage, port)
    print(f"http://{HOST}:{port}  (Ctrl-C ends it)", flush=True)
    serve_dashboard(opened, port)


@app.command()
def cost(arch: Arch, storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Print what a network costs on paper, and how far it is from the guidelines."""
    from nas_sv2.space import cost_of, lower
    from nas_sv2.space.levels import paper_limits
    from nas_sv2.studies.lookup import find_architecture
    from nas_sv2.tables import architecture_data, cost_table, output

    found = find_architecture(arch, storage)
    graph = lower(found.architecture)
    counted = cost_of(graph)
    excesses = paper_limits(found.architecture, counted.flops).excesses(graph)
    if as_json:
        data = architecture_data(found.name, found.architecture, counted)
        _print_json({**data, "guidelines": excesses})
    else:
        output().print(cost_table(found.name, found.architecture, counted, excesses))


@app.command()
def measure(
    archs: Annotated[list[str], typer.Argument(help=ARCH_HELP, metavar="ARCH...")],
    target: Target,
    fresh: Annotated[bool, typer.Option(help="Measure even what is stored.")] = False,
    require_measured: Annotated[
        bool, typer.Option(help="Refuse targets whose latency is not measured.")
    ] = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print the latency of networks on a target, with its provenance."""
    from nas_sv2.latency.measurement import Latency
    from nas_sv2.latency.store import MeasurementStore
    from nas_sv2.latency.targets import open_target, target_names
    from nas_sv2.studies.lookup import find_architecture
    from nas_sv2.tables import latency_notes, latency_table, output

    names = target_names(target)
    networks = [find_architecture(text, storage) for text in archs]
    store = MeasurementStore.open(storage)
    rows: list[tuple[str, str, Latency]] = []
    data: list[dict[str, Any]] = []
    for name in names:
        opened = open_target(name, store=store, require_measured=require_measured, fresh=fresh)
        try:
            for network in networks:
                latency = opened.estimate(network.architecture)
                rows.append((network.name, name, latency))
                identity = {"name": network.name, "digest": network.architecture.digest}
                data.append({**identity, "target": name, **latency.to_json()})
        finally:
            opened.close()
    store.close()
    if as_json:
        _print_json(data)
    else:
        output().print(latency_table(rows))
        _print_notes(latency_notes(rows))


@app.command()
def devices(as_json: AsJson = False) -> None:
    """List the targets: where latency can be had, and how."""
    import dataclasses

    from nas_sv2.latency.targets import describe_targets
    from nas_sv2.tables import output, targets_table

    infos = describe_targets()
    if as_json:
        _print_json([dataclasses.asdict(info) for info in infos])
    else:
        output().print(targets_table(infos))


def _print_json(data: object) -> None:
    print(json.dumps(data))


def _print_notes(notes: list[str]) -> None:
    for note in notes:
        print(note)
