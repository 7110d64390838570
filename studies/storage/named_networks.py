"""Find networks by name: a reference, a file, or a trial of a study."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas_sv2.errors import ConfigError
from nas_sv2.space.families.published import published_network
from nas_sv2.space.networks.lowering import Classifier, load_network
from nas_sv2.studies.findings.record import Record

if TYPE_CHECKING:
    from nas_sv2.database.database import Database

FILE_ENDINGS = (".yaml", ".yml", ".json")
MODEL_ENDINGS = (
    ".bin", ".engine", ".h5", ".keras", ".mnn", ".onnx", ".ort", ".pb", ".pt", ".pt2", ".pth",
    ".py", ".safetensors", ".tflite", ".toml", ".xml",
)  # fmt: skip
"""Endings by which a model is known that is not there."""


@dataclass(frozen=True, slots=True)
class Named:
    """A network and the user's name for it."""

    name: str
    network: Classifier


def find_network(text: str, db: "Database") -> Named:
    """Return the network that `text` names.

    Args:
        text: A reference name, a YAML or JSON file, or `STUDY:NUMBER`.
        db: The database of the studies.

    Raises:
        ConfigError: The text names no network.
    """
    if text.lower().endswith(FILE_ENDINGS):
        return Named(text, load_network(Path(text)))
    trial = trial_named(text)
    if trial is not None:
        return Named(text, record_of(db, *trial).architecture)
    try:
        return Named(text, published_network(text))
    except ConfigError:
        path = Path(text)
        if path.suffix.lower() in MODEL_ENDINGS or os.sep in text or os.path.lexists(path):
            raise _no_description(path) from None
        raise


def _no_description(path: Path) -> ConfigError:
    """Say which files are taken, and which of a package's files is the one."""
    sentence = (
        "must be a reference name, STUDY:NUMBER, or a description of a network that ends with "
        f"{', '.join(FILE_ENDINGS)}; models, such as ONNX files, and folders are not taken"
    )
    described = (path if path.is_dir() else path.parent) / "architecture.yaml"
    if described.is_file():
        sentence += f", but {described} is one"
    return ConfigError("architecture", str(path), sentence)


def trial_named(text: str) -> tuple[str, int] | None:
    """Split `STUDY:NUMBER` into study and number; None if `text` has another form."""
    match = re.fullmatch(r"(.+):(\d+)", text)
    return None if match is None else (match[1], int(match[2]))


def records_of(db: "Database", study: str) -> dict[int, Record]:
    """Return every record of a study by its trial.

    Raises:
        ConfigError: The study does not exist.
        StoreError: The study cannot be read.
    """
    # Imported here: a reference or a file is found without Optuna and a database.
    from nas_sv2.studies.storage.record_store import RecordStore
    from nas_sv2.studies.storage.study import load_study, study_key

    key = study_key(load_study(db, study))
    return RecordStore(db, key).all()


def record_of(db: "Database", study: str, number: int) -> Record:
    """Return the record of a trial.

    Raises:
        ConfigError: The study has no finished trial of this number.
    """
    records = records_of(db, study)
    if number not in records:
        known = ", ".join(map(str, records)) or "none yet"
        raise ConfigError("trial", number, f"must be a finished trial of {study}: {known}")
    return records[number]
