"""`export`: a network of a study as files to ship."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_sv2.commands.options import STORAGE, DataPlace, Force, Storage, StudyName

if TYPE_CHECKING:
    from nas_sv2.studies.package.file_latency import FileLatency


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
    from nas_sv2.studies.package.build import export_trial
    from nas_sv2.studies.package.forms import TORCH

    def told(line: str) -> None:
        print(line, file=sys.stderr)

    exported = export_trial(
        storage,
        study,
        trial,
        out,
        force=force,
        latency=time,
        int8=int8,
        supernet=supernet,
        data=data,
        told=told,
    )
    print(f"trial {exported.number} is in {out}")
    for name, form in exported.forms.items():
        line = f"{name}: top-1 {form.accuracy:.2%} of {form.images:,} validation images"
        if name != TORCH:
            line += f"; logits differ by {form.relative:.1e} of the largest"
            line += f", the same class first for {form.same:.2%}"
        print(line)
    for row in exported.latencies:
        print(_timed(row))


def _timed(row: "FileLatency") -> str:
    where = f"{row.file}, {row.side} × {row.side}, on {row.target}"
    if row.latency is None:
        return f"{where}: no latency: {row.why}"
    against = ""
    if row.against is not None:
        against = f", {row.against[0]:.3f} times as long as in float32"
    return f"{where}: {row.latency.ms:.3f} ms {row.latency.provenance}{against}"
