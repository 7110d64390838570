"""Two networks of one session: the test and its interval are those of `head_to_head`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import measurement_of, samples_of

from nas_sv2.latency.measurements.head_to_head import (
    LEAST,
    LEAST_CONTENDED,
    PricedPair,
    TimedPair,
    orders_of,
)
from nas_sv2.latency.measurements.measurement import Latency

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


def test_priced_times_are_held_against_the_error_of_their_tables() -> None:
    one, other = (
        Latency(ms, None, None, "emulated", "a core", None, None, "") for ms in (1.0, 1.15)
    )
    assert PricedPair.of(one, other).counts and PricedPair.of(other, one).counts
    assert PricedPair.of(one, other).provenance == "emulated"
    assert not PricedPair(1.05, "emulated").counts


def test_networks_of_two_sessions_are_refused() -> None:
    one = measurement_of(samples_of([1.0] * 6))
    other = measurement_of(samples_of([1.0] * 6), session="other")
    with pytest.raises(ValueError, match="one session"):
        TimedPair.of(one, other, restless=False)
