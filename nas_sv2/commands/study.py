"""`search`, and what is done with its study: `front`, `report`, `export`, `dashboard`, `study`."""

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import (
    DATA_HELP,
    FIT_HELP,
    SPACE_HELP,
    STORAGE,
    STORAGE_VARIABLE,
    AsJson,
    DataPlace,
    Force,
    Form,
    Fresh,
    OneTarget,
    RequireMeasured,
    Storage,
    StudyName,
    Workers,
    Yes,
    ask_first,
    count_trainings,
    counting_bar,
    formats,
    next_command,
    open_database,
    print_front,
    print_notes,
    print_parts,
    resumable,
    silence_optuna,
    waiting,
)
from nas_sv2.files import TEXTS, checked_out, write_out
from nas_sv2.show.terminal import say, say_json

if TYPE_CHECKING:
    from nas_sv2.api.study import StudyFacts

app = typer.Typer(help="List, show, confirm, replay and delete studies.", no_args_is_help=True)


def _what(*names: str, **settings: Any) -> Any:
    """An option that says what is searched; the help shows these first."""
    return typer.Option(*names, rich_help_panel="What to search", **settings)


def _how(*names: str, **settings: Any) -> Any:
    """An option that says how the search proceeds."""
    return typer.Option(*names, rich_help_panel="How to search", **settings)


def search(
    targets: Annotated[
        str,
        _what(
            "--target",
            "-t",
            help="Where latency counts: arm, cpu, gpu or a device; several as arm,cpu.",
        ),
    ],
    budgets: Annotated[
        list[str] | None,
        _what(
            "--budget",
            "-b",
            help="Upper limit, repeatable: 140M (FLOPs), 25ms, arm=25ms, 2.5Mparams, 2MiB.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        _what("--space", help=f"{SPACE_HELP}; the nearest to the budget if left out."),
    ] = None,
    input: Annotated[
        str | None,
        _what(
            "--input",
            help="Input that is deployed and timed, as 96x128x3: height, width and channels; if "
            "left out, that of your images if no level is named, else the space's. Needed for "
            "detection.",
            metavar="HxWxC",
        ),
    ] = None,
    data: Annotated[
        str | None,
        _what(
            "--data",
            "-d",
            help=f"{DATA_HELP} For detection: drawn or coco:PATH. animals or drawn if left out.",
        ),
    ] = None,
    task: Annotated[
        str,
        _what(
            "--task", help="classification, or detection: candidates are backbones of detectors."
        ),
    ] = "classification",
    head: Annotated[
        str | None,
        _what("--head", help="Head of the detector: ssdlite or light-head; ssdlite if left out."),
    ] = None,
    fit: Annotated[str | None, _what("--fit", help=FIT_HELP)] = None,
    trials: Annotated[
        int, _what("--trials", "-n", help="Finished candidates to reach, baselines among them.")
    ] = 24,
    warm_start: Annotated[
        str | None,
        _how(
            "--from",
            help="Another study, whose front is asked first and whose trainings inform.",
            metavar="STUDY",
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        _how(
            "--start",
            help="A network of your own that is asked first, repeatable: its YAML or JSON file, "
            "or an exported package.",
            metavar="FILE",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        _how(
            "--recipe",
            help="How candidates are trained: smoke, quick, standard, long or a file; quick if "
            "left out. For detection: detector-quick, detector or a file.",
        ),
    ] = None,
    evaluator: Annotated[
        str,
        _how(
            "--evaluator",
            help="recipe: train every candidate; supernet:DIR: ask that supernet; "
            "MODULE:ATTRIBUTE: ask an evaluator of your own.",
        ),
    ] = "recipe",
    workers: Annotated[
        int | None,
        _how(
            "--workers",
            "-j",
            help="Candidates at the same time, one process each; one for each core if left out.",
        ),
    ] = None,
    device: Annotated[
        str, _how("--device", help="Where candidates are trained: cpu, or cuda for the GPU here.")
    ] = "cpu",
    ray: Annotated[
        str | None,
        _how(
            "--ray",
            help="auto or HOST:PORT: train and measure on that Ray cluster, --workers at a time.",
        ),
    ] = None,
    timeout: Annotated[
        str | None, _how("--timeout", help="Begin no trial after this time: 90s, 10m, 2h.")
    ] = None,
    sampler: Annotated[str, _how("--sampler", help="ehvi, tpe, nsga2, gp or random.")] = "ehvi",
    seed: Annotated[int, _how("--seed", help="Seed of the sampler and the trainings.")] = 0,
    study: Annotated[
        str | None,
        _how("--study", help="Name of the study; a study of that name is resumed."),
    ] = None,
    storage: Annotated[
        str,
        _how(
            "--storage",
            "-s",
            envvar=STORAGE_VARIABLE,
            help="Database of studies and measurements: a file or a URL.",
        ),
    ] = STORAGE,
    tolerance: Annotated[
        float, _how("--tolerance", help="Share by which a FLOPs budget may be exceeded.")
    ] = 0.05,
    guidelines: Annotated[
        str | None,
        _how(
            "--guidelines",
            help="Prune by G1-G4: measured (see nas-sv2 device guidelines), paper or off; "
            "measured if there is a profile.",
        ),
    ] = None,
    audit: Annotated[
        float,
        _how("--audit", help="Share of the pruned candidates that is evaluated nevertheless."),
    ] = 0.05,
    stop_rule: Annotated[
        bool | None,
        _how(
            "--stop-rule/--no-stop-rule",
            help="End a training early that promises little growth of the front; on if trainings "
            "have several passes.",
        ),
    ] = None,
    latency: Annotated[
        str,
        _how(
            "--latency",
            help="measured: measure every candidate; auto: predict first, then measure those "
            "that could reach the front; predicted: measure the front alone, at the end.",
        ),
    ] = "measured",
    require_measured: Annotated[
        bool,
        _how("--require-measured", help="Refuse targets whose latency is not measured."),
    ] = False,
    skip_unreadable: Annotated[
        bool, _how("--skip-unreadable", help="Leave out images that cannot be read.")
    ] = False,
    log_json: Annotated[
        bool, _how("--log-json", help="Log events to standard error, one JSON object a line.")
    ] = False,
    as_json: Annotated[bool, _how("--json", help="Plain data for programs.")] = False,
) -> None:
    """Search networks that are accurate and fast on the target, within the budget."""
    from nas_sv2.api.searching import carry_out, fitted_data, plan_search
    from nas_sv2.show.console import output
    from nas_sv2.show.search_events import call_both, logging, showing

    silence_optuna()
    with resumable(), logging(study, workers != 1, log_json) as log:
        db = open_database(storage)
        plan = plan_search(
            targets,
            budgets or [],
            space=space,
            input=input,
            data=fitted_data(data, fit, task),
            task=task,
            head=head,
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
            train_on=device,
            ray=ray,
            warm_start=warm_start,
            start=start or [],
        )
        with showing(output(), as_json) as shown:
            found, ended_by = carry_out(plan, db, shown if log is None else call_both(shown, log))
        _print_found(found.facts, ended_by, storage, as_json)


def _print_found(
    facts: "StudyFacts", ended_by: BaseException | None, storage: str, as_json: bool
) -> None:
    """Print the front, and how its best network is exported; raise what ended the search."""
    print_front(facts, as_json)
    if facts.best is not None and not as_json:
        say(next_command(storage, "export", facts.study, "--trial", "best", "--out", "winner"))
    if ended_by is not None:
        raise ended_by


def front(study: StudyName, storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Print the front of a study, with its baselines."""
    from nas_sv2.api.study import open_study

    print_front(open_study(study, storage=open_database(storage)).facts, as_json)


def report(
    study: StudyName,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; report.html or report.md if left out."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="html or md (with a PNG beside it); as --out ends if left out."
        ),
    ] = None,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators/--no-operators",
            help="Time the operators of the front on measured targets now.",
        ),
    ] = False,
    storage: Storage = STORAGE,
) -> None:
    """Write a study as one self-contained page: front, networks, what was pruned, how to repeat.

    The page opens from disk without a network. Markdown holds the same in short.
    """
    from nas_sv2.api.study import open_study

    chosen: Any = form  # the API refuses what is no form
    path = out or Path(f"report.{form or 'html'}")
    with waiting("reading the study") as update:
        written = open_study(study, storage=open_database(storage)).report(
            path, form=chosen, operators=operators, notify=update
        )
    say("written: " + ", ".join(map(str, written)))


def export(
    study: StudyName,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    trial: Annotated[
        str, typer.Option("--trial", help="Number of a trial; best: the highest expected score.")
    ] = "best",
    time: Annotated[
        bool, typer.Option("--time/--no-time", help="Time the files on the study's targets.")
    ] = True,
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Write int8 forms too.")] = True,
    form: Form = None,
    opset: Annotated[
        int, typer.Option("--opset", help="Opset of the ONNX files: 13, which most read, to 17.")
    ] = 13,
    supernet: Annotated[
        Path | None,
        typer.Option("--supernet", help="Where the study's supernet lies now, if it was moved."),
    ] = None,
    data: DataPlace = None,
    storage: Storage = STORAGE,
    force: Force = False,
) -> None:
    """Write a found network to ship: weights, ONNX in float32 and int8, plain torch, a card.

    Every form is checked on the validation images against the network as it was trained. A
    study of detectors gives the whole detector, as ONNX in float32.
    """
    from nas_sv2.api.study import open_study
    from nas_sv2.show.network_tables import exported_lines

    def notify(line: str) -> None:
        say(line, error=True)

    exported = open_study(study, storage=open_database(storage)).export(
        trial,
        out,
        time=time,
        int8=int8,
        opset=opset,
        forms=formats(form),
        force=force,
        supernet=supernet,
        data=data,
        notify=notify,
    )
    say(f"trial {exported.number} is in {out}")
    print_notes(exported_lines(exported))


def dashboard(
    storage: Storage = STORAGE,
    port: Annotated[
        int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)
    ] = 8080,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on; an address other than this machine's own opens it to all.",
        ),
    ] = "127.0.0.1",
    server_name: Annotated[
        list[str] | None,
        typer.Option(
            "--server-name",
            help="With --host, a host name that others use for this machine; repeatable.",
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Let the browser rename, annotate and delete studies."),
    ] = False,
) -> None:
    """Open the Optuna dashboard on the studies: for you only, and read-only by default."""
    from nas_sv2.api.study import open_dashboard

    opened = open_dashboard(
        port, host, server_name or [], write=write, storage=open_database(storage)
    )
    if opened.exposes:
        say(f"nas-sv2: {opened.exposes}", error=True)
    say(f"{opened.url}  (Ctrl-C ends it)")
    opened.serve()


@app.command("list")
def list_studies(storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """List the studies of a database: targets, budget, trials, highest score, date."""
    from nas_sv2.api.study import studies
    from nas_sv2.show.console import output
    from nas_sv2.show.study_tables import studies_data, studies_notes, studies_table

    found = studies(storage=open_database(storage))
    if as_json:
        say_json(studies_data(found))
    else:
        print_parts(output(), [studies_table(found), *studies_notes(found)])


@app.command()
def show(study: StudyName, storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Show what a study asks and how far it is."""
    from nas_sv2.api.study import open_study
    from nas_sv2.show.console import output
    from nas_sv2.show.study_tables import run_lines, study_data, study_table

    facts = open_study(study, storage=open_database(storage)).facts
    if as_json:
        say_json(study_data(facts))
    else:
        output().print(study_table(facts))
        print_notes(run_lines(facts))


@app.command()
def confirm(
    study: StudyName,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", help="How to train, longer than in the search: standard, long or a file."
        ),
    ],
    trials: Annotated[
        list[str] | None,
        typer.Option(
            "--trial",
            help="Number of a trial, repeatable; best: the highest expected score of the "
            "front among those found. best if left out.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Trainings of each network, at least 3.")
    ] = 3,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            help="Loss that counts as none, for the claim faster at equal score: in points if the "
            "score is a share such as accuracy, otherwise in its unit.",
        ),
    ] = None,
    family: Annotated[
        int,
        typer.Option(
            "--family",
            help="Widths of ShuffleNet V2 to compare with as a curve, at least 5; 0 for none.",
        ),
    ] = 5,
    vs_study: Annotated[
        str | None,
        typer.Option(
            "--vs-study",
            help="Another study, whose best network is compared with too, or STUDY:NUMBER.",
        ),
    ] = None,
    workers: Workers = None,
    fresh: Fresh = False,
    data: DataPlace = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Retrain finalists and baselines for longer and test whether the finalists are better.

    Networks are compared by the score of the study's recipe, as accuracy or MAE, on the test
    split. Latencies are of one session. The confirmation is stored with
    the study; front and card state it. The same command resumes one that was interrupted.
    """
    from nas_sv2.api.study import open_study
    from nas_sv2.show.console import output
    from nas_sv2.show.study_tables import (
        confirmation_data,
        confirmation_notes,
        confirmation_table,
    )

    with resumable(), counting_bar() as bar:
        opened = open_study(study, storage=open_database(storage))
        found = opened.confirm(
            recipe,
            trials=trials or ["best"],
            seeds=seeds,
            workers=workers,
            fresh=fresh,
            data=data,
            margin=margin,
            family=family,
            vs_study=vs_study,
            notify=bar.console.print,
            progress=count_trainings(bar),
        )
    if as_json:
        say_json(confirmation_data(opened.facts, found))
        return
    output().print(confirmation_table(found))
    print_notes(confirmation_notes(found))
    if opened.facts.is_proxy:
        print_notes([opened.facts.describe_forms()])


@app.command()
def replay(
    study: StudyName,
    target: OneTarget,
    budgets: Annotated[
        list[str] | None,
        typer.Option("--budget", "-b", help="Upper limit of the latency on that target, as 25ms."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--study", help="Name of the new study; STUDY-on-TARGET if left out."),
    ] = None,
    require_measured: RequireMeasured = False,
    data: DataPlace = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write the text to as well.")
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Measure all networks of a study on another target, without training, and compare.

    The result is a study of its own. The same command resumes a replay that was interrupted.
    """
    from nas_sv2.api.study import open_study
    from nas_sv2.show import study_tables as tables
    from nas_sv2.show.console import output, output_to

    if out is not None:
        checked_out(out, endings=TEXTS)  # before minutes of measuring
    silence_optuna()
    db = open_database(storage)
    with resumable(), counting_bar() as bar:
        task = bar.add_task("", total=None)
        found = open_study(study, storage=db).replay(
            target,
            budget=budgets or [],
            name=name,
            require_measured=require_measured,
            data=data,
            notify=bar.console.print,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    facts = open_study(found.study, storage=db).facts
    parts = (
        tables.front_table(facts.front),
        *tables.study_notes(facts),
        "",
        tables.moves_table(found.comparison),
        *tables.moves_notes(found),
    )
    if out is not None:
        text = io.StringIO()
        print_parts(output_to(text), parts)
        write_out(out, text.getvalue())
    if as_json:
        say_json(tables.replay_data(found))
        return
    print_parts(output(), parts)
    say(next_command(storage, "front", found.study))


@app.command("delete")
def delete_study(
    study: StudyName, yes: Yes = False, storage: Storage = STORAGE, as_json: AsJson = False
) -> None:
    """Delete a study with its records, weights and files; measurements stay.

    Its confirmations go too. A study that a worker is at is not deleted.
    """
    from nas_sv2.api.study import open_study
    from nas_sv2.show.study_tables import deleted_lines

    opened = open_study(study, storage=open_database(storage))
    if not yes:
        ask_first(f"Delete study {study}, {len(opened.records)} finished trials, confirmations?")
    deleted = opened.delete()
    if as_json:
        say_json(dataclasses.asdict(deleted))
    else:
        print_notes(deleted_lines(deleted))
