import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta

import optuna
import pytest
from doubles import record_of
from optuna.trial import FrozenTrial, TrialState

from nas_sv2.studies.findings.attributes import GIVEN_UP
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.facts import times_of

NOON = datetime(2026, 1, 1, 12)


def trial(
    number: int,
    at_s: float,
    seconds: float,
    state: TrialState = TrialState.COMPLETE,
    **said: object,
) -> FrozenTrial:
    made = optuna.create_trial(
        state=state, value=0.0 if state == TrialState.COMPLETE else None, user_attrs=dict(said)
    )
    made.number = number
    made.datetime_start = NOON + timedelta(seconds=at_s)
    made.datetime_complete = made.datetime_start + timedelta(seconds=seconds)
    return made


def records(**seconds: float) -> Mapping[int, Record]:
    found = {}
    for name, taken in seconds.items():
        record = record_of(0.5, 1.0)
        evaluation = dataclasses.replace(record.evaluation, seconds=taken)
        found[int(name[1:])] = dataclasses.replace(record, evaluation=evaluation)
    return found


def test_a_pause_is_no_work_and_trials_side_by_side_count_once() -> None:
    trials = [trial(0, 0, 10), trial(1, 5, 10), trial(2, 3600, 10)]
    times = times_of(trials, records(t0=6, t1=4, t2=9))
    assert [step.at_s for step in times.steps] == [0, 5, 15]
    assert (times.work_s, times.trials_s) == (25, 30)
    assert times.wall_s == 3610
    assert times.training_s == 19
    assert times.timing_s == 11


def test_every_end_has_its_verdict_and_what_was_known_cost_nothing() -> None:
    trials = [
        trial(0, 0, 2),
        trial(1, 2, 1, TrialState.PRUNED, rejected_by="flops: too many"),
        trial(2, 3, 1, duplicate_of=0),
        trial(3, 4, 1, TrialState.FAIL, error="it broke"),
        trial(4, 5, 1, TrialState.FAIL),
    ]
    times = times_of(trials, records(t0=60))
    assert [(step.verdict, step.why) for step in times.steps] == [
        ("finished", ""),
        ("rejected", "flops: too many"),
        ("duplicate", "the network of trial 0"),
        ("failed", "it broke"),
        ("interrupted", "asked again"),
    ]
    assert times.steps[0].known and times.training_s == 0
    assert times.other_s == 4


def test_a_rejection_with_placeholders_is_one_though_it_is_complete() -> None:
    (step,) = times_of([trial(0, 0, 1, rejected_by="flops: too many")], {}).steps
    assert step.verdict == "rejected"


def test_a_trial_that_runs_or_waits_has_no_time() -> None:
    waiting = optuna.create_trial(state=TrialState.WAITING)
    times = times_of([waiting], {})
    assert (times.steps, times.work_s, times.wall_s) == ([], 0.0, 0.0)
    assert times.training_s == pytest.approx(0)


def test_a_training_that_was_taken_up_is_not_one_that_was_known() -> None:
    trials = [trial(0, 0, 70, TrialState.FAIL), trial(1, 70, 50, retry_of=0)]
    times = times_of(trials, records(t1=100))
    assert [step.known for step in times.steps] == [False, False]
    assert times.training_s == 50
    assert times.timing_s == 0


def test_a_network_that_was_another_workers_is_known_and_not_failed() -> None:
    given_up = trial(1, 0, 1, TrialState.FAIL, error=f"{GIVEN_UP} 0 is about")
    (step,) = times_of([given_up], {}).steps
    assert (step.verdict, step.why) == ("duplicate", "the network that trial 0 is about")


def test_a_clock_that_is_set_back_makes_no_time_negative() -> None:
    times = times_of([trial(0, 100, -40), trial(1, 70, 10)], records(t0=6, t1=4))
    assert [(step.number, step.seconds) for step in times.steps] == [(1, 10), (0, 0)]
    assert (times.work_s, times.wall_s) == (10, 30)
