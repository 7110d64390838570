"""A copied or renamed study, and its records and weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from doubles import record_of
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.attributes import ARCHITECTURE, KEY_OF
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.named_networks import records_of
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, load_study, optuna_storage, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

IDENTITY = {"space": "140M", "space_digest": "1", "targets": {"arm": "emulated"}, "seed": 0}
NETWORKS = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(f"sqlite:///{tmp_path / 'studies.db'}") as db:
        db.migrate()
        yield db


def begun(db: Database) -> optuna.Study:
    return create_or_resume(db, "first", IDENTITY, RandomSampler())


def told(db: Database, study: optuna.Study, network: str) -> Record:
    """Tell one more trial of a study, as the loop does."""
    trial, record = study.ask(), record_of(0.5, 1.0, architecture=reference(network))
    RecordStore(db, study_key(study)).save(trial.number, record)
    weights = {"w": np.full(2, trial.number, np.float32)}
    WeightsFolder.of_study(db, study_key(study)).save(record.architecture.digest, weights)
    trial.set_user_attr(ARCHITECTURE, record.architecture.digest)
    study.tell(trial, [0.5, 1.0])
    return record


def copied(db: Database, to: str = "copy") -> None:
    storage = optuna_storage(db)
    optuna.copy_study(
        from_study_name="first", from_storage=storage, to_storage=storage, to_study_name=to
    )


def digests(db: Database, name: str) -> dict[int, str]:
    return {n: record.architecture.digest for n, record in records_of(db, name).items()}


@pytest.mark.parametrize("is_old", [False, True])
def test_both_go_on_after_a_copy(db: Database, is_old: bool) -> None:
    first = begun(db)
    shared = told(db, first, NETWORKS[0]).architecture.digest
    if is_old:  # begun by a version that did not note the owner of a key
        first.set_user_attr(KEY_OF, None)
    copied(db)
    ours = told(db, first, NETWORKS[1]).architecture.digest
    copy = load_study(db, "copy")
    theirs = told(db, copy, NETWORKS[2]).architecture.digest
    assert digests(db, "first") == {0: shared, 1: ours}
    assert digests(db, "copy") == {0: shared, 1: theirs}
    assert study_key(copy) != study_key(first)
    for name, digest, filled in [("first", ours, 1), ("copy", theirs, 1), ("copy", shared, 0)]:
        kept = WeightsFolder.of_study(db, study_key(load_study(db, name))).find(digest)
        assert kept is not None
        assert kept["w"][0] == filled


def test_a_copy_is_recognised_by_a_search_too(db: Database) -> None:
    told(db, begun(db), NETWORKS[0])
    copied(db)
    copy = create_or_resume(db, "copy", IDENTITY, RandomSampler())
    assert study_key(copy) != study_key(load_study(db, "first"))
    assert len(records_of(db, "copy")) == 1


def test_copies_of_copies_are_studies_of_their_own(db: Database) -> None:
    told(db, begun(db), NETWORKS[0])
    for name in "abc":
        copied(db, name)
    assert len({study_key(load_study(db, name)) for name in ("first", *"abc")}) == 4
    assert len({tuple(digests(db, name)) for name in ("first", *"abc")}) == 1


def test_the_key_stays_where_it_is_if_the_copy_is_opened_first(db: Database) -> None:
    key = study_key(begun(db))
    told(db, load_study(db, "first"), NETWORKS[0])
    copied(db)
    load_study(db, "copy")
    assert study_key(load_study(db, "first")) == key


def test_a_study_that_the_dashboard_renamed_keeps_its_key(db: Database) -> None:
    """It copies the trials as they are, then deletes the first."""
    first = begun(db)
    key, kept = study_key(first), told(db, first, NETWORKS[0]).architecture.digest
    copied(db, "renamed")
    told(db, first, NETWORKS[1])  # ended while the dashboard was copying
    optuna.delete_study(study_name="first", storage=optuna_storage(db))
    renamed = load_study(db, "renamed")
    assert study_key(renamed) == key
    assert digests(db, "renamed") == {0: kept}
    told(db, renamed, NETWORKS[2])
    assert list(digests(db, "renamed")) == [0, 1]


def test_a_copy_without_its_records_is_refused(db: Database, tmp_path: Path) -> None:
    told(db, begun(db), NETWORKS[0])
    with Database.open(f"sqlite:///{tmp_path / 'other.db'}") as other:
        optuna.copy_study(
            from_study_name="first",
            from_storage=optuna_storage(db),
            to_storage=optuna_storage(other),
        )
        with pytest.raises(ConfigError, match="copied from another database"):
            load_study(other, "first")
