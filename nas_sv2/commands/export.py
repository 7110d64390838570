"""`export`: a network of a study as files to ship."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    DataPlace,
    Force,
    Storage,
    StudyName,
    open_database,
    print_notes,
)


def export(
    study: StudyName,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    trial: Annotated[
        str, typer.Option("--trial", help="Number of a trial, or best: the highest score.")
    ] = "best",
    time: Annotated[
        bool, typer.Option("--time/--no-time", help="Time the files on the study's targets.")
    ] = True,
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Write int8 forms too.")] = True,
    supernet: Annotated[
        Path | None,
        typer.Option("--supernet", help="Where the study's supernet lies now, if it was moved."),
    ] = None,
    data: DataPlace = None,
    storage: Storage = STORAGE,
    force: Force = False,
) -> None:
    """Write a found network to ship: weights, ONNX in float32 and int8, plain torch, a card.

    Every form is checked on the validation images against the network as it was trained.
    """
    from nas_sv2.api.study import open_study
    from nas_sv2.show.package_lines import exported_lines

    def told(line: str) -> None:
        print(line, file=sys.stderr)

    exported = open_study(study, storage=open_database(storage)).export(
        trial,
        out,
        time=time,
        int8=int8,
        force=force,
        supernet=supernet,
        data=data,
        notify=told,
    )
    print(f"trial {exported.number} is in {out}")
    print_notes(exported_lines(exported))
