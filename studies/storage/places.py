"""The places of a study's data and evaluator: noted with the study, and no part of its identity.

A study depends on the content of both; they may be moved.
"""

from pathlib import Path

import optuna

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.open_data import open_data
from nas_sv2.evaluate.evaluators import find_evaluator
from nas_sv2.evaluate.fitting.evaluation import content_of
from nas_sv2.evaluate.fitting.evaluator import EvaluatorChoice
from nas_sv2.evaluate.recipes.files import recipe_from_document
from nas_sv2.studies.findings.attributes import (
    CONTENT,
    DATA_PLACE,
    EVALUATOR,
    EVALUATOR_FOLDER,
    EVALUATOR_PLACE,
    IDENTITY,
)


def absolute_data(data: str) -> str:
    """A data spec whose folder is found from anywhere."""
    name, colon, where = data.partition(":")
    return f"{name}:{Path(where).expanduser().resolve()}" if colon and where else data


def note_data(study: optuna.Study, data: str) -> None:
    """Keep with the study where its data lie now."""
    if absolute_data(data) != data_place(study):
        study.set_user_attr(DATA_PLACE, absolute_data(data))


def data_place(study: optuna.Study) -> str:
    """Where the data of the study were last, as `--data` names it."""
    attributes = study.user_attrs
    place: str = attributes.get(DATA_PLACE, attributes[IDENTITY]["data"])
    return place


def data_of(study: optuna.Study, data: str | None = None) -> ImageData:
    """The data of the study, as its recipe takes them.

    Args:
        study: A study of ours.
        data: Where to look; else where they were last.

    Raises:
        ConfigError: They are not there, or others are.
        EvaluationError: They are damaged, or cannot be had.
    """
    identity, where = study.user_attrs[IDENTITY], data or data_place(study)
    field, wanted = "data" if data else "data of the study", identity[CONTENT]
    moved = "" if data else "; if they were moved, give their new place as data"
    try:
        found = open_data(
            where,
            resolution=recipe_from_document(identity["recipe_document"]).resolution,
            skip_unreadable=identity["skip_unreadable"],
        )
    except ConfigError as error:
        raise ConfigError(field, where, error.sentence + moved) from None
    if found.key != content_of(wanted):  # its name may be relative there
        sentence = f"must be {wanted}, the data of the study; these differ or have changed"
        raise ConfigError(field, found.provenance, sentence + moved)
    return found


def note_evaluator(study: optuna.Study, place: Path | None) -> None:
    """Keep with the study the folder in which its evaluator lies now, if it lies in one."""
    if place is not None:
        study.set_user_attr(EVALUATOR_PLACE, str(place.absolute()))


def evaluator_place(study: optuna.Study) -> Path | None:
    """Return the folder in which the evaluator of the study lay last; None if it needs none."""
    asked = study.user_attrs[IDENTITY].get(EVALUATOR, {})
    began_in = asked.get(EVALUATOR_FOLDER)  # before nas-sv2 kept it apart
    place: str | None = study.user_attrs.get(EVALUATOR_PLACE, began_in)
    return None if place is None else Path(place)


def evaluator_of(study: optuna.Study, place: Path | None = None) -> EvaluatorChoice:
    """Find the evaluator of the study.

    Args:
        study: A study of ours.
        place: The folder in which to look; by default the one in which it lay last.

    Raises:
        ConfigError: It is not there or another one is, or the study needs no folder.
        EvaluationError: The recipe has changed since.
    """
    identity = study.user_attrs[IDENTITY]
    recipe = recipe_from_document(identity["recipe_document"])
    if recipe.digest != identity["recipe_digest"]:
        raise EvaluationError(f"recipe {recipe.name} is not that of the study any more")
    asked = {
        kind: content
        for kind, content in identity.get(EVALUATOR, {}).items()
        if kind != EVALUATOR_FOLDER
    }
    if place is not None and not asked:
        raise ConfigError("supernet", str(place), "must be left out: candidates were trained")
    return find_evaluator(recipe, asked, place or evaluator_place(study))
