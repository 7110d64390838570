"""Recipes as files: YAML or JSON with a schema version, read like architectures and spaces.

::

    nas_sv2_recipe: 1
    epochs: 4                  # what is left out has the default of `Recipe`
    learning_rate: 0.2
    schedule: cosine
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.space.units.documents import (
    checked_schema,
    known_keys,
    read_document,
    to_yaml,
    within,
)

SCHEMA_KEY = "nas_sv2_recipe"
SCHEMA_VERSION = 1
FILE_ENDINGS = (".yaml", ".yml", ".json")


def open_recipe(text: str) -> Recipe:
    """The recipe that `text` names: one of ours, or a file.

    Raises:
        ConfigError: Neither; names the field, the value and what is allowed.
    """
    path = Path(text)
    if path.suffix not in FILE_ENDINGS:
        return built_in_recipe(text)
    return within(path, lambda data: recipe_from_document(data, path.stem), read_document(path))


def built_in_recipe(name: str) -> Recipe:
    """The recipe of that name that comes with nas-sv2.

    Raises:
        ConfigError: There is none.
    """
    if name not in RECIPES:
        allowed = "must be one of " + ", ".join(RECIPES) + ", or a file that ends in .yaml"
        raise ConfigError("recipe", name, allowed)
    return RECIPES[name]


def recipe_from_document(document: object, name: str = "") -> Recipe:
    """The recipe that plain data describes; `name` where the data has none.

    Raises:
        ConfigError: Names the field, the value and what is allowed.
    """
    data = {"name": name, **checked_schema(document, SCHEMA_KEY, SCHEMA_VERSION)}
    known_keys(data, "", Recipe)
    full = data.get("full_training")
    if full is not None:
        if not isinstance(full, Mapping):
            raise ConfigError(
                "full_training", full, "must be a mapping with validation_resize, ..."
            )
        known_keys(full, "full_training.", FullTraining)
        data["full_training"] = FullTraining(**_with_numbers(full, FullTraining))
    return Recipe(**_with_numbers(data, Recipe))


def recipe_to_document(recipe: Recipe) -> dict[str, Any]:
    """Plain data that `recipe_from_document` reads back; every field, the defaults too."""
    return {SCHEMA_KEY: SCHEMA_VERSION, **dataclasses.asdict(recipe)}


def recipe_to_yaml(recipe: Recipe) -> str:
    """The recipe for people, one field a line; fields that only full training has, if any."""
    document = recipe_to_document(recipe)
    if recipe.full_training is None:
        del document["full_training"]
    return to_yaml(document, one_line_each=False)


def _with_numbers(data: Mapping[str, Any], described: type) -> dict[str, Any]:
    """`data` with `4e-5` as the number that is meant: YAML 1.1 reads it as a word."""
    floats = {field.name for field in dataclasses.fields(described) if field.type is float}
    return {
        key: _number(value) if key in floats and isinstance(value, str) else value
        for key, value in data.items()
    }


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
