"""The statistics on samples whose truth is known."""

import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.latency.agent import estimator
from nas_sv2.latency.agent.estimator import Samples, chosen, ratio_interval, times_of


def samples_of(
    wall: Sequence[float],
    cpu: Sequence[float] | None = None,
    switches: Sequence[int] | None = None,
    a_round: int = 10,
) -> Samples:
    rounds = [index // a_round for index in range(len(wall))]
    return Samples(wall, wall if cpu is None else cpu, switches, rounds)


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    samples = samples_of(values, a_round=5)
    return estimator.median_interval(samples, chosen(samples, False))


def used_of(
    wall: Sequence[float], cpu: Sequence[float], switches: Sequence[int] | None, one_thread: bool
) -> tuple[str, list[float]]:
    samples = samples_of(wall, cpu, switches)
    choice = chosen(samples, one_thread)
    return choice.estimator, times_of(samples, choice)


times = st.lists(st.floats(0.01, 1e4), min_size=6, max_size=300)


@given(times)
def test_the_interval_contains_the_median(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval is not None
    assert interval[0] <= statistics.median(values) <= interval[1]


@pytest.mark.parametrize("count", range(1, 6))
def test_no_interval_from_too_few_runs(count: int) -> None:
    assert median_interval([1.0] * count) is None


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    generator = random.Random(1)
    held = 0
    for _ in range(400):
        interval = median_interval([generator.lognormvariate(0, 1) for _ in range(60)])
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert held >= 0.95 * 400 - 15  # three standard deviations of a binomial


def test_a_drift_that_single_runs_hide_widens_the_interval() -> None:
    generator = random.Random(1)
    still = [generator.gauss(10, 0.1) for _ in range(400)]
    drifting = [time + (0.5 if index % 80 < 40 else 0) for index, time in enumerate(still)]
    shuffled = random.Random(2).sample(drifting, len(drifting))
    in_order, by_chance = median_interval(drifting), median_interval(shuffled)
    assert in_order is not None
    assert by_chance is not None
    assert in_order[1] - in_order[0] > 1.2 * (by_chance[1] - by_chance[0])


@given(times, st.integers(0, 2**32))
def test_order_does_not_change_the_median_of_quiet_runs(values: list[float], seed: int) -> None:
    generator = random.Random(seed)
    switches = [0] * len(values)
    for index in generator.sample(range(len(values)), len(values) // 10):
        switches[index] = generator.choice([1, 2])
    wall = [time * (1 + count) for time, count in zip(values, switches, strict=True)]
    runs = list(zip(wall, values, switches, strict=True))
    mixed = generator.sample(runs, len(runs))
    before, after = (
        used_of(
            [run[0] for run in order], [run[1] for run in order], [run[2] for run in order], True
        )
        for order in (runs, mixed)
    )
    assert before[0] == after[0]
    assert statistics.median(before[1]) == pytest.approx(statistics.median(after[1]))


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(1.5, 50))
def test_contention_changes_the_figure_little(seed: int, share: float, factor: float) -> None:
    """A share of the runs is interrupted, lasts up to 50 times as long, and refills its caches."""
    generator = random.Random(seed)
    cpu = [generator.gauss(5, 0.05) for _ in range(200)]
    quiet = statistics.median(cpu)
    switches = [int(generator.random() < share) for _ in cpu]
    cpu = [time * (1 + 0.03 * count) for time, count in zip(cpu, switches, strict=True)]
    wall = [time * (factor if count else 1) for time, count in zip(cpu, switches, strict=True)]
    _, used = used_of(wall, cpu, switches, True)
    assert statistics.median(used) == pytest.approx(quiet, rel=0.035)


def test_runs_with_cold_caches_do_not_count() -> None:
    """Short runs, a switch in every seventh, and 0.2 ms more in it and the one after it."""
    generator = random.Random(5)
    switches = [int(index % 7 == 0) for index in range(300)]
    cold = [0.2 if index % 7 < 2 else 0.0 for index in range(300)]
    cpu = [generator.gauss(1, 0.01) + more for more in cold]
    name, used = used_of([2 * time for time in cpu], cpu, switches, True)
    assert name == "settled thread CPU time"
    assert statistics.median(used) == pytest.approx(1, rel=0.01)


QUIET, HALF = [0] * 100, [0, 1] * 50


@pytest.mark.parametrize(
    ("switches", "one_thread", "estimator", "runs"),
    [
        (QUIET, True, "undisturbed wall time", 100),
        ([1] * 10 + [0] * 90, True, "undisturbed wall time", 90),
        (HALF, True, "thread CPU time", 100),
        (HALF, False, "undisturbed wall time", 50),
        ([1] * 90 + [0] * 10, False, "wall time", 100),
        (None, True, "thread CPU time", 100),
        (None, False, "wall time", 100),
    ],
)
def test_which_runs_count(
    switches: list[int] | None, one_thread: bool, estimator: str, runs: int
) -> None:
    name, used = used_of([2.0] * 100, [1.0] * 100, switches, one_thread)
    assert (name, len(used)) == (estimator, runs)


@given(st.integers(0, 2**32), st.floats(0.2, 5), st.floats(0.5, 2))
def test_what_slows_both_networks_cancels_in_the_ratio(
    seed: int, ratio: float, slower: float
) -> None:
    """In half of the rounds the machine is slower, for both networks alike."""
    generator = random.Random(seed)
    pace = [slower if generator.random() < 0.5 else 1.0 for _ in range(40)]
    one = samples_of([ratio * generator.gauss(5, 0.02) * pace[i // 10] for i in range(400)])
    other = samples_of([generator.gauss(5, 0.02) * pace[i // 10] for i in range(400)])
    found = ratio_interval(one, other, True)
    assert found is not None
    assert found[0] == pytest.approx(ratio, rel=0.005)
    assert found[1] is not None
    assert found[1][0] <= found[0] <= found[1][1]
    assert found[1][1] - found[1][0] < 0.01 * ratio


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says() -> None:
    generator = random.Random(3)
    held = 0
    for _ in range(400):
        one, other = (
            samples_of([generator.lognormvariate(0, 0.3) for _ in range(75)], a_round=3)
            for _ in range(2)
        )
        found = ratio_interval(one, other, False)
        assert found is not None
        assert found[1] is not None
        held += found[1][0] <= 1.0 <= found[1][1]
    assert held >= 0.95 * 400 - 15


def test_a_ratio_takes_both_networks_by_one_clock() -> None:
    """The interrupted one is taken by CPU time, so the other must be too."""
    quiet = samples_of([2.0] * 100, [1.0] * 100, [0] * 100)
    disturbed = samples_of([9.0] * 100, [3.0] * 100, [0, 1] * 50)
    assert ratio_interval(disturbed, quiet, True) == (3.0, (3.0, 3.0))
    assert ratio_interval(disturbed, quiet, False) == (4.5, (4.5, 4.5))


def test_networks_without_a_common_round_have_no_ratio() -> None:
    one = Samples([1.0] * 9, [1.0] * 9, None, [0] * 9)
    assert ratio_interval(one, one._replace(rounds=[1] * 9), True) is None
    assert ratio_interval(one, one, True) == (1.0, None)


def test_a_ratio_of_runs_that_share_few_rounds_takes_all_runs() -> None:
    """Beside other programs, the settled runs of two networks may lie in different rounds."""
    first, later = [0] * 30 + [1] * 30, [1] * 20 + [0] * 40  # they share rounds 4 and 5
    one = samples_of([9.0] * 60, [2.0] * 20 + [3.0] * 40, first, a_round=5)
    other = samples_of([9.0] * 60, [1.0] * 60, later, a_round=5)
    assert list(chosen(one, True).runs) == list(range(30))
    assert list(chosen(other, True).runs) == list(range(20, 60))
    assert ratio_interval(one, other, True) == (3.0, (2.0, 3.0))  # of all 12 rounds


def test_a_run_is_settled_whatever_happened_in_the_round_before() -> None:
    """Runs that open a round follow others that were not kept and saw no switch."""
    switches = [0, 0, 0, 1] * 25
    samples = samples_of([2.0] * 100, [1.0] * 100, switches, a_round=4)
    choice = chosen(samples, True)
    assert choice.estimator == "settled thread CPU time"
    assert len(choice.runs) == 75


def test_a_ratio_takes_both_networks_by_the_same_kind_of_runs() -> None:
    """With threads a short network has runs that nobody interrupted, a long one hardly any."""
    short = samples_of([1.0, 3.0] * 50, switches=[0, 1] * 50)
    long = samples_of([10.0] * 100, switches=[1] * 95 + [0] * 5)
    assert chosen(short, False).estimator == "undisturbed wall time"
    assert chosen(long, False).estimator == "wall time"
    assert ratio_interval(long, short, False) == (5.0, (5.0, 5.0))  # 10 to 2, not to 1
