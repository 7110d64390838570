"""`supernet`: one training for all networks of a space, to be asked by `search` and `qualify`."""

from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.data_commands import SPEC_HELP
from nas_sv2.commands.options import AsJson, counting_bar, output_folder, print_json

supernet_app = typer.Typer(
    help="One set of weights for all networks of a space: trained once, asked often.",
    no_args_is_help=True,
)


@supernet_app.callback()
def supernet() -> None:
    """One set of weights for all networks of a space: trained once, asked often."""


@supernet_app.command()
def train(
    space: Annotated[
        str, typer.Option(help="40M, 140M, 300M, 500M, large or a file: whose networks.")
    ],
    data: Annotated[str, typer.Option(help=SPEC_HELP)],
    out: Annotated[
        Path,
        typer.Option(help="Folder to write; one that a killed training left is gone on with."),
    ],
    recipe: Annotated[
        str, typer.Option(help="Optimiser, schedule, images and passes: a built-in one or a file.")
    ] = "long",
    seed: Annotated[
        int, typer.Option(min=0, help="Of weights, order, augmentation and networks.")
    ] = 0,
    random: Annotated[
        int, typer.Option(min=0, help="Random networks a step, beside largest and smallest.")
    ] = 2,
    guidelines: Annotated[
        str,
        typer.Option(help="paper: random networks keep the paper's G1-G4; off: any."),
    ] = "paper",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; else two, or one of one core.")
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option(help="Go on without images of a folder that cannot be read.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the shared weights of all networks of a space, for --evaluator supernet:DIR.

    At every step the largest network learns from the labels, and the smallest and some random
    ones from the largest. The same command goes on where a killed one was.
    """
    from nas_sv2.evaluate.data.open_data import open_data
    from nas_sv2.evaluate.proxy.training import check_trainable
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
            random,
            seed,
            threads,
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
