"""What is written at once is what Optuna would have written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import event

from nas_sv2.database.database import Database
from nas_sv2.search.session.samplers import SAMPLERS
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.studies.storage.study import create_or_resume, load_study
from nas_sv2.studies.storage.trial_writes import Gathered, at_once

IDENTITY = {"targets": {"fake": "measured"}}
SPACE = LEVELS["140M"]


def study_in(storage: str, name: str, sampler: BaseSampler | None = None) -> optuna.Study:
    return create_or_resume(
        Database.open(storage), name, IDENTITY, sampler or SAMPLERS["random"].make(3)
    )


@contextmanager
def one_by_one(trial: Trial) -> Iterator[Gathered]:
    """As `at_once`, by Optuna's own calls."""

    class Told:
        def end(self, state: TrialState, values: list[float] | None = None) -> None:
            trial.study.tell(trial, values, state)

    told: Any = Told()
    yield told


def run_one(study: optuna.Study, together: Any, state: TrialState, values: Any) -> None:
    trial = study.ask()
    with together(trial):
        SPACE.sample(trial)
    trial.set_user_attr("worker", "here")
    with together(trial) as told:
        trial.set_constraint("G1", 0.25)
        trial.set_constraint("flops", -0.5)
        trial.set_user_attr("architecture", "abc")
        trial.set_user_attr("baseline", None)
        trial.set_user_attr("worker", "there")  # a later one counts
        told.end(state, values)


def content(trial: FrozenTrial) -> dict[str, Any]:
    assert trial.datetime_start is not None and trial.datetime_complete is not None
    taken = trial.datetime_complete - trial.datetime_start
    assert 0 <= taken.total_seconds() < 600
    names = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs")
    return {name: getattr(trial, name) for name in names}


@pytest.mark.parametrize(
    ("state", "values"),
    [
        (TrialState.COMPLETE, [0.5, float("inf")]),
        (TrialState.PRUNED, None),
        (TrialState.FAIL, None),
    ],
)
def test_it_is_what_optuna_writes_one_by_one(storage: str, state: TrialState, values: Any) -> None:
    ours, theirs = study_in(storage, "ours"), study_in(storage, "theirs")
    for study, together in ((ours, at_once), (theirs, one_by_one)):
        study.enqueue_trial({"head": 1024})
        for _ in range(2):
            run_one(study, together, state, values)
    written = [content(trial) for trial in load_study(Database.open(storage), "ours").get_trials()]
    assert written == [
        content(trial) for trial in load_study(Database.open(storage), "theirs").get_trials()
    ]
    assert written == [content(trial) for trial in ours.get_trials()]
    assert written[0]["params"]["head"] == 1024
    assert list(written[1]["params"]) == list(written[0]["params"])
    assert len(written[1]["params"]) == 23
    assert ours.get_trials()[1].constraints == {"G1": 0.25, "flops": -0.5}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_samplers_choose_the_same(tmp_path: Path, sampler: str) -> None:
    """TPE and the Gaussian process choose from the eleventh trial on, NSGA-II from the second."""
    asked = []
    for name, together in (("ours", at_once), ("theirs", one_by_one)):
        study = study_in(f"sqlite:///{tmp_path / name}.db", name, SAMPLERS[sampler].make(5))
        for _ in range(13):
            trial = study.ask()
            with together(trial):
                flag = trial.suggest_categorical("flag", [False, True])
                width = trial.suggest_int("width", 8, 64, step=8)
            with together(trial) as told:
                trial.set_constraint("wide", width - 32)
                told.end(TrialState.COMPLETE, [width + flag, width * 0.5])
        asked.append([trial.params for trial in study.get_trials()])
    assert asked[0] == asked[1]


def test_a_block_that_raises_writes_nothing(storage: str) -> None:
    study = study_in(storage, "s")
    trial = study.ask()
    with pytest.raises(KeyboardInterrupt), at_once(trial) as told:
        SPACE.sample(trial)
        trial.set_user_attr("a", 1)
        told.end(TrialState.FAIL)
        raise KeyboardInterrupt
    (left,) = load_study(Database.open(storage), "s").get_trials()
    assert (left.state, left.params, left.user_attrs) == (TrialState.RUNNING, {}, {})
    trial.set_user_attr("b", 2)  # it is Optuna's again
    (left,) = load_study(Database.open(storage), "s").get_trials()
    assert left.user_attrs == {"b": 2}


def test_of_a_trial_that_another_ended_nothing_is_written(storage: str) -> None:
    study = study_in(storage, "s")
    trial = study.ask()
    load_study(Database.open(storage), "s").tell(trial.number, state=TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError), at_once(trial) as told:
        trial.set_user_attr("a", 1)
        told.end(TrialState.COMPLETE, [1.0, 2.0])
    (left,) = load_study(Database.open(storage), "s").get_trials()
    assert (left.state, left.values, left.user_attrs) == (TrialState.FAIL, None, {})


def test_two_that_took_one_trial_from_the_queue_agree(storage: str) -> None:
    study = study_in(storage, "s")
    study.enqueue_trial({"head": 1024})
    first = study.ask()
    second = optuna.Trial(load_study(Database.open(storage), "s"), first._trial_id)
    for trial in (first, second):
        with at_once(trial):
            assert trial.suggest_int("head", 512, 1536, step=128) == 1024
            trial.set_user_attr("last", trial is second)
    (left,) = load_study(Database.open(storage), "s").get_trials()
    assert (left.params, left.user_attrs) == ({"head": 1024}, {"last": True})


def test_all_parameters_take_two_statements(tmp_path: Path) -> None:
    study = study_in(f"sqlite:///{tmp_path / 'studies.db'}", "s")
    trial = study.ask()
    backend: Any = study._storage
    asked: list[str] = []
    event.listen(backend._backend.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    with at_once(trial):
        SPACE.sample(trial)
    assert len(asked) == 2
