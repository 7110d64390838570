"""The command `supernet train`: one training for all networks of a space."""

from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    SPACE_HELP,
    AsJson,
    Data,
    SkipUnreadable,
    TrainThreads,
    counting_bar,
    output_folder,
    print_json,
)

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
        typer.Option("--seed", min=0, help="Seed of weights, order, augmentation and networks."),
    ] = 0,
    networks: Annotated[
        int,
        typer.Option(
            "--networks", min=0, help="Random networks a step, beside largest and smallest."
        ),
    ] = 2,
    guidelines: Annotated[
        str,
        typer.Option(
            "--guidelines", help="paper: random networks keep the paper's G1-G4; off: any network."
        ),
    ] = "paper",
    train_threads: TrainThreads = None,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Train the shared weights of all networks of a space, for --evaluator supernet:DIR.

    At every step the largest network learns from the labels, and the smallest and some random
    ones from the largest. The same command resumes a training that was killed.
    """
    from nas_sv2.evaluate.data.open_data import open_data
    from nas_sv2.evaluate.fitting.evaluator import check_trainable
    from nas_sv2.evaluate.recipes.files import open_recipe
    from nas_sv2.evaluate.supernet.files import check_unfinished, save_supernet
    from nas_sv2.evaluate.supernet.training import SupernetTraining, check_supernet_recipe
    from nas_sv2.search.session.guideline_choice import supernet_guidelines
    from nas_sv2.space.choices.space_files import open_space

    chosen, named = open_recipe(recipe), open_space(space)
    check_trainable(chosen)
    check_supernet_recipe(chosen)
    limits = supernet_guidelines(guidelines, named)
    check_unfinished(out)
    output_folder(out)
    with counting_bar() as bar:
        task = bar.add_task("", total=None)
        opened = open_data(
            data,
            resolution=chosen.resolution,
            skip_unreadable=skip_unreadable,
            told=bar.console.print,
        )
        training = SupernetTraining(
            named,
            chosen,
            opened,
            limits,
            networks,
            seed,
            train_threads,
            lambda done, total: bar.update(task, completed=done, total=total),
            out,
            bar.console.print,
        )
        saved = save_supernet(out, training, training.train())
        training.finish()
    if as_json:
        print_json({"digest": saved.digest, **saved.facts})
        return
    print(
        f"supernet {saved.digest}: {saved.facts['steps']:,} steps, {saved.seconds:,.0f} s, the "
        f"largest network's loss {saved.facts['loss']:.3f}; {out}"
    )
    print(f"nas-sv2 search --evaluator supernet:{out} --data {data} ...")
