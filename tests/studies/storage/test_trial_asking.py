"""What is asked at once is what Optuna would have asked."""

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import event

from nas_sv2.database.database import Database
from nas_sv2.search.session.samplers import SAMPLERS
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.studies.storage.study import create_or_resume, load_study
from nas_sv2.studies.storage.trial_asking import ask

IDENTITY = {"targets": {"fake": "measured"}}
SPACE = LEVELS["140M"]
ATTRIBUTES = {"worker": "here:1:2", "utc_offset_s": 3600.0, "nothing": None}


def study_in(storage: str, name: str, sampler: BaseSampler | None = None) -> optuna.Study:
    return create_or_resume(
        Database.open(storage), name, IDENTITY, sampler or SAMPLERS["random"].make(3)
    )


def optunas(study: optuna.Study, attributes: dict[str, Any]) -> Trial:
    trial = study.ask()
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    return trial


def content(trial: FrozenTrial) -> dict[str, Any]:
    assert trial.datetime_start is not None
    assert abs((datetime.now() - trial.datetime_start).total_seconds()) < 600
    return {**vars(trial), "_trial_id": None, "_datetime_start": None}


def test_it_is_what_optuna_writes(storage: str) -> None:
    written, handed = [], []
    for name, asks in (("ours", ask), ("theirs", optunas)):
        study = study_in(storage, name)
        trials = [asks(study, ATTRIBUTES)]
        study.enqueue_trial({"head": 1024}, user_attrs={"retry_of": 0})
        study.enqueue_trial({"head": 1152})
        trials += [asks(study, ATTRIBUTES) for _ in range(3)]
        written.append(
            [content(trial) for trial in load_study(Database.open(storage), name).get_trials()]
        )
        assert written[-1] == [content(trial) for trial in study.get_trials()]
        handed.append(
            [(content(trial._cached_frozen_trial), trial._fixed_params) for trial in trials]
        )
        assert all(trial.study is study for trial in trials)
        assert all(trial.storage is study._storage for trial in trials)
    assert written[0] == written[1]
    assert handed[0] == handed[1]
    assert [trial["_number"] for trial in written[0]] == [0, 1, 2, 3]
    assert written[0][1]["_user_attrs"] == {"retry_of": 0, **ATTRIBUTES}


def test_a_trial_is_as_optunas_for_whoever_works_on_it(storage: str) -> None:
    told = []
    for name, asks in (("ours", ask), ("theirs", optunas)):
        study = study_in(storage, name)
        for _ in range(2):
            trial = asks(study, ATTRIBUTES)
            SPACE.sample(trial)
            trial.set_constraint("flops", -0.5)
            trial.set_user_attr("worker", "there")
            study.tell(trial, [0.5, 2.0])
        told.append([{**content(each), "datetime_complete": None} for each in study.get_trials()])
    assert told[0] == told[1]
    assert len(told[0][1]["_params"]) == 23


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_samplers_choose_the_same(tmp_path: Path, sampler: str) -> None:
    """TPE and the Gaussian process choose from the eleventh trial on, NSGA-II from the second."""
    asked = []
    for name, asks in (("ours", ask), ("theirs", optunas)):
        study = study_in(f"sqlite:///{tmp_path / name}.db", name, SAMPLERS[sampler].make(5))
        for _ in range(13):
            trial = asks(study, ATTRIBUTES)
            flag = trial.suggest_categorical("flag", [False, True])
            width = trial.suggest_int("width", 8, 64, step=8)
            trial.set_constraint("wide", width - 32)
            study.tell(trial, [width + flag, width * 0.5])
        asked.append([trial.params for trial in study.get_trials()])
    assert asked[0] == asked[1]


def test_whoever_asks_at_the_same_time_gets_another_number(storage: str) -> None:
    study_in(storage, "s")
    numbers: list[int] = []

    def work(number: int) -> None:
        study = study_in(storage, "s")
        for _ in range(5):
            trial = study.ask() if number == 0 else ask(study, ATTRIBUTES)
            numbers.append(trial.number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(20))
    trials = load_study(Database.open(storage), "s").get_trials()
    assert [trial.number for trial in trials] == list(range(20))
    assert all(trial.state == TrialState.RUNNING for trial in trials)


def test_it_takes_three_statements_in_one_transaction(tmp_path: Path) -> None:
    study = study_in(f"sqlite:///{tmp_path / 'studies.db'}", "s")
    backend: Any = study._storage
    asked: list[str] = []
    event.listen(backend._backend.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    event.listen(backend._backend.engine, "begin", lambda *a: asked.append("BEGIN"))
    ask(study, ATTRIBUTES)
    assert [statement.split()[0] for statement in asked] == ["BEGIN", "SELECT", "INSERT", "INSERT"]


def test_a_study_that_was_deleted_is_asked_nothing(storage: str) -> None:
    study = study_in(storage, "s")
    optuna.delete_study(study_name="s", storage=storage)
    with pytest.raises(StorageInternalError):
        ask(study, ATTRIBUTES)
