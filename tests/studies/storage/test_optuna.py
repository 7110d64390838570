"""Optuna is used by its public names alone."""

import re
import threading
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from nas_sv2.database.database import Database
from nas_sv2.studies.storage.study import create_or_resume, load_study

ROOT = Path(__file__).parents[3]
FOLDERS = ("nas_sv2", "space", "latency", "evaluate", "studies", "search")
PRIVATE = re.compile(
    r"optuna[\w.]*\._|\b_(trial_id|study_id|storage|backend|rdb|thread_local)\b(?!\()"
    r"|_CachedStorage|_cached_frozen_trial|_fixed_params"
)
IDENTITY = {"targets": {"fake": "measured"}}


def test_no_private_name_of_optuna_is_in_the_product() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in FOLDERS
        for file in sorted((ROOT / folder).rglob("*.py"))
        if not any(part.is_symlink() for part in file.parents)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert found == []


def test_those_who_ask_at_the_same_time_get_different_trials(storage: str) -> None:
    create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
    numbers: list[int] = []

    def work() -> None:
        study = create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
        numbers.extend(study.ask().number for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(20))
    trials = load_study(Database.open(storage), "s").get_trials()
    assert [trial.number for trial in trials] == list(range(20))
    assert all(trial.state == TrialState.RUNNING for trial in trials)


def test_threads_of_one_process_share_the_handle(storage: str) -> None:
    """Their turns at the database hold connections while they wait for each other."""
    db, within = Database.open(storage), list[int]()

    def work(number: int) -> None:
        with db.alone_at("a name"):
            within.append(number)
            assert load_study(db, "s").study_name == "s"
            assert within.pop() == number

    create_or_resume(db, "s", IDENTITY, RandomSampler())
    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert within == []


@pytest.mark.filterwarnings("error")
def test_a_value_that_a_worker_set_before_it_died_does_not_end_the_trial(storage: str) -> None:
    """Attributes, limits and the verdict are written one by one."""
    study = create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
    trial = study.ask()
    trial.set_constraint("flops", -0.5)
    trial.set_user_attr("architecture", "abc")
    (left,) = load_study(Database.open(storage), "s").get_trials()
    assert left.state == TrialState.RUNNING
