"""Statistics of two orders of the same networks."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas_sv2.studies.findings.rank_agreement import (
    FEWEST,
    chance_of,
    decisive,
    kendall,
    lead,
    seed_noise,
    smallest_difference,
    spearman,
)


def test_the_interval_holds_what_a_larger_sample_shows() -> None:
    generator = np.random.default_rng(3)
    truth = generator.normal(size=1000)
    ours = truth + generator.normal(size=1000)
    whole = kendalltau(ours, truth).statistic
    inside = 0
    for start in range(0, 1000, 50):
        part = slice(start, start + 20)
        found = kendall([list(ours[part])], list(truth[part]))
        assert found.low is not None and found.high is not None
        inside += found.low <= whole <= found.high
    assert inside >= 16  # of 20; 19 are expected of 95 %


def test_of_few_networks_there_is_no_interval() -> None:
    truth = list(map(float, range(FEWEST)))
    found = kendall([truth[:-1]], truth[:-1])
    assert (found.value, found.low, found.high, found.above_zero) == (1, None, None, None)
    assert str(found) == f"1.00 (no interval, under {FEWEST} networks)"
    found = kendall([truth], truth)
    assert (found.value, found.low, found.high, found.above_zero) == (1, 1, 1, True)
    assert str(found) == "1.00 (no interval, all resamples alike)"
    found = spearman([[1.0, 0, *truth[2:]]], truth)
    assert " to " in str(found)


def test_chance_is_small_for_agreement_and_large_for_none() -> None:
    truth = list(map(float, range(16)))
    assert chance_of([truth], truth) < 0.001
    assert chance_of([truth[::-1]], truth) > 0.99


def test_an_order_without_any_difference_agrees_with_none() -> None:
    """A network that learnt nothing scores the same as every other."""
    truth = list(map(float, range(12)))
    alike = [0.5] * 12
    assert chance_of([alike], truth) == chance_of([truth], alike) == 1
    assert chance_of([truth, alike], truth) == 1
    for found in (
        kendall([alike], truth),
        spearman([truth], alike),
        lead([alike], [truth], truth),
    ):
        assert (found.value, found.low, found.above_zero) == (None, None, None)
        assert str(found) == "none (all ranked alike)"


def test_the_lead_over_itself_is_nothing() -> None:
    truth = list(map(float, range(12)))
    ours = [1.0, 0, 2, 4, 3, 5, 6, 8, 7, 9, 11, 10]
    same = lead([ours], [ours], truth)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert lead([truth], [truth[::-1]], truth).value == pytest.approx(2)


def test_only_pairs_beyond_the_gap_are_decisive_and_ties_are_not_right() -> None:
    truth = [0.0, 0.1, 1.0, 2.0]
    found = decisive([[0.0, 5.0, 1.0, 1.0]], truth, gap=0.5)
    assert found.pairs == 5
    assert found.right == 2  # 0<2, 0<3; 1 is ahead of both, and 2 = 3 tells nothing
    assert decisive([truth], truth, gap=9).share is None


def test_noise_is_that_of_one_training_and_a_seed_for_all_is_none() -> None:
    generator = np.random.default_rng(0)
    networks, seeds = 400, 3
    quality = generator.normal(0, 5, (networks, 1))
    for_all = generator.normal(0, 7, (1, seeds))
    scores = quality + for_all + generator.normal(0, 0.5, (networks, seeds))
    assert seed_noise([list(row) for row in scores]) == pytest.approx(0.5, rel=0.1)
    assert seed_noise([[1.0], [2.0]]) is None


def test_the_smallest_difference_is_exceeded_once_in_twenty() -> None:
    generator = np.random.default_rng(1)
    gaps = generator.normal(0, 0.3, (2, 20_000, 2)).mean(2)
    beyond = np.abs(gaps[0] - gaps[1]) > smallest_difference(0.3, 2)
    assert beyond.mean() == pytest.approx(0.05, abs=0.005)
