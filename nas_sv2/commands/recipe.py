"""The commands `recipe`: how networks are trained, and how well a recipe ranks them."""

from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.options import (
    SPACE_HELP,
    STORAGE,
    AsJson,
    Data,
    Fit,
    SkipUnreadable,
    Storage,
    Workers,
    counting_bar,
    open_database,
    resumable,
)
from nas_sv2.files import TEXTS, checked_out, write_out
from nas_sv2.show.terminal import say, say_json, say_text

app = typer.Typer(
    help="How networks are trained: list, show and certify recipes.", no_args_is_help=True
)


@app.command("list")
def list_recipes(as_json: AsJson = False) -> None:
    """List the built-in recipes."""
    from nas_sv2.api.recipes import built_in_recipes, recipe_to_document
    from nas_sv2.show.console import output
    from nas_sv2.show.recipe_tables import recipes_table

    recipes = built_in_recipes()
    if as_json:
        say_json([recipe_to_document(recipe) for recipe in recipes])
        return
    output().print(recipes_table(recipes))
    say("nas-sv2 recipe show NAME prints one; nas-sv2 recipe qualify certifies how well one ranks")


@app.command()
def show(recipe: Annotated[str, typer.Argument(help="A built-in recipe, or a file.")]) -> None:
    """Print every field of a recipe as YAML."""
    from nas_sv2.api.recipes import open_recipe, recipe_to_yaml

    say_text(recipe_to_yaml(open_recipe(recipe)))


@app.command()
def qualify(
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="The recipe: a built-in one or a file; quick if left out."),
    ] = None,
    data: Data = "animals",
    fit: Fit = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="The recipe that is taken for the truth; 8 times the passes if left out.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help=f"{SPACE_HELP}: the space of the networks; 140M, or that of the supernet, if "
            "left out.",
        ),
    ] = None,
    evaluator: Annotated[
        str,
        typer.Option(
            "--evaluator",
            help="What is certified: recipe, or in its place supernet:DIR or MODULE:ATTRIBUTE.",
        ),
    ] = "recipe",
    trajectories: Annotated[
        int,
        typer.Option(
            "--trajectories",
            help="Series of up to 8 networks; each step changes one dimension.",
        ),
    ] = 2,
    matched: Annotated[
        int, typer.Option("--matched", help="Networks of equal FLOPs; 0 for none.")
    ] = 8,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Trainings of each network by each recipe.")
    ] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choice of networks.")] = 0,
    workers: Workers = None,
    skip_unreadable: SkipUnreadable = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write the text to as well.")
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Certify how well a recipe, or a supernet, ranks networks.

    Its order is compared with that of longer trainings and that of FLOPs. The certificate is
    stored in the database; searches and fronts with that recipe and data state it. The same
    command resumes a qualification that was killed.
    """
    from nas_sv2.api.data_sets import with_fit
    from nas_sv2.api.training import QualifyRequest
    from nas_sv2.api.training import qualify as certify
    from nas_sv2.show.recipe_tables import certificate_data, certificate_markdown

    if out is not None:
        checked_out(out, endings=TEXTS)
    request = QualifyRequest(
        recipe,
        with_fit(data, fit),
        reference,
        space,
        trajectories,
        matched,
        seeds,
        seed,
        workers,
        evaluator,
        skip_unreadable,
    )
    with resumable(), counting_bar() as bar:
        task = bar.add_task("", total=None)
        certificate = certify(
            request,
            storage=open_database(storage),
            notify=bar.console.print,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    text = certificate_markdown(certificate)
    if out is not None:
        write_out(out, text)
    if as_json:
        say_json(certificate_data(certificate))
    else:
        say_text(text)
