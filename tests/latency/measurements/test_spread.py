"""Intervals of several sessions, and how often they hold a later command."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.latency.measurements.spread import (
    BESIDE_OTHERS_MS,
    NOT_SEEN,
    SURE,
    Repeated,
    Spread,
    apart,
    mean_spread,
    spread_of,
    student_chance,
    student_quantile,
    wider,
)

figures = st.lists(st.floats(0.1, 10), min_size=0, max_size=8)
spreads = st.none() | st.builds(Spread, st.floats(0, 0.5), st.integers(1, 50))


@pytest.mark.parametrize(("degrees", "t"), [(1, 12.706), (3, 3.182), (4, 2.776), (SURE, 1.962)])
def test_quantiles_are_those_of_the_tables(degrees: int, t: float) -> None:
    assert student_quantile(0.05, degrees) == pytest.approx(t, abs=5e-4)
    assert student_chance(t, degrees) == pytest.approx(0.05, abs=1e-4)


def test_a_spread_is_relative_and_that_of_a_mean_is_smaller() -> None:
    found = spread_of([1.0, 1.02, 0.98, 1.0])
    assert found.cv == pytest.approx(statistics.stdev([1.0, 1.02, 0.98, 1.0]), rel=0.01)
    assert found.degrees == 3
    assert spread_of([5.0, 5.1, 4.9, 5.0]).cv == pytest.approx(found.cv)
    assert mean_spread([1.0, 1.02, 0.98, 1.0]).cv == pytest.approx(found.cv / 2)


def test_the_wider_spread_leaves_more_open_though_it_may_be_smaller() -> None:
    few, many = Spread(0.02, 1), Spread(0.05, SURE)
    assert wider(few, many) is few
    assert NOT_SEEN.beside_others().ms is BESIDE_OTHERS_MS


@given(st.floats(0.2, 5), figures, spreads, st.floats(1e-4, 0.5))
def test_an_interval_leaves_1_out_where_the_chance_is_less(
    figure: float, sessions: list[float], spread: Spread | None, level: float
) -> None:
    found = Repeated(figure, tuple(sessions), spread)
    low, high = found.widened((figure, figure), level)
    chance = found.chance_of_1
    if not math.isclose(chance, level, rel_tol=1e-6):  # at the level rounding decides
        assert (low <= 1 <= high) == (chance > level or figure == 1)
    later = found.widened((figure, figure), level, later=True)
    assert later[0] <= low <= figure <= high <= later[1]


@given(st.floats(0.2, 5), figures, spreads)
def test_an_interval_of_the_runs_is_never_narrowed(
    figure: float, sessions: list[float], spread: Spread | None
) -> None:
    low, high = Repeated(figure, tuple(sessions), spread).widened((figure / 2, figure * 2))
    assert low <= figure / 2 and high >= figure * 2


def test_one_session_of_a_device_nobody_has_seen_keeps_the_interval_of_its_runs() -> None:
    assert Repeated(2.0, (2.0,), None).widened((1.9, 2.1), later=True) == (1.9, 2.1)


def commands(between: float, within: float, seed: int) -> list[tuple[float, ...]]:
    """Sessions of 40 commands, of a device that differs between and within commands."""
    generator = random.Random(seed)
    found = []
    for _ in range(40):
        slow = generator.gauss(0, between)
        found.append(tuple(5 * math.exp(slow + generator.gauss(0, within)) for _ in range(4)))
    return found


def share_held(held: list[tuple[float, ...]], spread: Spread | None) -> float:
    """The share of intervals that hold the figure of another command."""
    figures = [statistics.median(sessions) for sessions in held]
    ends = [
        Repeated(figure, sessions, spread).widened((figure, figure), later=True)
        for figure, sessions in zip(figures, held, strict=True)
    ]
    return statistics.mean(
        low <= figures[other] <= high
        for one, (low, high) in enumerate(ends)
        for other in range(len(figures))
        if other != one
    )


def test_sessions_alone_hold_a_later_command_of_a_device_that_does_not_drift() -> None:
    shares = [share_held(commands(0, 0.02, seed), None) for seed in range(10)]
    assert 0.9 <= statistics.mean(shares) <= 0.99


def test_with_drift_between_commands_only_a_known_spread_holds() -> None:
    drifting = [commands(0.04, 0.01, seed) for seed in range(10)]
    assert statistics.mean(share_held(held, None) for held in drifting) < 0.6
    graded = Spread(math.hypot(0.04, 0.01), 4)
    assert statistics.mean(share_held(held, graded) for held in drifting) >= 0.95


def test_two_figures_are_apart_if_neither_is_in_the_interval_of_the_other() -> None:
    assert apart((1.0, (0.9, 1.1)), (1.2, (1.05, 1.3)))
    assert not apart((1.0, (0.9, 1.1)), (1.1, (1.05, 1.3)))
    assert not apart((1.2, (0.9, 1.3)), (1.0, (0.95, 1.05)))
