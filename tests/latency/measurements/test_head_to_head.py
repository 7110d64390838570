"""Orders of networks: settled or a tie.

Two networks of one session: the test and its interval are those of `head_to_head`.
"""

import dataclasses
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import PLAN, measurement_of, samples_of

from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.head_to_head import (
    LEAST,
    LEAST_CONTENDED,
    MOST_NETWORKS,
    Orders,
    PricedPair,
    TimedPair,
    check_number,
    emulated_orders,
    orders_of,
)
from nas_sv2.latency.measurements.measurement import Latency, Measurement
from nas_sv2.latency.measurements.spread import Repeatability, Spread

factors = st.floats(0.5, 2)


def session(*networks: list[float], disturbed: float = 0.0) -> list[Measurement]:
    """Networks by their times in each round."""
    return [measurement_of(samples_of(times, disturbed)) for times in networks]


def scattered(ms: float, scatter: float, seed: int, rounds: int = 30) -> list[float]:
    generator = random.Random(seed)
    return [ms * (1 + scatter * generator.gauss(0, 1)) for _ in range(rounds)]


def settled(orders: Orders) -> set[tuple[int, int]]:
    return {(pair.faster, pair.slower) for pair in orders.pairs if pair.settled}


def test_the_fastest_comes_first_and_clear_orders_are_settled() -> None:
    orders = orders_of(
        session(scattered(3, 0.01, 1), scattered(2, 0.01, 2), scattered(4, 0.01, 3))
    )
    assert orders.ranking == (1, 0, 2)
    assert settled(orders) == {(1, 0), (0, 2), (1, 2)}
    assert [(pair.faster, pair.slower) for pair in orders.neighbours] == [(1, 0), (0, 2)]
    assert orders.further_ties == []
    assert orders.pairs[0].ratio == pytest.approx(1.5, rel=0.02)
    assert "all 3 pairs together" in orders.rule


def test_what_rounds_do_not_agree_on_is_a_tie_and_all_ties_are_named() -> None:
    orders = orders_of(session(*(scattered(3, 0.05, seed) for seed in (1, 2, 3))))
    assert settled(orders) == set()
    assert len(orders.neighbours) == 2
    assert [(p.faster, p.slower) for p in orders.further_ties] == [
        (orders.ranking[0], orders.ranking[2])
    ]


@pytest.mark.parametrize(("disturbed", "least"), [(0.0, LEAST), (0.5, LEAST_CONTENDED)])
def test_a_difference_that_sessions_make_is_a_tie_though_every_round_shows_it(
    disturbed: float, least: float
) -> None:
    for ratio, is_settled in ((1 + 0.8 * least, False), (1 + 1.2 * least, True)):
        orders = orders_of(session([3.0] * 30, [3.0 * ratio] * 30, disturbed=disturbed))
        assert orders.ranking == (0, 1)
        assert bool(settled(orders)) == is_settled
    assert f"a tie within {least:.0%}" in orders.rule
    assert ("other programs ran" in orders.rule) == bool(disturbed)


@given(st.lists(factors, min_size=1, max_size=40), factors)
def test_two_networks_are_settled_where_their_interval_leaves_1_out(
    times: list[float], mean: float
) -> None:
    """The rule for many pairs is, for one, the interval that is shown."""
    one, other = session(times, [mean] * len(times))
    orders = orders_of([one, other])
    (pair,) = orders.pairs
    found = (one if pair.slower == 0 else other).relative_to(other if pair.slower == 0 else one)
    assert found is not None
    assert (pair.ratio, pair.ratio_ci) == found
    clear = pair.ratio_ci is not None and pair.ratio_ci[0] > 1
    assert pair.settled == (clear and pair.ratio > 1 + LEAST)


@given(st.lists(st.lists(factors, min_size=12, max_size=12), min_size=2, max_size=6))
def test_judging_together_never_settles_more(networks: list[list[float]]) -> None:
    measured = session(*networks)
    together = orders_of(measured)
    count = len(networks)
    assert sorted(together.ranking) == list(range(count))
    assert len(together.pairs) == count * (count - 1) // 2
    for pair in together.pairs:
        alone = orders_of([measured[pair.faster], measured[pair.slower]])
        assert not pair.settled or settled(alone) == {(0, 1)}


@given(st.integers(0, 1000))
def test_the_places_of_the_networks_do_not_matter(seed: int) -> None:
    measured = session(*(scattered(ms, 0.02, seed + ms) for ms in (2, 3, 4)))
    turned = orders_of(list(reversed(measured)))
    orders = orders_of(measured)
    assert [2 - place for place in turned.ranking] == list(orders.ranking)
    assert {(2 - a, 2 - b) for a, b in settled(turned)} == settled(orders)


def test_copies_of_a_network_are_seldom_settled_though_there_are_many_pairs() -> None:
    together = alone = 0
    for seed in range(100):
        copies = session(*(scattered(3, 0.1, 7 * seed + copy, rounds=35) for copy in range(6)))
        orders = orders_of(copies)
        together += bool(settled(orders))
        alone += any(p.ratio_ci is not None and p.ratio_ci[0] > 1 for p in orders.pairs)
    assert together <= 10  # 5 by chance at the most
    assert alone > 2 * together


def test_networks_of_two_sessions_are_not_compared() -> None:
    one, other = session([3.0] * 30, [4.0] * 30)
    with pytest.raises(ValueError, match="one session"):
        orders_of([one, dataclasses.replace(other, session="b")])


def test_with_threads_networks_are_compared_by_the_same_kind_of_runs() -> None:
    plan = dataclasses.replace(PLAN, threads=2)
    one = dataclasses.replace(session([1.0] * 30)[0], plan=plan)
    other = dataclasses.replace(session([4.0] * 30, disturbed=0.95)[0], plan=plan)
    assert {one.estimator, other.estimator} == {"undisturbed wall time", "wall time"}
    (pair,) = orders_of([one, other]).pairs
    every = statistics.median(other.samples.wall) / statistics.median(one.samples.wall)
    assert pair.ratio == pytest.approx(every, rel=0.05)
    clear = dataclasses.replace(session([4.0] * 30)[0], plan=plan)
    assert settled(orders_of([one, clear])) == {(0, 1)}


def test_without_common_rounds_nothing_is_settled() -> None:
    one, other = session([3.0] * 30, [4.0] * 30)
    moved = tuple(number + 100 for number in other.samples.rounds)
    apart = dataclasses.replace(other, samples=other.samples._replace(rounds=moved), beside=None)
    (pair,) = orders_of([dataclasses.replace(one, beside=None), apart]).pairs
    assert (pair.settled, pair.ratio_ci) == (False, None)
    assert pair.ratio == pytest.approx(4 / 3)


def test_emulated_times_whose_orders_are_often_wrong_are_ties() -> None:
    times = [10.0, 11.9, 9.9, 14.5]
    latencies = [Latency(ms, None, None, "emulated", "A57", None, None, "") for ms in times]
    orders = emulated_orders(latencies)
    assert orders.ranking == (2, 0, 1, 3)
    ties = {(p.faster, p.slower) for p in orders.pairs if not p.settled}
    assert ties == {(2, 0), (0, 1)}  # 9.9 and 11.9 are 20.2 % apart
    assert orders.further_ties == []
    assert all(pair.ratio_ci is None for pair in orders.pairs)
    apart = math.prod(pair.ratio for pair in orders.neighbours)
    assert apart == pytest.approx(14.5 / 9.9)


def test_more_networks_than_one_session_holds() -> None:
    check_number(MOST_NETWORKS)
    with pytest.raises(ConfigError, match=r"number of networks .*at most 16.*; got 17"):
        check_number(MOST_NETWORKS + 1)
    with pytest.raises(ConfigError, match="number of networks must be at least 1; got 0"):
        check_number(0)


times = st.lists(st.floats(0.5, 2), min_size=1, max_size=40)


@given(times, st.floats(0.5, 2))
def test_at_five_per_cent_it_is_the_order_of_a_session_of_two(
    ours: list[float], mean: float
) -> None:
    one = measurement_of(samples_of(ours))
    other = measurement_of(samples_of([mean] * len(ours)))
    pair = TimedPair.of(one, other, restless=False)
    (both,) = orders_of([one, other]).pairs
    assert both.settled == (pair.chance <= 0.05 and pair.counts)
    assert (pair.ratio, pair.interval(0.05)) == one.relative_to(other)


@given(times, st.floats(1e-6, 0.5), st.floats(1e-6, 0.5))
def test_an_interval_leaves_one_out_where_the_chance_is_less_and_grows_with_sureness(
    rounds: list[float], level: float, other: float
) -> None:
    pair = TimedPair(tuple(rounds), 1.0, False, False)
    found = pair.interval(level)
    outside = found is not None and not found[0] <= 1 <= found[1]
    assert outside == (pair.chance <= level)
    wide, narrow = pair.interval(min(level, other)), pair.interval(max(level, other))
    if wide is not None:
        assert narrow is not None
        assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]


def test_without_common_rounds_there_is_no_interval_and_no_proof() -> None:
    assert TimedPair((), 0.5, False, False).interval(0.05) is None
    assert TimedPair((), 0.5, False, False).chance == 1


def test_thousands_of_rounds_are_counted_too() -> None:
    pair = TimedPair(tuple(1 + (n % 7 - 3) / 100 for n in range(3000)), 1.0, False, False)
    found = pair.interval(0.01)
    assert found is not None and found[0] <= 1 <= found[1]


@pytest.mark.parametrize(("restless", "least"), [(False, LEAST), (True, LEAST_CONTENDED)])
def test_a_difference_counts_beyond_what_a_session_does(restless: bool, least: float) -> None:
    assert not TimedPair((), 1 + 0.9 * least, False, restless).counts
    assert TimedPair((), 1 + 1.1 * least, False, restless).counts
    assert TimedPair((), 1 / (1 + 1.1 * least), False, restless).counts
    assert f"within {least:.0%}" in TimedPair((), 1.0, False, restless).rule


def test_priced_times_are_apart_beyond_what_is_often_wrong() -> None:
    one, other = (
        Latency(ms, None, None, "emulated", "a core", None, None, "") for ms in (1.0, 1.25)
    )
    assert PricedPair.of(one, other).counts and PricedPair.of(other, one).counts
    assert PricedPair.of(one, other).provenance == "emulated"
    assert not PricedPair(1.19, "emulated").counts


def test_networks_of_two_sessions_are_refused() -> None:
    one = measurement_of(samples_of([1.0] * 6))
    other = measurement_of(samples_of([1.0] * 6), session="other")
    with pytest.raises(ValueError, match="one session"):
        TimedPair.of(one, other, restless=False)


def held(*sessions: tuple[float, float], spread: Spread | None = None) -> list[Measurement]:
    """Two networks in several sessions, by their times in each."""
    known = Repeatability(Spread(0, 4), spread or Spread(0, 4), "", None, spread is not None)
    columns = zip(*sessions, strict=True)
    joined = [Measurement.joined(session(*([ms] * 30 for ms in of)), PLAN) for of in columns]
    return [dataclasses.replace(one, repeatability=known) for one in joined]


def test_sessions_that_disagree_are_a_tie_though_nearly_every_round_shows_an_order() -> None:
    agreed = held((3.0, 3.1), (3.0, 3.12), (3.0, 3.11), (3.0, 3.1))
    (pair,) = orders_of(agreed).pairs
    assert pair.settled and pair.ratio_ci is not None and pair.ratio_ci[0] > 1
    apart = held((3.0, 3.1), (3.0, 3.3), (3.0, 3.05), (3.0, 3.01))
    (pair,) = orders_of(apart).pairs
    assert not pair.settled and pair.ratio_ci is not None and pair.ratio_ci[0] < 1
    timed = TimedPair.of(apart[1], apart[0], restless=False)
    assert 0.05 < timed.chance < 0.5
    assert (timed.ratio, timed.interval(0.05)) == apart[1].relative_to(apart[0])


def test_what_the_grade_saw_of_ratios_makes_ties() -> None:
    sessions = ((3.0, 3.1), (3.0, 3.1), (3.0, 3.1))
    (pair,) = orders_of(held(*sessions, spread=Spread(0.005, 4))).pairs
    assert pair.settled
    (pair,) = orders_of(held(*sessions, spread=Spread(0.02, 4))).pairs
    assert not pair.settled
