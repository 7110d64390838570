"""The commands `db`: measurements moved between databases, tables, and what studies left."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    AsJson,
    Storage,
    Yes,
    ask_first,
    open_database,
    print_notes,
)
from nas_sv2.counts import counted
from nas_sv2.passwords import masked
from nas_sv2.show.terminal import say, say_json, write_line

app = typer.Typer(
    help="Move measurements between databases, compare them; upgrade, repair and clean up.",
    no_args_is_help=True,
)


@app.command()
def export(
    storage: Storage = STORAGE,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A new file; standard output if left out."),
    ] = None,
) -> None:
    """Write all measurements of a database, with every run, as JSON lines."""
    from nas_sv2.api.measuring import Counts, export_measurements, measurement_lines

    counts, db = Counts(), open_database(storage)
    if out is None:
        for line in measurement_lines(counts, db):
            write_line(line)
    else:
        counts = export_measurements(out, db)
    say(f"{_count(counts.taken)} written{_skipped(counts.skipped)}", error=True)


@app.command()
def merge(
    file: Annotated[Path, typer.Argument(help="A file that `db export` wrote.")],
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Import measurements from a file.

    Known ones are skipped. If a line is not valid, nothing is imported.
    """
    from nas_sv2.api.measuring import merge_measurements

    counts = merge_measurements(file, open_database(storage))
    if as_json:
        say_json({"added": counts.taken, "known": counts.known})
    else:
        say(f"{_count(counts.taken)} added, {counts.known} known already")


@app.command()
def diff(
    one: Annotated[str, typer.Argument(help="A file that `db export` wrote, or a database.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Compare two sets of measurements: which latencies are equal, which differ."""
    from nas_sv2.api.measuring import difference_between
    from nas_sv2.show.console import output
    from nas_sv2.show.measure_tables import difference_data, difference_notes, difference_table

    found, skipped = difference_between(one, other)
    for source, number in skipped.items():
        say(f"{masked(source)}{_skipped(number)}", error=True)
    if as_json:
        say_json(difference_data(found))
        return
    if found.compared:
        output().print(difference_table(found))
    print_notes(difference_notes(found))


@app.command()
def upgrade(storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Make the tables of a database, or upgrade them, and print the schema."""
    from nas_sv2.api.arguments import upgrade as upgrade_tables

    schema = upgrade_tables(open_database(storage))
    if as_json:
        say_json({"schema": schema})
    else:
        say(f"schema {schema}")


@app.command()
def clean(storage: Storage = STORAGE, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove what is left of studies that Optuna's dashboard or command deleted."""
    from nas_sv2.api.study import find_leftovers, remove_leftovers
    from nas_sv2.show.study_tables import leftovers_data, leftovers_lines

    db = open_database(storage)
    found = find_leftovers(db)
    if found and not yes:
        print_notes(leftovers_lines(found))
        ask_first("Remove it?")
    remove_leftovers(db, found)
    if as_json:
        say_json(leftovers_data(found))
    else:
        print_notes([f"removed: {line}" for line in leftovers_lines(found)] or ["nothing is left"])


@app.command()
def repair(storage: Storage = STORAGE, yes: Yes = False, as_json: AsJson = False) -> None:
    """Fail trials with values that are not numbers, over which no study can be read.

    Their values and records are removed, and so are damaged measurements. Trainings stay.
    """
    from nas_sv2.api.study import find_damage
    from nas_sv2.api.study import repair as repair_rows
    from nas_sv2.show.study_tables import damage_lines

    db = open_database(storage)
    found = find_damage(db)
    if found and not yes:
        print_notes(damage_lines(found))
        ask_first("Fail and remove them?")
    if found:
        repair_rows(db)
    if as_json:
        say_json(dataclasses.asdict(found))
    else:
        print_notes([f"repaired: {line}" for line in damage_lines(found)] or ["no damage found"])


def _count(number: int) -> str:
    return counted(number, "measurement")


def _skipped(number: int) -> str:
    return f", {number} of another version or damaged left out" if number else ""
