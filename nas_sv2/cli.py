"""The command line: parse, call one function, print.

Heavy packages are imported inside the commands, so that `--help` answers at once. `main` is the
one place where an error becomes a line and an exit code.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from nas_sv2.commands import (
    compare_commands,
    confirm_commands,
    emulation_commands,
    explain_commands,
    guideline_commands,
    measure_commands,
    profile_commands,
    qualify_commands,
    recipe_commands,
    replay_commands,
    report_commands,
    reuse_commands,
    ship_commands,
    train_commands,
)
from nas_sv2.commands.data_commands import SPEC_HELP, data_app
from nas_sv2.commands.device_commands import devices_app
from nas_sv2.commands.options import (
    ARCH_HELP,
    STORAGE,
    AsJson,
    Storage,
    next_command,
    print_json,
    print_notes,
)
from nas_sv2.commands.supernet_commands import supernet_app
from nas_sv2.errors import ConfigError, NasError
from nas_sv2.version import __version__

app = typer.Typer(
    name="nas-sv2",
    help="Latency-aware neural architecture search over the ShuffleNet V2 unit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
devices_app.command()(emulation_commands.calibrate)
devices_app.command()(emulation_commands.refit)
app.add_typer(devices_app, name="devices")
app.add_typer(data_app, name="data")
app.add_typer(supernet_app, name="supernet")

app.command()(compare_commands.compare)
app.command()(confirm_commands.confirm)
app.command()(explain_commands.explain)
app.command()(guideline_commands.guidelines)
app.command()(measure_commands.measure)
app.command()(measure_commands.doctor)
app.add_typer(measure_commands.measurements, name="measurements")
app.command()(profile_commands.profile)
app.command()(qualify_commands.qualify)
app.add_typer(recipe_commands.recipes, name="recipes")
app.command()(replay_commands.replay)
app.command()(report_commands.report)
app.command()(reuse_commands.reuse)
app.command()(ship_commands.export)
app.command()(ship_commands.verify)
app.command()(train_commands.train)

INTERRUPTED = 130

Target = Annotated[
    str, typer.Option(help="Where latency counts: arm, cpu, gpu or a device; several as arm,cpu.")
]
Arch = Annotated[str, typer.Argument(help=ARCH_HELP)]


def main() -> NoReturn:
    """Run the command line; exit 0, 1 fault, 2 bad input, 3 infeasible, 130 interrupted."""
    usage_error: Any = typer.BadParameter.__base__  # typer has moved the class between releases
    try:
        code = app(standalone_mode=False)
    except ConfigError as error:
        _fail(error.named(_option_of(error.field, sys.argv[1:])), error.exit_code)
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


def _option_of(field: str, words: Sequence[str]) -> str:
    """Name the option or argument of the command in `words` whose parameter is `field`."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    for parameter in command.params:
        if parameter.name == field:
            return str(max(parameter.opts, key=len)) if parameter.opts[0][0] == "-" else field
    return field


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
        typer.Option(help=SPEC_HELP),
    ] = "animals",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How candidates are trained: smoke, quick, standard, long or a file; else quick."
        ),
    ] = None,
    evaluator: Annotated[
        str,
        typer.Option(help="recipe: candidates are trained; supernet:DIR: that one is asked."),
    ] = "recipe",
    trials: Annotated[
        int, typer.Option(help="Finished candidates to reach, baselines among them.")
    ] = 16,
    workers: Annotated[
        int, typer.Option(help="Candidates under way at the same time, by as many processes.")
    ] = 1,
    train_on: Annotated[
        str, typer.Option(help="cpu, or cuda: candidates are trained on this machine's GPU.")
    ] = "cpu",
    ray: Annotated[
        str | None,
        typer.Option(
            help="auto or HOST:PORT: train and measure on that Ray cluster, --workers at a time."
        ),
    ] = None,
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
        str | None,
        typer.Option(
            help="Prune by G1-G4: measured (nas-sv2 guidelines), paper, off; measured where there "
            "is a profile."
        ),
    ] = None,
    audit: Annotated[
        float, typer.Option(help="Share of pruned candidates that is assessed all the same.")
    ] = 0.05,
    stop_rule: Annotated[
        str,
        typer.Option(help="on: end trainings that cannot lead to the front any more; off."),
    ] = "off",
    latency: Annotated[
        str,
        typer.Option(
            help="measured; auto: predicted to screen, what could matter measured; predicted."
        ),
    ] = "measured",
    require_measured: Annotated[
        bool, typer.Option(help="Refuse targets whose latency is not measured.")
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option(help="Go on without images of a folder that cannot be read.")
    ] = False,
    log_json: Annotated[
        bool,
        typer.Option("--log-json", help="Log events to standard error, one JSON object a line."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search networks that are accurate and fast on the target, within the budget."""
    from nas_sv2.search.session.plan import Request
    from nas_sv2.search.session.session import run_search
    from nas_sv2.show.log_lines import Both, logged
    from nas_sv2.show.progress import shown_on
    from nas_sv2.show.tables import front_data, front_notes, front_table, output, pruned_data
    from nas_sv2.studies.storage.named_networks import certificate_for

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
        audit=audit,
        stop_rule=stop_rule,
        latency=latency,
        require_measured=require_measured,
        skip_unreadable=skip_unreadable,
        evaluator=evaluator,
        workers=workers,
        train_on=train_on,
        ray=ray,
    )
    console = output()
    with logged(request, log_json) as log:
        with shown_on(console, as_json) as listener:
            told = listener if log is None else Both(listener, log)
            found = run_search(request, told)
        if as_json:
            entries = front_data(found.records)
            print_json(
                {"study": found.study, "entries": entries, "pruned": pruned_data(found.pruned)}
            )
        else:
            console.print(front_table(found.records))
            certificate = certificate_for(storage, found.study, found.records)
            print_notes(front_notes(found.records, certificate))
            print_notes([each.describe() for each in found.pruned])
            words = ("export", found.study, "--trial", "best", "--out", "winner")
            print(next_command(storage, *words))
        if found.ended_by is not None:
            raise found.ended_by


@app.command()
def front(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print the front of a study, with its baselines."""
    from nas_sv2.show.tables import front_data, front_notes, front_table, output, pruned_data
    from nas_sv2.studies.storage.confirmation_store import confirmation_lines, confirmations_in
    from nas_sv2.studies.storage.named_networks import certificate_for, pruned_in, records_of

    records, pruned = records_of(storage, study), pruned_in(storage, study)
    confirmations = confirmations_in(storage, study)
    if as_json:
        print_json(
            {
                "study": study,
                "entries": front_data(records),
                "pruned": pruned_data(pruned),
                "confirmations": [each.to_json() for each in confirmations],
            }
        )
    else:
        output().print(front_table(records))
        print_notes(front_notes(records, certificate_for(storage, study, records)))
        print_notes([each.describe() for each in pruned])
        print_notes(confirmation_lines(confirmations))


@app.command()
def dashboard(
    storage: Storage = STORAGE,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own opens it to all.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(help="With --host, a name that others call it by; may be repeated."),
    ] = None,
) -> None:
    """Open the Optuna dashboard on the studies, for this machine only unless told otherwise."""
    from nas_sv2.studies.dashboard.server import open_dashboard

    opened = open_dashboard(storage, port, host, name or [])
    if opened.exposes:
        print(f"nas-sv2: {opened.exposes}", file=sys.stderr)
    print(f"{opened.url}  (Ctrl-C ends it)", flush=True)
    opened.serve()


@app.command()
def cost(arch: Arch, storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Print what a network costs on paper, and how far it is from the guidelines."""
    from nas_sv2.show.tables import cost_table, network_data, output
    from nas_sv2.space.choices.levels import paper_limits
    from nas_sv2.space.graph.cost import cost_of
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.studies.storage.named_networks import find_network

    found = find_network(arch, storage)
    graph = lower(found.network)
    counted = cost_of(graph)
    excesses = paper_limits(found.network, counted.flops).excesses(graph)
    if as_json:
        data = network_data(found.name, found.network, counted)
        print_json({**data, "guidelines": excesses})
    else:
        output().print(cost_table(found.name, found.network, counted, excesses))


@app.command()
def predictor(
    target: Target,
    space: Annotated[
        str, typer.Option(help="40M, 140M, 300M, 500M, large or a file: what it can predict.")
    ] = "140M",
    fresh: Annotated[bool, typer.Option(help="Fit even where one is stored.")] = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Fit a predictor of latency, or find the stored one, and print how far it was off."""
    import dataclasses

    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.targets import open_target
    from nas_sv2.search.walk.predict_first import predictor_of
    from nas_sv2.show.tables import output
    from nas_sv2.space.choices.space_files import open_space

    named = open_space(space)
    store = MeasurementStore.open(storage)
    opened = open_target(target, store=store)
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
        store.close()
    report = found.predictor.report
    if as_json:
        print_json({"device": found.device, "space": named.name, **dataclasses.asdict(report)})
    else:
        print(f"{found.device} · space {named.name}: {report.describe()}")
