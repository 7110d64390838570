"""The places of a study's data and evaluator, stored beside its identity.

A study depends only on the content of both, so they may be moved.
"""

import os
from collections.abc import Callable
from pathlib import Path

import optuna

from nas_sv2.errors import ConfigError, EvaluationError, StoreError
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.image_listing import adopt_fit, read_spec
from nas_sv2.evaluate.evaluators import find_evaluator
from nas_sv2.evaluate.fitting.evaluation import data_key
from nas_sv2.evaluate.fitting.evaluator import DataSet, EvaluatorChoice
from nas_sv2.evaluate.recipes.files import recipe_from_document
from nas_sv2.studies.findings.attributes import (
    CONTENT,
    DATA_PLACE,
    EVALUATOR,
    EVALUATOR_FOLDER,
    EVALUATOR_PLACE,
    IDENTITY,
)
from nas_sv2.studies.storage.weights_folder import WeightsFolder

MOVED = "; if they were moved, give their new place as data"


class ChangedData(ConfigError):
    """The data of a study were found, and their content is another."""


def absolute_data(data: str) -> str:
    """Return a data spec with the absolute path of its folder."""
    name, colon, where = data.partition(":")
    return f"{name}:{os.path.realpath(os.path.expanduser(where))}" if colon and where else data


def note_data(study: optuna.Study, data: str) -> None:
    """Store the present place of the data with the study."""
    if absolute_data(data) != data_place(study):
        study.set_user_attr(DATA_PLACE, absolute_data(data))


def data_place(study: optuna.Study) -> str:
    """Return the last place of the study's data, as a data spec."""
    attributes = study.user_attrs
    place: str = attributes.get(DATA_PLACE, attributes[IDENTITY]["data"])
    return place


def data_of(
    study: optuna.Study, data: str | None = None, notify: Callable[[str], None] | None = None
) -> ImageData:
    """Open the data of the study at the resolution of its recipe.

    Args:
        study: A study of ours.
        data: The data spec; None for the last place of the data.
        notify: Is called with a line before minutes of decoding.

    Raises:
        ConfigError: The data are missing.
        ChangedData: The data differ from the study's.
        EvaluationError: The data are damaged or cannot be loaded.
    """
    identity, where = study.user_attrs[IDENTITY], data_place(study)
    if data is not None:
        where = adopt_fit(data, read_spec(where)[1])
    field, moved = ("data of the study", MOVED) if data is None else ("data", "")
    recipe = recipe_from_document(identity["recipe_document"])
    try:
        found = open_data(
            where,
            resolution=recipe.resolution,
            skip_unreadable=identity["skip_unreadable"],
            notify=notify,
            numbers=recipe.numbers,
        )
    except ConfigError as error:
        raise ConfigError(field, where, error.sentence + moved) from None
    check_content(study, found, data)
    return found


def check_content(study: optuna.Study, found: DataSet, data: str | None) -> None:
    """Refuse data of another content than the study's; the place does not count.

    Args:
        study: The study.
        found: The data.
        data: The spec that was asked for; None for the last place of the study's data.

    Raises:
        ChangedData: They differ.
    """
    wanted = study.user_attrs[IDENTITY][CONTENT]
    if found.key != data_key(wanted):
        field, moved = ("data of the study", MOVED) if data is None else ("data", "")
        sentence = f"must be {wanted}, the data of the study; these differ or have changed"
        raise ChangedData(field, found.provenance, sentence + moved)


def keep_sample(folder: WeightsFolder, data: ImageData) -> None:
    """Keep the part of the study's data that an export needs, unless it was kept before.

    Raises:
        StoreError: The file cannot be written.
    """
    if find_sample(folder) is not None:
        return
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        DataSample.of(data).write(folder.data)
    except OSError as error:
        raise StoreError(f"images for exports cannot be kept: {error}") from error


def find_sample(folder: WeightsFolder) -> DataSample | None:
    """Return the part of the data that was kept; None if an older version began the study."""
    try:
        return DataSample.read(folder.data)
    except (OSError, ValueError):
        return None


def note_evaluator(study: optuna.Study, place: Path | None) -> None:
    """Store the present folder of the evaluator with the study, if there is a folder."""
    if place is not None:
        study.set_user_attr(EVALUATOR_PLACE, str(place.absolute()))


def evaluator_place(study: optuna.Study) -> Path | None:
    """Return the last folder of the study's evaluator; None if the evaluator has no folder."""
    asked = study.user_attrs[IDENTITY].get(EVALUATOR, {})
    began_in = asked.get(EVALUATOR_FOLDER)  # older versions stored it in the identity
    place: str | None = study.user_attrs.get(EVALUATOR_PLACE, began_in)
    return None if place is None else Path(place)


def evaluator_of(study: optuna.Study, place: Path | None = None) -> EvaluatorChoice:
    """Find the evaluator of the study.

    Args:
        study: A study of ours.
        place: The folder of the evaluator; None for its last folder.

    Raises:
        ConfigError: The folder lacks the evaluator or has another, or the study needs no folder.
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
