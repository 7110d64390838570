"""The command `supernet train`: one training for all networks of a space."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    SPACE_HELP,
    AsJson,
    Data,
    Fit,
    SkipUnreadable,
    TrainThreads,
    counting_bar,
)
from nas_sv2.show.terminal import say, say_json

app = typer.Typer(
    help="One set of weights for all networks of a space: trained once, asked often.",
    no_args_is_help=True,
)


@app.callback()
def supernet() -> None:
    """One set of weights for all networks of a space: trained once, asked often."""


@app.command()
def train(
    space: Annotated[
        str, typer.Option("--space", help=f"{SPACE_HELP}: the space of the networks.")
    ],
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder to write; a training that was killed there is resumed."
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", help="Optimiser, schedule, images and passes: a built-in one or a file."
        ),
    ] = "long",
    seed: Annotated[
        int,
        typer.Option("--seed", help="Seed of weights, order, augmentation and networks."),
    ] = 0,
    networks: Annotated[
        int,
        typer.Option("--networks", help="Random networks a step, beside largest and smallest."),
    ] = 2,
    guidelines: Annotated[
        str,
        typer.Option(
            "--guidelines", help="paper: random networks keep the paper's G1-G4; off: any network."
        ),
    ] = "paper",
    train_threads: TrainThreads = 1,
    fit: Fit = None,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Train the shared weights of all networks of a space, for --evaluator supernet:DIR.

    At every step the largest network learns from the labels, and the smallest and some random
    ones from the largest. The same command resumes a training that was killed.
    """
    from nas_sv2.api.data_sets import with_fit
    from nas_sv2.api.training import TrainingPlan, train_supernet

    plan = TrainingPlan(with_fit(data, fit), recipe, seed, "cpu", train_threads, skip_unreadable)
    with counting_bar() as bar:
        task = bar.add_task("", total=None)
        saved = train_supernet(
            space,
            out,
            plan,
            networks=networks,
            guidelines=guidelines,
            notify=bar.console.print,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        say_json({"digest": saved.digest, **saved.facts})
        return
    say(
        f"supernet {saved.digest}: {saved.facts['steps']:,} steps, {saved.seconds:,.0f} s, the "
        f"largest network's loss {saved.facts['loss']:.3f}; {out}"
    )
    words = ["nas-sv2", "search", "--evaluator", f"supernet:{out}", "--data", plan.data]
    words += ["--skip-unreadable"] if skip_unreadable else []
    say(f"{shlex.join(words)} ...")
