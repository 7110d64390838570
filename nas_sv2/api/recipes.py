"""Recipes: how networks are trained, and how well a recipe ranks them."""

from nas_sv2.api.databases import database_of
from nas_sv2.api.notes import Notify, Progress, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.files import open_recipe as open_recipe
from nas_sv2.evaluate.recipes.files import recipe_to_document as recipe_to_document
from nas_sv2.evaluate.recipes.files import recipe_to_yaml as recipe_to_yaml
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.search.qualification import QualifyRequest as QualifyRequest
from nas_sv2.search.qualification import qualify as certify
from nas_sv2.studies.findings.certificate import Certificate


def built_in_recipes() -> list[Recipe]:
    """List the built-in recipes."""
    return list(RECIPES.values())


def qualify(
    request: QualifyRequest,
    *,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
    progress: Progress = ignore,
) -> Certificate:
    """Certify how well a recipe, or what stands in its place, ranks networks.

    The same call resumes a qualification that was killed.

    Args:
        request: What is certified, and by which trainings.
        storage: The URL of the database that keeps the certificate, or an open handle.
        notify: Is called with a line before each step.
        progress: Is called with the trainings done and all trainings.

    Raises:
        ConfigError: A value is not allowed; nothing is trained.
        EvaluationError: A training gave no accuracy.
        StoreError: The database cannot be read or written.
    """
    return certify(request, database_of(storage), notify, progress)
