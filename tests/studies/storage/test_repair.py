"""A trial with a value that is not a number makes no study unreadable for good."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState
from scripted_study import MEASURED, ScriptedStudy
from sqlalchemy import update

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.latency.measurements.store import MeasurementRow, MeasurementStore
from nas_sv2.studies.storage.catalog import list_studies
from nas_sv2.studies.storage.named_networks import records_of
from nas_sv2.studies.storage.repair import Damage, DamagedTrial, find_damage, repair
from nas_sv2.studies.storage.study import load_study, trials_of

Run = Callable[..., tuple[int, str, str]]


def tell_studies(storage: str) -> None:
    """Tell a study of three finished trials, and another."""
    for name in ("good", "poisoned"):
        ScriptedStudy(storage, name=name).all(found=1)


@pytest.fixture(scope="module")
def in_a_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of the two studies and their weights."""
    folder = tmp_path_factory.mktemp("told")
    tell_studies(f"sqlite:///{folder / 'studies.db'}")
    return folder


@pytest.fixture
def db(
    storage: str, in_a_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """Return a database of the two studies, of the test's own."""
    monkeypatch.chdir(tmp_path)  # where the weights lie beside a server
    with Database.open(storage) as db:
        if db.is_sqlite:
            shutil.copytree(in_a_file, tmp_path, dirs_exist_ok=True)
        else:
            tell_studies(storage)
        yield db


def poison(db: Database, *numbers: int, study: str = "poisoned") -> None:
    """Make the latency of trials what SQLite and PostgreSQL store for NaN."""
    value = "NULL" if db.is_sqlite else "'NaN'"
    with db.begin() as connection:
        for number in numbers:
            connection.exec_driver_sql(
                f"UPDATE trial_values SET value = {value} WHERE objective = 1 AND trial_id = "
                "(SELECT trial_id FROM trials JOIN studies USING (study_id) "
                f"WHERE number = {number} AND study_name = '{study}')"
            )


def test_the_trials_are_failed_and_all_else_is_as_it_was(db: Database) -> None:
    before = {name: records_of(db, name) for name in ("good", "poisoned")}
    good = trials_of(load_study(db, "good"))
    assert not find_damage(db)
    poison(db, 0, 2)
    if db.is_sqlite:  # PostgreSQL knows NaN, and so Optuna reads it
        for read in (list_studies, lambda db: trials_of(load_study(db, "poisoned"))):
            with pytest.raises(StoreError, match="not a number; `nas-sv2 db repair` finds"):
                read(db)
    assert good and trials_of(load_study(db, "good")) == good
    damage = Damage([DamagedTrial("poisoned", 0), DamagedTrial("poisoned", 2)], [])
    assert find_damage(db) == repair(db) == damage
    assert not find_damage(db)
    assert not repair(db)
    trials = load_study(db, "poisoned").trials
    for number in (0, 2):
        assert (trials[number].state, trials[number].values) == (TrialState.FAIL, None)
    assert records_of(db, "good") == before["good"]
    left = {number: record for number, record in before["poisoned"].items() if number % 2}
    assert records_of(db, "poisoned") == left
    done = {t.number: tuple(t.values) for t in trials if t.state == TrialState.COMPLETE}
    assert all(done[number] == record.sampler_objectives for number, record in left.items())
    assert {each.name: each.finished for each in list_studies(db)} == {
        "good": len(before["good"]),
        "poisoned": len(left),
    }


def test_a_database_without_studies_needs_no_repair(tmp_path: Path) -> None:
    with Database.open(str(tmp_path / "empty.db")) as empty:
        with pytest.raises(ConfigError, match="no such file"):
            find_damage(empty)
        empty.migrate()
        assert not find_damage(empty)


def test_a_measurement_that_is_damaged_is_removed_and_one_of_another_version_stays(
    db: Database,
) -> None:
    store = MeasurementStore(db)
    store.save_all([MEASURED, MEASURED])
    rows = "SELECT id FROM nas_measurements ORDER BY id"
    with db.begin() as connection:
        first, *_, other, last = connection.exec_driver_sql(rows).scalars()
        document = MEASURED.to_json() | {"schema": 99}
        for number, text in ((first, '{"schema": NaN}'), (other, json.dumps(document))):
            change = update(MeasurementRow).where(MeasurementRow.id == number)
            connection.execute(change.values(document=text))
    assert find_damage(db) == repair(db) == Damage([], [first])
    with db.connect() as connection:
        left = list(connection.exec_driver_sql(rows).scalars())
    assert first not in left and {other, last} <= set(left)


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_the_commands_say_what_helps_and_what_was_done(
    db: Database, command_line: Run, protected: set[Path]
) -> None:
    poison(db, 1)
    db.close()
    at = ("--storage", db.url)
    assert command_line("front", "good", *at)[0] == 0  # one study's damage is its own
    for words in (("front", "poisoned"), ("study", "list"), ("report", "poisoned")):
        code, _, err = command_line(*words, *at)
        assert (code, err.count("\n")) == (1, 1)
        assert "`nas-sv2 db repair`" in err
    assert command_line("db", "repair", *at)[0] == 2  # nobody can be asked
    assert db.file is not None
    protected.add(db.file.resolve())
    code, _, err = command_line("db", "repair", "--yes", *at)
    assert code == 1 and "is read-only for this user" in err
    protected.clear()
    said = "repaired: trial 1 of study poisoned has a value that is not a number\n"
    assert command_line("db", "repair", "--yes", *at)[:2] == (0, said)
    assert command_line("db", "repair", *at)[:2] == (0, "no damage found\n")
    printed = command_line("db", "repair", "--json", *at)[1]
    assert json.loads(printed) == {"trials": [], "measurements": []}
    assert command_line("front", "good", *at)[0] == 0
