"""Where the data of a study lie: noted with the study, and no part of what it asks.

What a study depends on is the content of its data; they may be moved.
"""

from pathlib import Path

import optuna

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.open_data import open_data
from nas_sv2.evaluate.fitting.evaluation import content_of
from nas_sv2.evaluate.recipes.files import recipe_from_document
from nas_sv2.studies.findings.attributes import CONTENT, DATA_PLACE, IDENTITY


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
