"""The commands use a study that exists: `front`, `report`, `export`, `dashboard`, `study`."""

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import (
    STORAGE,
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
from nas_sv2.counts import counted
from nas_sv2.files import TEXTS, checked_out, write_out
from nas_sv2.show.terminal import say, say_json

if TYPE_CHECKING:
    pass

app = typer.Typer(help="List, show, confirm, replay and delete studies.", no_args_is_help=True)


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
        int, typer.Option("--seeds", help="Trainings of each network, from 3 to 10,000.")
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
        trials = counted(len(opened.records), "finished trial")
        ask_first(f"Delete study {study}, {trials}, confirmations?")
    deleted = opened.delete()
    if as_json:
        say_json(dataclasses.asdict(deleted))
    else:
        print_notes(deleted_lines(deleted))
