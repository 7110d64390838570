"""`replay`: the networks of a study on another device, with the accuracies that they have."""

from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    AsJson,
    DataPlace,
    Storage,
    counting_bar,
    next_command,
    print_json,
    print_notes,
)
from nas_sv2.errors import ConfigError


def replay(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    target: Annotated[str, typer.Option(help="Where to measure: arm, cpu, gpu or a device.")],
    budget: Annotated[
        list[str] | None, typer.Option(help="A latency limit on that target, as 25ms.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--study", help="Name of the new study; STUDY-on-TARGET if left out."),
    ] = None,
    require_measured: Annotated[
        bool, typer.Option(help="Refuse a target whose latency is not measured.")
    ] = False,
    data: DataPlace = None,
    out: Annotated[Path | None, typer.Option(help="File to write the text to as well.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Measure all networks of a study on another target, without training; print what changed.

    The result is a study of its own. One that was ended goes on with the same command.
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
    request = ReplayRequest(study, target, storage, budget or [], name, require_measured, data)
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
