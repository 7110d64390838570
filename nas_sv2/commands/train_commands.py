"""`train`: a network trained for real, by one process or, under torchrun, by several."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_sv2.commands.options import ARCH_HELP, STORAGE, AsJson, Storage, output_folder, print_json
from nas_sv2.errors import ConfigError


def train(
    arch: Annotated[str, typer.Argument(help=ARCH_HELP)],
    data: Annotated[str, typer.Option(help="Images, named as in nas-sv2 data.")],
    out: Annotated[
        Path,
        typer.Option(help="Folder to write; one that a killed training left is gone on with."),
    ],
    recipe: Annotated[
        str, typer.Option(help="paper, megvii, torchvision-new, quick, ..., or a file.")
    ] = "paper",
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; cuda where there is one if left out.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads a process; else two, or one of one core."),
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option(help="Go on without images of a folder that cannot be read.")
    ] = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Train a network for real: checkpoints, logs, weights and ONNX in a folder.

    The same command goes on where a killed one was. With several processes: torchrun
    --nproc-per-node 2 -m nas_sv2 train ...
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from nas_sv2.evaluate.data.open_data import open_data
    from nas_sv2.evaluate.full.distributed import Processes
    from nas_sv2.evaluate.full.training import FullRun, data_side
    from nas_sv2.evaluate.recipes.files import open_recipe
    from nas_sv2.studies.package.forms import TORCH
    from nas_sv2.studies.package.full_package import check_unfinished, write_full_package
    from nas_sv2.studies.storage.named_networks import find_network

    chosen, named = open_recipe(recipe), find_network(arch, storage)
    processes = Processes.of(os.environ)
    place = _device(device, processes.local_rank)
    side = data_side(chosen, named.network, place)
    check_unfinished(out)
    output_folder(out)
    console = Console(
        stderr=True, markup=False, highlight=False, soft_wrap=True, quiet=not processes.first
    )
    with (
        processes.joined(place),
        Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (console.is_terminal and processes.first),
        ) as bar,
    ):
        task = bar.add_task("", total=None, visible=False)

        def advanced(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        if not processes.first:
            processes.wait()  # the first decodes what is not decoded yet, the others read it
        opened = open_data(
            data,
            resolution=side,
            skip_unreadable=skip_unreadable,
            told=console.print,
            progress=advanced,
        )
        if processes.first:
            processes.wait()
        run = FullRun(
            chosen, opened, out, seed, processes, threads, place, advanced, console.print
        )
        trained = run.train(named.network)
        if not processes.first:
            return
        metrics = write_full_package(run, trained, named.name)
        run.finish()
    if as_json:
        print_json(metrics)
        return
    for part in ("validation", "test"):
        if metrics[part] is not None:
            print(_found(part, metrics[part]))
    for name, form in metrics["forms"].items():
        if name != TORCH:
            print(
                f"{name}: top-1 {form['accuracy']:.2%}, "
                f"logits differ by {form['relative']:.1e} of the largest"
            )


def _found(part: str, found: dict[str, Any]) -> str:
    return (
        f"{part} top-1 {found['accuracy']:.2%}, cross-entropy {found['loss']:.4f} "
        f"({found['images']:,} images)"
    )


def _device(asked: str | None, local_rank: int) -> str:
    """The torch device of this process.

    Raises:
        ConfigError: There is none of that kind.
    """
    import torch

    if asked not in (None, "cpu", "cuda"):
        raise ConfigError("device", asked, "must be cpu or cuda")
    there = torch.cuda.is_available()
    if asked == "cpu" or (asked is None and not there):
        return "cpu"
    if not there or local_rank >= torch.cuda.device_count():
        raise ConfigError(
            "device", "cuda", f"must be cpu: there is no GPU for process {local_rank}"
        )
    return f"cuda:{local_rank}"
