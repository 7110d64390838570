"""Where the supernet of a study lies: noted with the study, and no part of what it asks.

What a study depends on is the content of its supernet; its folder may be moved.
"""

from pathlib import Path

import optuna

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.supernet.files import SavedSupernet, open_supernet
from nas_sv2.studies.findings.attributes import IDENTITY, SUPERNET, SUPERNET_FOLDER, SUPERNET_PLACE


def note_supernet(study: optuna.Study, folder: Path | str) -> None:
    """Keep with the study where its supernet lies now."""
    study.set_user_attr(SUPERNET_PLACE, str(Path(folder).absolute()))


def supernet_folder(study: optuna.Study) -> str | None:
    """Where the supernet of the study was last; None where it has none."""
    asked = study.user_attrs[IDENTITY].get("evaluator")
    if asked is None:
        return None
    began_in: str | None = asked.get(SUPERNET_FOLDER)  # before nas-sv2 kept it apart
    folder: str | None = study.user_attrs.get(SUPERNET_PLACE, began_in)
    return folder


def supernet_of(study: optuna.Study, folder: Path | None = None) -> SavedSupernet | None:
    """The supernet that the study asks; None where its candidates were trained.

    Args:
        study: A study of ours.
        folder: Where to look; else where it was last.

    Raises:
        ConfigError: It is not there, or another one is; or the study asks none.
    """
    asked = study.user_attrs[IDENTITY].get("evaluator")
    if asked is None:
        if folder is not None:
            allowed = "must be left out: the candidates of this study were trained"
            raise ConfigError("supernet", str(folder), allowed)
        return None
    digest = asked[SUPERNET]
    where = folder or supernet_folder(study)
    try:
        if where is None:  # killed before its first start was noted
            raise ConfigError("supernet", None, "must be a folder")
        saved = open_supernet(Path(where))
    except ConfigError as error:
        allowed = f"{error.sentence}; --supernet DIR says where supernet {digest} lies now"
        raise ConfigError(error.field, error.value, allowed) from None
    if saved.digest != digest:
        allowed = (
            f"must be the folder of supernet {digest}, that of the study; this is {saved.digest}"
        )
        raise ConfigError("supernet", str(where), allowed)
    return saved
