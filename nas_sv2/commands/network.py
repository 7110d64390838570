"""The commands `network`: the cost, time, training and files of one network."""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import (
    STORAGE,
    Arch,
    Archs,
    AsJson,
    Data,
    OneTarget,
    SkipUnreadable,
    Storage,
    TrainThreads,
    open_database,
    output_folder,
    print_json,
    print_notes,
    waiting,
)
from nas_sv2.errors import ConfigError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nas_sv2.database.database import Database
    from nas_sv2.latency.guidelines.waste import Waste
    from nas_sv2.latency.targets.target import Target
    from nas_sv2.space.graph.operators import Graph
    from nas_sv2.studies.storage.kept_weights import KeptWeights

app = typer.Typer(
    help="Look at one network: a reference name, a file, or STUDY:NUMBER.", no_args_is_help=True
)
BY = ("kind", "block", "op")


@app.command()
def cost(arch: Arch, storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Print the cost of a network on paper, and its distance from the guidelines."""
    from nas_sv2.show.tables import cost_table, network_data, output
    from nas_sv2.space.choices.levels import paper_limits
    from nas_sv2.space.graph.cost import cost_of
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.studies.storage.named_networks import find_network

    found = find_network(arch, open_database(storage))
    graph = lower(found.network)
    counted = cost_of(graph)
    excesses = paper_limits(found.network, counted.flops).excesses(graph)
    if as_json:
        data = network_data(found.name, found.network, counted)
        print_json({**data, "guidelines": excesses})
    else:
        output().print(cost_table(found.name, found.network, counted, excesses))


@app.command()
def explain(
    arch: Arch,
    target: OneTarget,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Explain why a network is slow or fast: time by block, guidelines, faster variants.

    Each variant differs from the network in one thing. It is timed against the network in one
    session.
    """
    from nas_sv2.latency.breakdown.profiled import profile_of
    from nas_sv2.latency.breakdown.what_if import gains_of
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.show.explain_tables import (
        Explanation,
        block_table,
        explanation_data,
        explanation_notes,
        gain_lines,
    )
    from nas_sv2.show.tables import output
    from nas_sv2.space.graph.cost import cost_of
    from nas_sv2.space.graph.guidelines import blocks_of, scores_by_block
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.space.units.architecture import Architecture
    from nas_sv2.studies.storage.named_networks import find_network

    book = TargetBook.read()
    target = book.one(target)
    db = open_database(storage)
    found = find_network(arch, db)
    graph = lower(found.network)
    store = MeasurementStore(db)
    with (
        waiting(f"asking {target}") as status,
        closing(book.open(target, store=store, told=status.update)) as opened,
    ):
        status.update(f"timing the operators on {target}")
        profile = profile_of(opened, found.network)
        waste, unknown = _waste(opened, db, graph)
        status.update(f"timing counterfactuals on {target}")
        network = found.network
        gains = gains_of(opened, network) if isinstance(network, Architecture) else None
    costs = {block: cost_of(part) for block, part in blocks_of(graph).items()}
    explained = Explanation(
        found.name, target, profile, costs, scores_by_block(graph), waste, unknown, gains
    )
    if as_json:
        print_json({"digest": found.network.digest, **explanation_data(explained)})
        return
    output().print(block_table(explained))
    print_notes(explanation_notes(explained))
    print()
    print_notes(gain_lines(gains))


def _waste(
    target: "Target", db: "Database", graph: "Graph"
) -> "tuple[Mapping[str, Waste] | None, str]":
    """Give the waste of each block by the target's guideline profile, or why it is unknown."""
    from nas_sv2.latency.guidelines.store import ProfileStore

    profiles = ProfileStore(db)
    profile = profiles.find_of(target)
    if profile is None:
        stale = profiles.find_of_name(target.name) is not None
        why = "its profile is of another device, runtime or protocol" if stale else "not measured"
        made = f"nas-sv2 device guidelines --target {target.name} makes one"
        return None, f"what the blocks waste on {target.name} is not known: {why}; {made}"
    try:
        return profile.waste_by_block(graph), ""
    except MeasurementError as error:
        return None, f"what the blocks waste on {target.name} is not known: {error}"


@app.command()
def profile(
    archs: Archs,
    target: OneTarget,
    by: Annotated[
        str | None,
        typer.Option("--by", help="kind, block or op; by kind and by block if left out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture to write, a PNG file.")
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print how the time of networks on a target divides, by kind of kernel and by block."""
    from nas_sv2.latency.breakdown.profiled import profiles_of
    from nas_sv2.latency.measurements.head_to_head import check_number
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.book import TargetBook
    from nas_sv2.show import profile_tables as tables
    from nas_sv2.show.tables import output
    from nas_sv2.studies.storage.named_networks import find_network

    if by is not None and by not in BY:
        raise ConfigError("by", by, "must be one of " + ", ".join(BY))
    if out is not None and not out.parent.is_dir():
        raise ConfigError("out", str(out), "must name a file in a folder that exists")
    book = TargetBook.read()
    target = book.one(target)
    check_number(len(archs))
    db = open_database(storage)
    named = [find_network(text, db) for text in archs]
    store = MeasurementStore(db)
    with (
        waiting(f"profiling on {target}") as status,
        closing(book.open(target, store=store, told=status.update)) as opened,
    ):
        profiles = profiles_of(opened, [one.network for one in named])
    found = list(zip((one.name for one in named), profiles, strict=True))
    if out is not None:
        from nas_sv2.studies.pages.profile_picture import draw_profiles

        draw_profiles(found, out)
    if as_json:
        print_json(
            [
                tables.profile_data(one.name, target, one.network.digest, profiled)
                for one, profiled in zip(named, profiles, strict=True)
            ]
        )
        return
    shown = {"kind": tables.kind_table, "block": tables.block_table, "op": tables.kernel_table}
    console = output()
    for name, profiled in found:
        for which in BY[:2] if by is None else [by]:
            console.print(shown[which](name, profiled))
            print()
    print(tables.device_note(profiles[0]))
    for name, profiled in found:
        print_notes(tables.profile_notes(name, profiled))
    if out is not None:
        print(f"drawn: {out}")


@app.command()
def reuse(
    arch: Arch,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="FILE.safetensors or STUDY:NUMBER; those of ARCH, if it is a trial, if left out.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Heat maps to write, a PNG file.")
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print which channels connect a network's blocks untouched, and how they are weighed.

    The paper's Figure 4 for any network, exact from its operators.
    """
    from nas_sv2.show.measure_tables import network_name
    from nas_sv2.show.reuse_tables import reuse_data, reuse_notes, reuse_table
    from nas_sv2.show.tables import output
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.space.reuse.channel_reuse import channel_reuse
    from nas_sv2.studies.storage.named_networks import find_network

    db = open_database(storage)
    found = find_network(arch, db)
    network, kept, weighed = found.network, _kept(arch, weights, db), None
    if kept is not None:
        from nas_sv2.space.reuse.reused_weights import as_trained, reused_weights

        network = as_trained(network, kept.weights)
        weighed = reused_weights(lower(network), kept.weights)
    connected = channel_reuse(lower(network))
    if out is not None:
        from nas_sv2.studies.pages.reuse_picture import draw_reuse

        network_is = f"{found.name}: network {network_name(found.network.digest)}"
        caption = [f"{network_is} · shares exact from the graph"]
        caption += [] if kept is None else [kept.describe()]
        draw_reuse(connected, weighed, caption, out)
    if as_json:
        print_json(
            {
                "name": found.name,
                "digest": found.network.digest,
                **reuse_data(connected, weighed),
                "weights": None
                if kept is None
                else {
                    "source": kept.source,
                    "recipe": kept.recipe,
                    "seed": kept.seed,
                    "data": kept.data,
                },
            }
        )
        return
    output().print(reuse_table(found.name, connected, weighed))
    print_notes(reuse_notes(connected) + ([] if kept is None else [kept.describe()]))


def _kept(arch: str, weights: str | None, db: "Database") -> "KeptWeights | None":
    """Find the weights that the user named, or those of a trial; say if there are none."""
    from nas_sv2.studies.storage.named_networks import trial_named

    if weights is not None:
        from nas_sv2.studies.storage.kept_weights import weights_named

        return weights_named(weights, db)
    trial = trial_named(arch)
    if trial is None:
        return None
    from nas_sv2.studies.storage.kept_weights import weights_of_trial

    found = weights_of_trial(*trial, db)
    if found is None:
        print(f"the weights of {arch} were not kept; export it to have them", file=sys.stderr)
    return found


@app.command()
def train(
    arch: Arch,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder to write; a training that was killed there is resumed."
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option("--recipe", help="paper, megvii, torchvision-new, quick, ..., or a file."),
    ] = "paper",
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of weights, order and augmentation.")
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu or cuda; cuda, if there is a GPU, if left out."),
    ] = None,
    train_threads: TrainThreads = None,
    skip_unreadable: SkipUnreadable = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Train a network for real: checkpoints, logs, weights and ONNX in a folder.

    The same command resumes a training that was killed. With several processes: torchrun
    --nproc-per-node 2 -m nas_sv2 network train ...
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from nas_sv2.evaluate.data.open_data import open_data
    from nas_sv2.evaluate.full.distributed import Processes
    from nas_sv2.evaluate.full.training import FullRun, find_data_side
    from nas_sv2.evaluate.recipes.files import open_recipe
    from nas_sv2.studies.package.forms import TORCH
    from nas_sv2.studies.package.full_package import check_unfinished, write_full_package
    from nas_sv2.studies.storage.named_networks import find_network

    chosen, named = open_recipe(recipe), find_network(arch, open_database(storage))
    processes = Processes.of(os.environ)
    place = _device(device, processes.local_rank)
    side = find_data_side(chosen, named.network, place)
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
            chosen, opened, out, seed, processes, train_threads, place, advanced, console.print
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


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that export or network train wrote.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", help="Images to compare the forms on; random ones if left out."
        ),
    ] = None,
    run_model_py: Annotated[
        bool,
        typer.Option(
            "--run-model-py", help="Run model.py although this nas-sv2 did not write it."
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
