"""The commands `study`: list, show, confirm, replay and delete studies."""

from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    AsJson,
    DataPlace,
    Fresh,
    OneTarget,
    RequireMeasured,
    Storage,
    StudyName,
    Workers,
    counting_bar,
    next_command,
    print_json,
    print_notes,
)
from nas_sv2.errors import ConfigError

app = typer.Typer(help="List, show, confirm, replay and delete studies.", no_args_is_help=True)


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
            help="Number of a trial, repeatable; best: the highest score of the front among "
            "those found. best if left out.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Trainings of each network, at least 3.")
    ] = 3,
    workers: Workers = None,
    fresh: Fresh = False,
    data: DataPlace = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Retrain finalists and baselines for longer and test whether the finalists are better.

    Accuracies are of the test split, latencies of one session. The confirmation is stored with
    the study; front and card state it. The same command resumes one that was interrupted.
    """
    from nas_sv2.search.confirm.confirm import ConfirmRequest
    from nas_sv2.search.confirm.confirm import confirm as run
    from nas_sv2.show.confirm_tables import (
        confirmation_data,
        confirmation_notes,
        confirmation_table,
    )
    from nas_sv2.show.tables import output

    request = ConfirmRequest(
        study, recipe, storage, trials or ["best"], seeds, workers, fresh, data
    )
    with counting_bar() as bar:
        task = bar.add_task("", total=None)
        found = run(
            request,
            bar.console.print,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        print_json(confirmation_data(study, found))
        return
    output().print(confirmation_table(found))
    print_notes(confirmation_notes(found))


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
    from rich.console import Console

    from nas_sv2.search.replay.replay import ReplayRequest
    from nas_sv2.search.replay.replay import replay as run
    from nas_sv2.show.replay_tables import moves_notes, moves_table, replay_data
    from nas_sv2.show.tables import FILE_WIDTH, front_notes, front_table, output
    from nas_sv2.studies.storage.named_networks import certificate_for

    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ConfigError("out", str(out), "must name a file in a folder that exists")
    if out is not None:
        _check_writable(out)  # before minutes of measuring
    request = ReplayRequest(study, target, storage, budgets or [], name, require_measured, data)
    with counting_bar() as bar:
        task = bar.add_task("", total=None)
        found = run(
            request,
            bar.console.print,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    front, moves = front_table(found.records), moves_table(found.comparison)
    notes = front_notes(found.records, certificate_for(storage, found.study, found.records))
    moved = moves_notes(found)
    if out is not None:
        with out.open("w", encoding="utf-8") as file:
            console = Console(file=file, width=FILE_WIDTH, markup=False, highlight=False)
            for part in (front, *notes, "", moves, *moved):
                console.print(part, soft_wrap=isinstance(part, str))
    if as_json:
        print_json(replay_data(found))
        return
    console = output()
    console.print(front)
    print_notes(notes)
    print()
    console.print(moves)
    print_notes(moved)
    print(next_command(storage, "front", found.study))


def _check_writable(path: Path) -> None:
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise ConfigError(
            "out", str(path), f"must be a writable file ({error.strerror})"
        ) from None
