"""`report`: a study as one page to read, or as Markdown for a pull request."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_sv2.commands.options import STORAGE, Storage, StudyName, open_database, waiting


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
    with waiting("reading the study") as status:
        written = open_study(study, storage=open_database(storage)).report(
            path, form=chosen, operators=operators, notify=status.update
        )
    print("written: " + ", ".join(map(str, written)))
