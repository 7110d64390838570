"""A training is ended only where the front is out of its reach."""

import random
from typing import Any

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.search.audit import Audit
from nas_sv2.search.stop_rule import Curve, CurveBound, Rival, StopRule
from nas_sv2.search.stop_rule_replay import FullTraining, front_members, replay

CURVES = tuple(Curve((0.5, 0.6 + n / 1000, 0.7 + n / 500)) for n in range(10))
"""Gains of 0.200 to 0.218 after the first pass, of 0.100 to 0.109 after the second."""


def test_the_bound_is_the_largest_gain_while_there_are_few_curves() -> None:
    bound = CurveBound(CURVES)
    assert bound.passes == 3
    assert bound.gain(1) == pytest.approx(0.218)
    assert bound.gain(2) == pytest.approx(0.109)
    assert bound.fails == pytest.approx(1 / 11)


def test_of_many_curves_the_bound_lets_the_stated_share_miss() -> None:
    many = tuple(Curve((0.0, n / 100)) for n in range(99))
    bound = CurveBound(many, miss=0.1)
    assert bound.gain(1) == pytest.approx(0.89)  # the 90th of 99
    assert bound.fails == pytest.approx(0.1)


@pytest.mark.parametrize("curves", [10, 30, 120])
def test_the_next_of_like_trainings_misses_as_often_as_said(curves: int) -> None:
    draw = random.Random(3)
    missed, repeats, claimed = 0, 2000, 0.0
    for _ in range(repeats):
        *known, new = (Curve((0.0, draw.lognormvariate(0, 1))) for _ in range(curves + 1))
        bound = CurveBound(tuple(known), miss=0.05)
        missed, claimed = missed + (new.gain(1) > bound.gain(1)), bound.fails
    deviation = (claimed * (1 - claimed) / repeats) ** 0.5
    assert abs(missed / repeats - claimed) < 4 * deviation


def test_too_few_curves_stop_nothing_and_say_why() -> None:
    bound = CurveBound(CURVES[:9])
    assert bound.why_not is not None and bound.why_not.startswith("9 finished trainings")
    assert CurveBound(()).passes == 0
    assert StopRule(bound, (Rival(1.0, (1.0,)),)).verdict(2, 0.0, (9.0,)) is None
    with pytest.raises(ConfigError, match="at least 10"):
        bound.gain(1)


@pytest.mark.parametrize(
    ("rivals", "stops"),
    [
        ([], False),
        ([(0.80, (1.0, 1.0))], True),
        ([(0.80, (2.0, 2.0))], True),  # as fast is enough
        ([(0.80, (2.1, 1.0))], False),  # slower on one target
        ([(0.99, (2.1, 2.1)), (0.60, (1.0, 1.0))], False),  # the good one is slower
        ([(0.708, (1.0, 1.0))], False),  # within reach
        ([(0.710, (1.0, 1.0)), (0.5, (0.5, 0.5))], True),
    ],
)
def test_only_rivals_that_are_as_fast_everywhere_stop_a_training(
    rivals: list[tuple[float, tuple[float, float]]], stops: bool
) -> None:
    rule = StopRule(CurveBound(CURVES), tuple(Rival(*rival) for rival in rivals))
    verdict = rule.verdict(2, 0.6, (2.0, 2.0))
    assert (verdict is not None) == stops
    if verdict is not None:
        assert verdict.startswith("0.6000 after pass 2 of 3 leads to at most 0.7090")


def test_a_training_at_its_end_is_not_stopped() -> None:
    rule = StopRule(CurveBound(CURVES), (Rival(0.9, (1.0,)),))
    assert rule.verdict(2, 0.1, (1.0,)) is not None
    assert rule.verdict(3, 0.1, (1.0,)) is None


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Curve((0.5,)), "curve"),
        (lambda: Curve((0.5, float("nan"))), "curve"),
        (lambda: CurveBound((Curve((0.1, 0.2)), Curve((0.1, 0.2, 0.3)))), "curves"),
        (lambda: CurveBound(CURVES, miss=0.0), "miss"),
        (lambda: CurveBound(CURVES, fewest=0), "fewest"),
        (lambda: CurveBound(CURVES).gain(3), "pass"),
        (lambda: CurveBound(CURVES).gain(0), "pass"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make()
    assert raised.value.field == field


def full(name: str, final: float, ms: float, rise: float = 0.2) -> FullTraining:
    curve = Curve((final - rise, final - rise / 2, final))
    return FullTraining(name, curve, (ms,), seconds=30.0)


FIRST = [full(f"first {n}", 0.80, 10.0 + n) for n in range(10)]


def test_a_replay_counts_what_is_saved_and_lost() -> None:
    poor = full("poor", 0.60, 12.0)
    late = full("late", 0.85, 12.0, rise=0.5)  # gains more than any before
    fast = full("fast", 0.60, 1.0)
    result = replay([*FIRST, poor, late, fast], Audit(share=0.0))
    assert (result.trained, result.stopped, result.audited) == (13, 2, 0)
    assert front_members([*FIRST, poor, late, fast]) == {"first 0", "late", "fast"}
    assert (result.front, result.lost) == (3, 1)
    assert result.seconds_saved == pytest.approx(2 * 20.0)
    assert result.saved == pytest.approx(40 / 390)
    assert result.saved_once_calibrated == pytest.approx(40 / 90)


def test_a_replay_lets_the_audited_run_on_and_learns_from_them() -> None:
    late = full("late", 0.85, 12.0, rise=0.5)
    second = full("second", 0.72, 12.0)
    assert replay([*FIRST, second], Audit(share=1.0)).audited == 1
    result = replay([*FIRST, late, second], Audit(share=1.0))  # gains as large are known now
    assert (result.stopped, result.audited, result.audited_on_front) == (0, 1, 1)
    assert (result.lost, result.saved) == (0, 0.0)


def test_nothing_is_saved_before_there_are_curves_enough() -> None:
    result = replay([*FIRST[:8], full("poor", 0.1, 99.0)], Audit(share=0.0))
    assert result.stopped == 0
    assert result.saved_once_calibrated is None
