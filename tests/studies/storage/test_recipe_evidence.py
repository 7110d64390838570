"""What a database knows of a recipe: trainings of qualifications, whole and damaged."""

import dataclasses
from pathlib import Path

import pytest
from doubles import evaluation_of
from scripted_study import certificate
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.evaluate.fitting.evaluation import Epoch
from nas_sv2.studies.storage.recipe_evidence import CertificateStore, whole_trainings
from nas_sv2.studies.storage.record_store import RecordStore


def test_a_damaged_training_of_a_qualification_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = certificate()
    first, second, *_ = (one.architecture for one in known.networks)
    whole = dataclasses.replace(evaluation_of(0.5), history=(Epoch(2.0, 0.1), Epoch(1.0, 0.1)))
    asked = whole.recipe_digest, whole.data, whole.seed
    with Database.open(f"sqlite:///{tmp_path / 's.db'}") as db:
        db.migrate()
        CertificateStore(db).save(known)
        for network in (first, second):
            RecordStore(db, "qualify").save_evaluation(network.digest, whole)
        assert whole_trainings(db, *asked) == {
            network.digest: (network, whole) for network in (first, second)
        }
        with db.begin() as connection:
            cut = "update nas_evaluations set document = '{' where architecture = :first"
            connection.execute(text(cut), {"first": first.digest})
        assert whole_trainings(db, *asked) == {second.digest: (second, whole)}
    assert "is left out of the earlier trainings" in caplog.text
