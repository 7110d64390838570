"""`export` and `verify`: a found network as files to be shipped, and those files checked again."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_sv2.commands.options import STORAGE, AsJson, DataPlace, Storage, print_json

if TYPE_CHECKING:
    from nas_sv2.studies.package.file_latency import FileLatency


def export(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    trial: Annotated[str, typer.Option(help="A number, or best: the highest score.")] = "best",
    no_latency: Annotated[
        bool, typer.Option("--no-latency", help="Do not time the files on the study's targets.")
    ] = False,
    no_int8: Annotated[bool, typer.Option("--no-int8", help="Leave int8 out.")] = False,
    supernet: Annotated[
        Path | None, typer.Option(help="Where the study's supernet lies now, if it was moved.")
    ] = None,
    data: DataPlace = None,
    storage: Storage = STORAGE,
    force: Annotated[bool, typer.Option(help="Write over an earlier export.")] = False,
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
        latency=not no_latency,
        int8=not no_int8,
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


def verify(
    folder: Annotated[Path, typer.Argument(help="What export or train wrote.")],
    data: Annotated[
        str | None,
        typer.Option(help="Ask about these validation images, and not about noise."),
    ] = None,
    run_model_py: Annotated[
        bool,
        typer.Option(
            "--run-model-py", help="Run a model.py that is not what this nas-sv2 writes."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check an exported network again: its files, its forms, its accuracy; exit 1 if one fails."""
    from nas_sv2.studies.package.verify import verify as verified

    checks = []
    for check in verified(folder, data, run_model_py):
        checks.append(check)
        if not as_json:
            print(f"{'ok  ' if check.holds else 'FAIL'}  {check.what}: {check.found}", flush=True)
    if as_json:
        rows = [{"what": c.what, "holds": c.holds, "found": c.found} for c in checks]
        print_json({"folder": str(folder), "checks": rows})
    if not all(check.holds for check in checks):
        raise typer.Exit(1)
