"""Recipes as they are listed and read, without the trainings that need torch."""

from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.files import open_recipe as open_recipe
from nas_sv2.evaluate.recipes.files import recipe_to_document as recipe_to_document
from nas_sv2.evaluate.recipes.files import recipe_to_yaml as recipe_to_yaml
from nas_sv2.evaluate.recipes.recipe import Recipe


def built_in_recipes() -> list[Recipe]:
    """List the built-in recipes."""
    return list(RECIPES.values())
