"""Recipes as files: YAML or JSON with a schema version, read like architectures and spaces.

::

    nas_sv2_recipe: 1
    epochs: 4                  # other fields have the defaults of `Recipe`
    learning_rate: 0.2
    schedule: cosine
"""

import dataclasses
from pathlib import Path
from typing import Any

from nas_sv2.documents import name_errors, read_document, read_fields, strip_schema, to_yaml
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.recipe import Recipe, described_fields
from nas_sv2.evaluate.recipes.scores import reads_numbers
from nas_sv2.evaluate.recipes.teacher import Teacher, content_digest

SCHEMA_KEY = "nas_sv2_recipe"
SCHEMA_VERSION = 1
FILE_ENDINGS = (".yaml", ".yml", ".json")


def open_recipe(text: str) -> Recipe:
    """Open the recipe that `text` names: a built-in one, or a file.

    The digest of its teacher is found, if the file does not say it.

    Raises:
        ConfigError: If there is no such recipe or teacher, or a field is not allowed.
    """
    path = Path(text)
    if path.suffix not in FILE_ENDINGS:
        return built_in_recipe(text)
    return name_errors(
        f"{path}: ",
        lambda data: with_teacher(recipe_from_document(data, path.stem)),
        read_document(path, "recipe"),
    )


def built_in_recipe(name: str) -> Recipe:
    """The built-in recipe `name`.

    Raises:
        ConfigError: If there is none.
    """
    if name not in RECIPES:
        allowed = "must be one of " + ", ".join(RECIPES) + ", or a file that ends in .yaml"
        raise ConfigError("recipe", name, allowed)
    return RECIPES[name]


def with_teacher(
    recipe: Recipe, model: str | None = None, temperature: float | None = None
) -> Recipe:
    """Return `recipe` with another teacher, or its own one, whose digest is known.

    Raises:
        ConfigError: There is no such teacher, or a temperature and no teacher.
    """
    teacher = recipe.teacher
    if model is not None:
        teacher = dataclasses.replace(teacher or Teacher(model), model=model, digest="")
    if temperature is not None:
        if teacher is None:
            raise ConfigError("temperature", temperature, "must be left out without a teacher")
        teacher = dataclasses.replace(teacher, temperature=temperature)
    if teacher is not None and not teacher.digest:
        teacher = dataclasses.replace(teacher, digest=content_digest(teacher.model))
    return dataclasses.replace(recipe, teacher=teacher)


def recipe_from_document(document: object, name: str = "") -> Recipe:
    """Read a recipe from plain data; `name` applies if the data has no name.

    Raises:
        ConfigError: If a field is not allowed.
    """
    data = {"name": name, **strip_schema(document, SCHEMA_KEY, SCHEMA_VERSION)}
    if isinstance(score := data.get("score"), str) and reads_numbers(score):
        data.setdefault("label_smoothing", 0.0)  # the default of classes means nothing there
    return read_fields(Recipe, data)


def recipe_to_document(recipe: Recipe) -> dict[str, Any]:
    """Every field of the recipe as plain data that `recipe_from_document` reads back.

    Fields of later versions that are not used are left out, so that older programs read it.
    """
    return {SCHEMA_KEY: SCHEMA_VERSION, **described_fields(recipe)}


def recipe_to_yaml(recipe: Recipe) -> str:
    """The recipe as YAML, one field a line; fields of full training only if it has any."""
    document = recipe_to_document(recipe)
    if recipe.full_training is None:
        del document["full_training"]
    return to_yaml(document, one_line_each=False)
