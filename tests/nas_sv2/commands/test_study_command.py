"""`nas-sv2 study list`, `show` and `delete`, on studies whose trials were told."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.artifacts import upload_artifact
from optuna.trial import TrialState
from scripted_study import MEASURED, ScriptedStudy
from sqlalchemy import create_engine, text

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.studies.dashboard.artifacts import ArtifactFolder
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import optuna_storage, study_key
from nas_sv2.studies.storage.trial_lease import TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of two studies and their weights."""
    folder = tmp_path_factory.mktemp("told")
    storage = f"sqlite:///{folder / 'studies.db'}"
    ScriptedStudy(storage, "first").all(found=3)
    ScriptedStudy(storage, "second [bold]", {"arm": "emulated"}).all(found=2)
    return folder


@pytest.fixture
def at(two_studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of that database, which the commands find by its variable."""
    shutil.copytree(two_studies, tmp_path, dirs_exist_ok=True)
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    monkeypatch.setenv("NAS_SV2_STORAGE", storage)
    return storage


def rows(storage: str, table: str) -> int:
    engine = create_engine(storage)
    with engine.connect() as connection:
        count: int = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    engine.dispose()
    return count


def test_studies_are_listed_with_what_they_found(at: str, command_line: Run) -> None:
    code, out, err = command_line("study", "list")
    assert code == 0, err
    head, first, second = out.splitlines()
    assert head.split()[:2] == ["study", "targets"]
    assert first.startswith("first") and "cpu, arm" in first and "40M, cpu=2.6ms" in first
    assert second.startswith("second [bold]")
    found = json.loads(command_line("study", "list", "--json")[1])
    assert [each["study"] for each in found] == ["first", "second [bold]"]
    assert found[0]["targets"] == ["cpu", "arm"]
    assert found[0]["budget"] == ["40M", "cpu=2.6ms"]
    assert found[0]["finished"] > found[1]["finished"] > 0
    assert 0 < found[0]["best_accuracy"] < 1
    assert found[0]["began"] <= found[1]["began"]


def test_a_study_that_has_found_nothing_yet_is_listed_as_that(at: str, command_line: Run) -> None:
    begun = ScriptedStudy(at, "begun").study
    begun.enqueue_trial({})
    begun.tell(begun.ask().number, state=TrialState.FAIL)
    code, out, err = command_line("study", "list")
    assert code == 0, err
    assert out.splitlines()[-1] == "no finished trial yet: begun; the same search goes on"
    shown = command_line("study", "show", "begun")[1]
    assert next(line for line in shown.splitlines() if line.startswith("trials")).split() == [
        *("trials", "1", "interrupted")
    ]
    for refused in (["export", "begun"], ["report", "begun"], ["study", "confirm", "begun"]):
        code, _, err = command_line(*refused)
        assert (code, len(err.splitlines())) == (2, 1), err


def test_a_database_that_is_not_there_is_not_made(command_line: Run, tmp_path: Path) -> None:
    code, out, err = command_line("study", "list", "--storage", f"sqlite:///{tmp_path}/none.db")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert not (tmp_path / "none.db").exists()


def test_a_study_is_shown_with_its_question_and_progress(at: str, command_line: Run) -> None:
    code, out, err = command_line("study", "show", "first")
    assert code == 0, err
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert "cpu (measured), arm (emulated)" in lines["targets"]
    assert "40 M multiply-adds" in lines["budget"]
    assert "finished" in lines["trials"] and "3 rejected" in lines["trials"]
    assert "1 duplicate" in lines["trials"] and "1 failed" in lines["trials"]
    assert "UTC: nas-sv2 search --target cpu,arm" in out.splitlines()[-1]
    data = json.loads(command_line("study", "show", "first", "--json")[1])
    assert data["trials"]["rejected"] == 3
    assert data["best"] is not None
    assert data["identity"]["space"] == "40M"


def test_a_deleted_study_leaves_measurements_and_its_neighbour(
    at: str, command_line: Run, tmp_path: Path
) -> None:
    told = ScriptedStudy(at, "third")
    told.finish(baseline=None)
    note = tmp_path / "note.txt"
    note.write_text("mine")
    store = ArtifactFolder.of_database(Database.open(at))
    kept = upload_artifact(artifact_store=store, file_path=str(note), study_or_trial=told.study)
    weights = WeightsFolder.of_study(Database.open(at), study_key(told.study))
    weights.save("x", {})
    told.measurements.db.close()
    before = {name: rows(at, name) for name in ("nas_records", "nas_measurements", "trials")}
    assert (store.path / kept).exists() and weights.path.is_dir()
    code, out, err = command_line("study", "delete", "third", "--yes")
    assert code == 0, err
    assert "removed 1 trial and 1 record" in out
    assert "removed 1 attached file" in out and str(weights.path) in out
    assert not (store.path / kept).exists() and not weights.path.exists()
    assert rows(at, "nas_records") == before["nas_records"] - 1
    assert rows(at, "trials") == before["trials"] - 1
    assert rows(at, "nas_measurements") == before["nas_measurements"] > 0
    names = [each["study"] for each in json.loads(command_line("study", "list", "--json")[1])]
    assert names == ["first", "second [bold]"]
    assert command_line("study", "show", "third")[0] == 2
    assert command_line("front", "first")[0] == 0
    measurements = MeasurementStore(Database.open(at))
    assert measurements.find(MEASURED.architecture, MEASURED.fingerprint, MEASURED.plan)
    measurements.db.close()


def test_a_study_that_a_worker_is_at_is_not_deleted(at: str, command_line: Run) -> None:
    db = Database.open(at)
    study = ScriptedStudy(at, "first").study
    leases = TrialLeases(db, study_key(study))
    token = leases.take(lambda others: True)
    code, out, err = command_line("study", "delete", "first", "--yes")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"process {os.getpid()} on" in err
    assert len(RecordStore(db, study_key(study)).all()) > 0
    assert token is not None
    leases.let_go(token)
    assert command_line("study", "delete", "first", "--yes", "--json")[0] == 0


def test_without_a_terminal_nothing_is_deleted_unasked(at: str, command_line: Run) -> None:
    code, _, err = command_line("study", "delete", "first")
    assert code == 2
    assert "--yes must be given" in err
    assert command_line("front", "first")[0] == 0


def test_a_study_of_others_is_neither_listed_nor_deleted(at: str, command_line: Run) -> None:
    import optuna

    optuna.create_study(storage=optuna_storage(Database.open(at)), study_name="theirs")
    listed = json.loads(command_line("study", "list", "--json")[1])
    assert "theirs" not in [each["study"] for each in listed]
    code, _, err = command_line("study", "delete", "theirs", "--yes")
    assert code == 2 and "theirs" in err


def test_what_optuna_left_is_shown_and_removed(at: str, command_line: Run) -> None:
    import optuna

    assert command_line("db", "clean", "--yes")[1:] == ("nothing is left\n", "")
    optuna.delete_study(study_name="first", storage=optuna_storage(Database.open(at)))
    code, out, err = command_line("db", "clean")
    assert code == 2
    assert "--yes must be given" in err and "records of 1 deleted study\n" in out
    assert json.loads(command_line("db", "clean", "--yes", "--json")[1])["records"] > 0
    assert json.loads(command_line("db", "clean", "--yes", "--json")[1])["records"] == 0


def test_tables_are_made_and_their_schema_is_printed(command_line: Run, tmp_path: Path) -> None:
    at = ("--storage", f"sqlite:///{tmp_path}/new.db")
    assert command_line("db", "upgrade", *at)[1] == "schema 0002\n"
    assert rows(at[1], "nas_measurements") == 0
    assert json.loads(command_line("db", "upgrade", "--json", *at)[1]) == {"schema": "0002"}
