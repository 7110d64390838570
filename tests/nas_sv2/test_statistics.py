"""Rank correlations with ties, and Holm's tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from nas_sv2.statistics import judge_together, kendall_tau, spearman_rho

WRONG = 0.05
SCORES = st.lists(st.integers(0, 8).map(float), min_size=5, max_size=12)


def test_ties_share_their_rank() -> None:
    ours, theirs = np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4])
    # Ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4: 4.5 / √(4.5 · 5).
    assert spearman_rho(ours, theirs) == pytest.approx(0.9**0.5)
    # Five of six pairs agree, one is a tie of ours: 5 / √(5 · 6).
    assert kendall_tau(ours, theirs) == pytest.approx(5 / 30**0.5)


def test_equal_values_have_no_order() -> None:
    ours, theirs = np.ones(4), np.array([1.0, 2, 3, 4])
    assert np.isnan([spearman_rho(ours, theirs), kendall_tau(ours, theirs)]).all()


@settings(max_examples=50, deadline=None)
@given(SCORES)
def test_tau_and_rho_are_scipys(scores: list[float]) -> None:
    ours = np.array(scores)
    theirs = np.random.default_rng(len(ours)).integers(0, 8, len(ours)).astype(float)
    if len(set(scores)) == 1 or len(set(theirs)) == 1:
        return
    assert kendall_tau(ours, theirs) == pytest.approx(kendalltau(ours, theirs).statistic)
    assert spearman_rho(ours, theirs) == pytest.approx(spearmanr(ours, theirs).statistic)


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=8))
def test_holm_is_bonferroni_s_or_better_and_stops_at_the_first_tie(chances: list[float]) -> None:
    judged = judge_together(chances, WRONG)
    for chance, one in zip(chances, judged, strict=True):
        assert one.more_than_chance == (chance <= one.level)
        assert one.more_than_chance or chance > WRONG / len(chances)
    called = [chance for chance, one in zip(chances, judged, strict=True) if one.more_than_chance]
    ties = [
        chance for chance, one in zip(chances, judged, strict=True) if not one.more_than_chance
    ]
    assert max(called, default=0) <= min(ties, default=1)
    assert len({one.level for one in judged if not one.more_than_chance}) <= 1


def test_many_samples_at_once_have_the_correlation_of_each() -> None:
    ours = np.random.default_rng(0).integers(0, 4, (50, 6)).astype(float)
    theirs = ours[::-1] + np.arange(6.0)
    for statistic in (kendall_tau, spearman_rho):
        each = [float(statistic(x, y)) for x, y in zip(ours, theirs, strict=True)]
        assert statistic(ours, theirs) == pytest.approx(each, nan_ok=True)
