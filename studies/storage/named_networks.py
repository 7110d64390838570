"""The networks that a command line names: a reference, a file, or a trial of a study."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas_sv2.errors import ConfigError
from nas_sv2.space.families.published import hand_designed
from nas_sv2.space.networks.documents import load_network
from nas_sv2.space.networks.lowering import Classifier
from nas_sv2.studies.findings.audit import Pruned, audit_guidelines
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.record import Record

if TYPE_CHECKING:
    from nas_sv2.database.database import Database

FILE_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Named:
    """A network and what the user called it."""

    name: str
    network: Classifier


def find_network(text: str, db: "Database") -> Named:
    """The network that `text` names.

    Args:
        text: A reference name, a YAML or JSON file, or `STUDY:NUMBER`.
        db: Where studies are.

    Raises:
        ConfigError: It names none.
    """
    if text.endswith(FILE_ENDINGS):
        return Named(text, load_network(Path(text)))
    trial = trial_named(text)
    if trial is not None:
        return Named(text, record_of(db, *trial).architecture)
    return Named(text, hand_designed(text))


def trial_named(text: str) -> tuple[str, int] | None:
    """Study and number, where `text` is `STUDY:NUMBER` and no file."""
    match = re.fullmatch(r"(.+):(\d+)", text)
    return None if match is None else (match[1], int(match[2]))


def pruned_in(db: "Database", study: str) -> list[Pruned]:
    """What the guidelines turned away in a study, and what their audit found.

    Raises:
        ConfigError: There is no such study.
        StoreError: The database cannot be read.
    """
    from nas_sv2.studies.storage.study import load_study, store_errors

    records, found = records_of(db, study), load_study(db, study)
    with store_errors():
        return audit_guidelines(found.get_trials(deepcopy=False), records)


def certificate_for(
    db: "Database", study: str, records: Mapping[int, Record]
) -> Certificate | None:
    """The certificate of the recipe that `records` of a study were trained by, on their data.

    That of the study's space, where there is one.

    Raises:
        ConfigError: There is no such study.
        StoreError: The database cannot be read.
    """
    from nas_sv2.studies.findings.attributes import IDENTITY
    from nas_sv2.studies.storage.certificate_store import CertificateStore
    from nas_sv2.studies.storage.study import load_study

    if not records:
        return None
    evaluation = next(iter(records.values())).evaluation
    space = load_study(db, study).user_attrs[IDENTITY].get("space_digest", "")
    return CertificateStore(db).find(evaluation.recipe_digest, evaluation.data, space)


def records_of(db: "Database", study: str) -> dict[int, Record]:
    """Every record of a study by its trial.

    Raises:
        ConfigError: There is no such study.
        StoreError: It cannot be read.
    """
    # Imported here: a reference or a file is found without Optuna and a database.
    from nas_sv2.studies.storage.record_store import RecordStore
    from nas_sv2.studies.storage.study import load_study, study_key

    key = study_key(load_study(db, study))
    return RecordStore(db, key).all()


def record_of(db: "Database", study: str, number: int) -> Record:
    """What a trial found.

    Raises:
        ConfigError: The study has no such finished trial.
    """
    records = records_of(db, study)
    if number not in records:
        known = ", ".join(map(str, records)) or "none yet"
        raise ConfigError("trial", number, f"must be a finished trial of {study}: {known}")
    return records[number]
