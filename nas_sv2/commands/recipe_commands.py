"""`recipes`: how networks are trained, to list and to start a recipe of one's own from."""

from typing import Annotated

import typer

from nas_sv2.commands.options import AsJson, print_json

recipes = typer.Typer(
    help="How networks are trained: the built-in recipes.", invoke_without_command=True
)


@recipes.callback()
def listed(context: typer.Context, as_json: AsJson = False) -> None:
    """List the built-in recipes."""
    if context.invoked_subcommand is not None:
        return
    from nas_sv2.evaluate.recipes.built_in import RECIPES
    from nas_sv2.evaluate.recipes.files import recipe_to_document
    from nas_sv2.show.tables import output, plain_table

    if as_json:
        print_json([recipe_to_document(recipe) for recipe in RECIPES.values()])
        return
    table = plain_table("recipe", "passes", "images a pass", "batch", "rate", "schedule", "for")
    for recipe in RECIPES.values():
        table.add_row(
            recipe.name,
            str(recipe.epochs),
            "all" if recipe.images_per_epoch is None else f"{recipe.images_per_epoch:,}",
            str(recipe.batch),
            f"{recipe.learning_rate:g}",
            recipe.schedule,
            "candidates" if recipe.full_training is None else "full training",
        )
    output().print(table)
    print("nas-sv2 recipes show NAME prints one to start from, nas-sv2 qualify how well one ranks")


@recipes.command()
def show(recipe: Annotated[str, typer.Argument(help="A built-in recipe, or a file.")]) -> None:
    """Print a recipe as YAML, every field."""
    from nas_sv2.evaluate.recipes.files import open_recipe, recipe_to_yaml

    print(recipe_to_yaml(open_recipe(recipe)), end="")
