"""What a study leaves behind that Optuna deleted."""

import errno
import shutil
from pathlib import Path
from typing import NoReturn

import numpy as np
import optuna
import pytest
from doubles import record_of
from optuna.artifacts import upload_artifact
from optuna.samplers import RandomSampler
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.errors import StoreError
from nas_sv2.studies.dashboard.artifacts import ArtifactFolder
from nas_sv2.studies.storage import leftovers
from nas_sv2.studies.storage.catalog import delete_study, workers_at
from nas_sv2.studies.storage.leftovers import find_leftovers, remove_leftovers
from nas_sv2.studies.storage.ownership import keys_in_use
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, optuna_storage, study_key
from nas_sv2.studies.storage.trial_lease import TrialLease, TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

IDENTITY = {"space": "140M", "targets": {"arm": "emulated"}}


def filled(db: Database, name: str, folder: Path) -> str:
    """Give a study a record, a lease, weights, a checkpoint and an attached file; its key."""
    study = create_or_resume(db, name, IDENTITY, RandomSampler())
    key, record = study_key(study), record_of(0.5, 1.0)
    RecordStore(db, key).save(0, record)
    TrialLeases(db, key).take(lambda others: True)
    weights = WeightsFolder.of_study(db, key)
    weights.save(record.architecture.digest, {"w": np.ones(2, np.float32)})
    weights.checkpoints.mkdir()
    (weights.checkpoints / "training.pt").write_bytes(b"12345")
    file = folder / f"{name}.txt"
    file.write_text(name)
    upload_artifact(
        artifact_store=ArtifactFolder.of_database(db), file_path=str(file), study_or_trial=study
    )
    return key


def test_what_optuna_leaves_is_found_and_removed_and_all_else_stays(tmp_path: Path) -> None:
    with Database.open(f"sqlite:///{tmp_path / 'studies.db'}") as db:
        db.migrate()
        gone, kept = filled(db, "gone", tmp_path), filled(db, "kept", tmp_path)
        assert not find_leftovers(db)
        optuna.delete_study(study_name="gone", storage=optuna_storage(db))
        found = find_leftovers(db)
        assert (found.keys, found.records) == ([gone], 1)
        assert [path.name for path in found.weights] == [gone]
        assert [path.read_text() for path in found.artifacts] == ["gone"]
        assert found.size_bytes > len("12345" + "gone")
        remove_leftovers(db, found)
        assert not find_leftovers(db)
        assert [path.name for path in db.beside("weights").iterdir()] == [kept]
        assert len(list(db.beside("artifacts").iterdir())) == 1
        assert len(RecordStore(db, kept).all()) == len(TrialLeases(db, kept).all()) == 1
        assert TrialLeases(db, gone).all() == []


def test_our_own_delete_leaves_nothing_but_attached_files(tmp_path: Path) -> None:
    with Database.open(f"sqlite:///{tmp_path / 'studies.db'}") as db:
        db.migrate()
        key = filled(db, "gone", tmp_path)
        TrialLeases(db, key).let_go(TrialLeases(db, key).all()[0].token)
        delete_study(db, "gone")
        found = find_leftovers(db)
        assert (found.keys, found.weights, len(found.artifacts)) == ([], [], 1)


def test_a_study_that_begins_meanwhile_has_left_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database.open(f"sqlite:///{tmp_path / 'studies.db'}") as db:
        db.migrate()
        filled(db, "first", tmp_path)

        def reads(storage: optuna.storages.BaseStorage) -> set[str]:
            used = keys_in_use(storage)
            filled(db, "second", tmp_path)
            return used

        monkeypatch.setattr(leftovers, "keys_in_use", reads)
        assert not find_leftovers(db)


def test_a_deletion_that_leaves_weights_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, ignore_errors: bool = False) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with Database.open(f"sqlite:///{tmp_path / 'studies.db'}") as db:
        db.migrate()
        key = filled(db, "gone", tmp_path)
        TrialLeases(db, key).let_go(TrialLeases(db, key).all()[0].token)
        monkeypatch.setattr(shutil, "rmtree", refused)
        with pytest.raises(StoreError, match=rf"gone is deleted, but .*{key} cannot be removed"):
            delete_study(db, "gone")
        assert [path.name for path in find_leftovers(db).weights] == [key]


def test_a_worker_that_ends_while_it_is_looked_for_is_not_at_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is on another machine and is gone at the second look."""
    with Database.open(f"sqlite:///{tmp_path / 'studies.db'}") as db:
        db.migrate()
        leases = TrialLeases(db, "s")
        leases.take(lambda others: True)
        with db.begin() as connection:
            connection.execute(text("update nas_trial_leases set process = 'elsewhere@1:2:3'"))
        read = TrialLeases.all

        def ends(self: TrialLeases) -> list[TrialLease]:
            found = read(self)
            for lease in found:
                self.let_go(lease.token)
            return found

        monkeypatch.setattr(TrialLeases, "all", ends)
        assert workers_at(leases) == []
