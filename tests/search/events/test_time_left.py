"""How long a search will take."""

import dataclasses
import math
import random
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from doubles import EventRecorder, record_of
from time_left import errors

from nas_sv2.search.events.events import TrialAsked, TrialFinished
from nas_sv2.search.events.time_left import POWER, STOPPED_AT, WEIGHT, TimeLeft
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.record import Record

V2, SMALL, LARGE = reference("shufflenet_v2_x0_5"), 41_000_000, 591_000_000
RATIO = (LARGE / SMALL) ** POWER


def trainings(drawn: random.Random) -> Sequence[tuple[float, float]]:
    """FLOPs and seconds of two baselines and 22 candidates, as an idle machine trains them."""
    flops = [146e6, 146.5e6, *(drawn.uniform(60e6, 147e6) for _ in range(22))]
    return [(each, 40 * (each / 146e6) ** 0.66 * math.exp(drawn.gauss(0, 0.1))) for each in flops]


def test_those_under_way_are_predicted_from_their_size_and_the_time_since() -> None:
    heard, now = EventRecorder(), SimpleNamespace(s=100.0)
    left = TimeLeft(heard, workers=2, clock=lambda: now.s)
    left(TrialAsked(0, V2, None, SMALL))
    left(TrialFinished(0, "rejected", "too slow", None, 0.1, 0, 3))
    assert heard.outcomes[-1].remaining_s is None
    left(TrialAsked(1, V2, None, SMALL))
    left(TrialAsked(2, V2, None, LARGE))
    now.s = 110.0
    left(TrialFinished(1, "finished", "", None, 10.0, 1, 3))
    under_way_s, mean_s = 10 * RATIO - 10, 10 * (1 + RATIO) / 2
    assert heard.outcomes[-1].remaining_s == pytest.approx(max(under_way_s, mean_s))
    left(TrialAsked(3, V2, None, SMALL))
    now.s = 150.0
    left(TrialFinished(2, "finished", "", None, 50.0, 2, 3))  # the other is overdue
    rate = 60 / (1 + RATIO)
    assert heard.outcomes[-1].remaining_s == pytest.approx(0.1 * rate)
    left(TrialFinished(3, "finished", "", None, 40.0, 3, 3))
    assert heard.outcomes[-1].remaining_s == 0


def test_no_candidate_is_counted_that_the_timeout_lets_not_begin() -> None:
    heard, now = EventRecorder(), SimpleNamespace(s=100.0)
    left = TimeLeft(heard, workers=1, timeout_s=35.0, clock=lambda: now.s)
    left(TrialAsked(0, V2, None, SMALL))
    now.s = 110.0
    left(TrialFinished(0, "finished", "", None, 10.0, 1, 100))
    assert heard.outcomes[-1].remaining_s == pytest.approx(30)  # begun at 110, 120 and 130
    now.s = 140.0
    left(TrialFinished(1, "rejected", "too slow", None, 0.1, 1, 100))
    assert heard.outcomes[-1].remaining_s == 0


def test_a_training_that_was_found_says_nothing_about_the_others() -> None:
    heard = EventRecorder()
    left, found = TimeLeft(heard, workers=1), record_of()
    evaluation = dataclasses.replace(found.evaluation, seconds=20.0)
    left(TrialAsked(0, V2, None, SMALL))
    record = dataclasses.replace(found, evaluation=evaluation)
    left(TrialFinished(0, "finished", "", record, 0.5, 1, 3))
    assert heard.outcomes[-1].remaining_s is None
    left(TrialAsked(1, V2, None, SMALL))
    left(TrialFinished(1, "finished", "", record, 21.0, 2, 3))
    assert heard.outcomes[-1].remaining_s == pytest.approx(21)


def test_the_later_half_tells_how_long_the_others_take() -> None:
    heard = EventRecorder()
    left = TimeLeft(heard, workers=1)
    for number, seconds in enumerate([40.0] * 6 + [10.0] * 6):
        left(TrialAsked(number, V2, None, SMALL))
        left(TrialFinished(number, "finished", "", None, seconds, number + 1, 20))
    assert heard.outcomes[4].remaining_s == pytest.approx(15 * 40)
    assert heard.outcomes[-1].remaining_s == pytest.approx(8 * 10)


def stopped_after(epochs: int, scores: int = 1) -> Record:
    """A record of a training that made so many passes, by each of so many seeds."""
    found = record_of()
    evaluation = dataclasses.replace(found.evaluation, epochs=epochs, scores=(0.5,) * scores)
    return dataclasses.replace(found, evaluation=evaluation)


def test_the_stop_rule_is_expected_before_it_has_ended_any() -> None:
    heard = EventRecorder()
    left = TimeLeft(heard, workers=1, passes=4)
    for number, record in enumerate([stopped_after(4)] * 4 + [stopped_after(2)] * 4):
        left(TrialAsked(number, V2, None, SMALL))
        seconds = 10.0 * record.evaluation.epochs
        left(TrialFinished(number, "finished", "", record, seconds, number + 1, 20))
    whole_s = 40.0
    first, last = (
        (STOPPED_AT * WEIGHT + 1) / (WEIGHT + 1),
        (STOPPED_AT * WEIGHT + 3) / (WEIGHT + 5),
    )
    assert heard.outcomes[0].remaining_s == pytest.approx(19 * whole_s * first)
    assert heard.outcomes[-1].remaining_s == pytest.approx(12 * whole_s * last)


def test_a_training_of_one_of_two_seeds_is_half_of_a_whole_one() -> None:
    heard = EventRecorder()
    left = TimeLeft(heard, workers=1, passes=8)
    left(TrialAsked(0, V2, None, SMALL))
    left(TrialFinished(0, "finished", "", stopped_after(4), 10.0, 1, 3))
    left(TrialAsked(1, V2, None, SMALL))
    left(TrialFinished(1, "finished", "", stopped_after(4, scores=2), 20.0, 2, 3))
    share = (STOPPED_AT * WEIGHT + 1.5) / (WEIGHT + 2)
    assert heard.outcomes[-1].remaining_s == pytest.approx(20 * share)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_time_left_is_right_within_30_percent_from_the_fifth_candidate_on(
    workers: int,
) -> None:
    found = [
        error
        for seed in range(20)
        for error, candidates in errors(trainings(random.Random(seed)), workers)
        if candidates >= 1
    ]
    assert sum(abs(error) < 0.3 for error in found) >= 0.97 * len(found)
