"""The growth of the front that is expected of networks."""

import random
from collections.abc import Mapping

import numpy as np
import pytest

from nas_sv2.search.asking.candidates import Candidate, Candidates
from nas_sv2.search.asking.history import History
from nas_sv2.search.asking.judge import Judge, counts_of, features_of
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.studies.estimates.accuracy_model import AccuracyModel
from nas_sv2.studies.estimates.latency_model import LatencyModel

DRAWN = Candidates(open_space("40M"), Budget(), Guidelines({})).drawn(100, random.Random(0))
MS = np.exp([one.features[0] for one in DRAWN]) / 1e6
BY_SPEED = np.argsort(MS)


def judge(
    trained: list[int], limits: Mapping[str, float] | None = None, fused: bool = False
) -> Judge:
    """Networks whose score knows nothing of their size; both targets take as long."""
    networks = [DRAWN[place] for place in trained]
    scores = np.random.default_rng(0).normal(size=len(trained))
    ms = MS[trained]
    values = np.column_stack([scores, ms, ms])
    history = History(networks, values, np.ones(len(trained), bool), [], frozenset())
    latency = LatencyModel.fitted(counts_of(DRAWN), features_of(DRAWN), MS)
    accuracy = AccuracyModel.fitted(features_of(networks), scores)
    both = {"one": latency, "other": latency}
    return Judge.of(accuracy, both, history, DRAWN, limits or {}, fused)


def growth_at(found: Judge, one: Candidate, ms: float, score: float) -> float:
    estimates = found.estimates([one])
    estimates.log_ms[:] = np.log(ms)
    estimates.log_ms_deviation[:] = 0.0
    estimates.score[:] = score
    estimates.score_deviation[:] = 0.5
    return float(found.growth(estimates)[0])


def test_a_network_that_is_faster_than_the_space_counts_as_its_fast_side() -> None:
    found = judge(list(BY_SPEED[20::4]))
    fast, best = float(np.exp(found.least_log_ms[0])), float(found.present.score.max())
    assert MS[BY_SPEED[2]] < fast < MS[BY_SPEED[8]]
    one = DRAWN[0]
    at_side = growth_at(found, one, fast, best)
    assert growth_at(found, one, fast / 4, best) == at_side > 0
    assert growth_at(found, one, 2 * fast, best) < at_side
    assert growth_at(found, one, fast, best + 0.5) > at_side


def test_a_limit_that_is_narrower_than_the_space_leaves_a_range() -> None:
    limit = float(MS[BY_SPEED[1]])
    found = judge(list(BY_SPEED[20::4]), {"one": limit, "other": limit})
    score = float(found.present.score.max())
    growths = [growth_at(found, DRAWN[0], share * limit, score) for share in (1.01, 0.9, 0.6)]
    assert growths[0] == 0 < growths[1] < growths[2]


def test_the_estimate_of_a_longer_training_gives_slow_networks_credit() -> None:
    trained = list(range(0, 60, 2))
    plain, fused = judge(trained), judge(trained, fused=True)
    expected = plain.accuracy.at(features_of([DRAWN[n] for n in trained]))[0]
    log_ms = np.log(MS[trained])
    assert plain.credit == 0
    assert fused.credit == pytest.approx(expected.std() / max(log_ms.std(), 0.2))
    own = dict(zip(map(id, fused.front), fused.present.score, strict=True))
    for number, score in zip(trained, expected, strict=True):
        longer = own.get(id(DRAWN[number]))
        assert longer is None or longer == pytest.approx(score + fused.credit * np.log(MS[number]))


def test_at_equal_latency_neither_flops_nor_anything_else_has_credit() -> None:
    """Otherwise a search finds networks that have many FLOPs for their latency."""
    plain, fused = (judge(list(BY_SPEED[20::4]), fused=fused) for fused in (False, True))
    small, large = DRAWN[BY_SPEED[5]], DRAWN[BY_SPEED[-5]]
    assert large.features[0] > small.features[0] + 0.5
    score, ms = float(plain.present.score.max()) + 0.1, float(MS[BY_SPEED[40]])
    assert growth_at(fused, small, ms, score) == growth_at(fused, large, ms, score) > 0
    assert fused.estimates([small]).score == plain.estimates([small]).score
