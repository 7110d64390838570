"""A training is ended only where the front is out of its reach."""

import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from stop_rule_replay import FullTraining, front_members, replay

from nas_sv2.errors import ConfigError
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.stop_rule import (
    FEWEST,
    MISSES,
    RISK,
    FinalBound,
    LearningCurve,
    Rival,
    StopRule,
    miss_beside,
)


def curve(final: float, rise: float = 0.2) -> LearningCurve:
    """One that shows its score, which rises in a line."""
    return LearningCurve(((final - rise,), (final - rise / 2,), (final,)), final)


MISS = MISSES[1]
COURSES = tuple(curve(0.6 + n / 50, 0.2 + n % 2 / 50) for n in range(10))


def by_hand(
    curves: Sequence[LearningCurve], pass_number: int, signals: Sequence[float], miss: float = MISS
) -> float:
    """The upper end of an interval for a new observation, from the normal equations."""
    design = np.array([[1.0, *one.signals[pass_number - 1]] for one in curves])
    finals = np.array([one.final for one in curves])
    precision = np.linalg.inv(design.T @ design)
    line, at = precision @ design.T @ finals, np.array([1.0, *signals])
    free = len(curves) - design.shape[1]
    squares = float(np.sum((finals - design @ line) ** 2))
    spread = math.sqrt(squares / free * (1 + at @ precision @ at))
    return float(at @ line + student.ppf(1 - miss, free) * spread)


@pytest.mark.parametrize("width", [1, 2])
def test_the_bound_is_the_prediction_limit_above_the_line(width: int) -> None:
    draw = random.Random(width)
    curves = []
    for _ in range(30):
        shown = tuple(tuple(draw.random() for _ in range(width)) for _ in range(3))
        curves.append(LearningCurve(shown, sum(shown[1]) + draw.gauss(0, 0.1)))
    signals = [0.3] * width
    bound = FinalBound(tuple(curves), miss=0.1)
    assert bound.best_final(2, signals) == pytest.approx(by_hand(curves, 2, signals, 0.1))
    assert bound.expected_final(2, signals) == pytest.approx(by_hand(curves, 2, signals, 0.5))
    far = [9.0] * width
    reach = bound.best_final(2, far) - bound.expected_final(2, far)
    assert reach > 5 * (bound.best_final(2, signals) - bound.expected_final(2, signals))


@pytest.mark.parametrize("known", [8, 60])
def test_the_next_of_like_trainings_misses_about_as_often_as_said(known: int) -> None:
    draw = random.Random(3)

    def one() -> LearningCurve:
        shown = draw.random(), draw.random()
        return LearningCurve((shown, (0.0, 0.0)), 20 * shown[0] - shown[1] + draw.gauss(0, 1))

    missed, repeats = 0, 1000
    for _ in range(repeats):
        bound, new = FinalBound(tuple(one() for _ in range(known))), one()
        missed += new.final > bound.best_final(1, new.signals[0])
    deviation = (MISS * (1 - MISS) / repeats) ** 0.5
    assert abs(missed / repeats - MISS) < 4 * deviation


def test_what_a_pass_leaves_is_that_of_lines_without_each_training() -> None:
    draw = random.Random(8)
    shown = [draw.random() for _ in range(20)]
    curves = tuple(LearningCurve(((x,), (0.5,)), x + draw.gauss(0, 0.3)) for x in shown)
    finals = [one.final for one in curves]
    beside_line, beside_mean = 0.0, 0.0
    for n, one in enumerate(curves):
        xs, ys = shown[:n] + shown[n + 1 :], finals[:n] + finals[n + 1 :]
        slope, constant = np.polyfit(xs, ys, 1)
        beside_line += float(one.final - slope * shown[n] - constant) ** 2
        beside_mean += (one.final - statistics.fmean(ys)) ** 2
    assert FinalBound(curves).unexplained(1) == pytest.approx(beside_line / beside_mean)


def test_too_few_courses_stop_nothing_and_say_why() -> None:
    bound = FinalBound(COURSES[: FEWEST - 1])
    assert bound.why_not == f"{FEWEST - 1} finished trainings; {FEWEST} are needed"
    assert FinalBound(()).passes == 0
    assert StopRule(bound, (Rival(1.0, (1.0,)),)).verdict(2, (0.0,), (9.0,)) is None
    with pytest.raises(ConfigError, match=f"at least {FEWEST}"):
        bound.best_final(1, (0.5,))


def test_what_the_known_do_not_determine_is_bounded_by_nothing() -> None:
    alike = tuple(LearningCurve(((0.5,), (0.5,)), 0.6 + n / 100) for n in range(12))
    assert FinalBound(alike).best_final(1, (0.6,)) == math.inf
    assert FinalBound(alike).best_final(1, (0.5,)) < 1.0  # the mean of the others, and above it
    one_apart = (*alike, LearningCurve(((0.9,), (0.5,)), 0.9))
    assert FinalBound(one_apart).unexplained(1) == math.inf
    few = tuple(LearningCurve(((float(n), n**2), (0.5, 0.5)), n / 10) for n in range(3))
    assert FinalBound(few, fewest=3).best_final(1, (1.0, 1.0)) == math.inf


REACH = by_hand(COURSES, 2, (0.6,))


@pytest.mark.parametrize(
    ("rivals", "stops"),
    [
        ([], False),
        ([(0.90, (1.0, 1.0))], True),
        ([(0.90, (2.0, 2.0))], True),  # as fast is enough
        ([(0.90, (2.1, 1.0))], False),  # slower on one target
        ([(0.90, (2.1, 2.1)), (0.60, (1.0, 1.0))], False),  # the good one is slower
        ([(REACH - 1e-6, (1.0, 1.0))], False),  # within reach
        ([(REACH + 1e-6, (1.0, 1.0)), (0.5, (0.5, 0.5))], True),
    ],
)
def test_only_rivals_that_are_as_fast_everywhere_stop_a_training(
    rivals: list[tuple[float, tuple[float, float]]], stops: bool
) -> None:
    rule = StopRule(FinalBound(COURSES), tuple(Rival(*rival) for rival in rivals))
    verdict = rule.verdict(2, (0.6,), (2.0, 2.0))
    assert (verdict is not None) == stops
    if verdict is not None:
        assert verdict.reason.startswith(f"after pass 2 of 3 it can come to {REACH:.4f} at most")
        assert verdict.foreseen == pytest.approx(by_hand(COURSES, 2, (0.6,), 0.5))


def test_a_training_at_its_end_is_not_stopped() -> None:
    rule = StopRule(FinalBound(COURSES), (Rival(0.9, (1.0,)),))
    assert rule.verdict(2, (0.1,), (1.0,)) is not None
    assert rule.verdict(3, (0.1,), (1.0,)) is None


@pytest.mark.parametrize(
    ("stopped", "miss"),
    [(0, MISSES[1]), (3, 2 * RISK / 4), (10_000, MISSES[0])],
)
def test_a_long_search_allows_each_bound_fewer_misses(stopped: int, miss: float) -> None:
    beaten, slow, fast = Rival(0.7, (2.0,)), Rival(0.9, (2.0,)), Rival(0.8, (1.0,))
    assert miss_beside([slow, fast], 3) == pytest.approx(miss_beside([slow, beaten, fast], 3))
    assert miss_beside([slow, beaten, fast], stopped) == pytest.approx(miss)


def test_targets_must_be_the_same() -> None:
    rule = StopRule(FinalBound(COURSES), (Rival(0.9, (1.0,)),))
    with pytest.raises(ValueError, match="zip"):
        rule.verdict(2, (0.1,), (1.0, 1.0))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LearningCurve(((0.5,),), 0.5), "signals"),
        (lambda: LearningCurve(((0.5,), (0.5, 0.6)), 0.5), "signals"),
        (lambda: LearningCurve(((), ()), 0.5), "signals"),
        (lambda: LearningCurve(((0.5,), (math.nan,)), 0.5), "signals"),
        (lambda: LearningCurve(((0.5,), (0.5,)), math.inf), "final"),
        (lambda: FinalBound((curve(0.5), LearningCurve(((0.1,), (0.2,)), 0.5))), "curves"),
        (lambda: FinalBound(COURSES, miss=0.0), "miss"),
        (lambda: FinalBound(COURSES, fewest=2), "fewest"),
        (lambda: FinalBound(COURSES).best_final(3, (0.5,)), "pass"),
        (lambda: FinalBound(COURSES).best_final(0, (0.5,)), "pass"),
        (lambda: FinalBound(COURSES).best_final(1, (0.5, 0.5)), "signals"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make()
    assert raised.value.field == field


def full(name: str, final: float, ms: float, rise: float = 0.2) -> FullTraining:
    return FullTraining(name, curve(final, rise), (ms,), seconds=30.0)


FIRST = [full(f"first {n}", 0.75 + n / 200, 20.0 - n, 0.2 + n % 2 / 100) for n in range(10)]
"""The last is the best and the fastest: 0.795 in 11 ms."""
LATE = full("late", 0.85, 12.0, rise=0.5)  # gains more than any before


def test_a_replay_counts_what_is_saved_and_lost() -> None:
    trainings = [*FIRST, full("poor", 0.60, 12.0), LATE, full("fast", 0.60, 1.0)]
    result = replay(trainings, Audit(share=0.0))
    assert (result.trained, result.stopped, result.audited) == (13, 2, 0)
    assert front_members(trainings) == {"first 9", "late", "fast"}
    assert (result.front, result.lost) == (3, 1)
    assert result.lost_share == pytest.approx(1 / 3)
    assert list(result.lost_by) == pytest.approx([0.85 - 0.795])
    assert [result.lost_beyond(noise) for noise in (0.05, 0.06)] == [1, 0]
    assert result.seconds_saved == pytest.approx(2 * 20.0)
    assert result.saved == pytest.approx(40 / 390)
    assert result.saved_once_calibrated == pytest.approx(40 / (390 - 30 * FEWEST))


def test_a_replay_lets_the_audited_run_on_and_learns_from_them() -> None:
    second = full("second", 0.70, 11.5)
    assert replay([*FIRST, second], Audit(share=1.0)).audited == 1
    result = replay([*FIRST, LATE, second], Audit(share=1.0))  # gains as large are known now
    assert (result.stopped, result.audited, result.audited_on_front) == (0, 1, 1)
    assert (result.lost, result.saved) == (0, 0.0)


def test_nothing_is_saved_before_there_are_courses_enough() -> None:
    trainings = [*FIRST[: FEWEST - 1], full("poor", 0.1, 99.0)]
    result = replay(trainings, Audit(share=0.0))
    assert result.stopped == 0
    assert result.saved_once_calibrated is None


def test_earlier_trainings_calibrate_and_are_nobodys_rivals() -> None:
    earlier = [one.curve for one in FIRST]
    poor = full("poor", 0.1, 99.0)
    assert replay([poor], Audit(share=0.0), earlier=earlier).stopped == 0
    result = replay([full("good", 0.79, 11.0), poor], Audit(share=0.0), earlier=earlier)
    assert (result.stopped, result.seconds_before) == (1, 0.0)
