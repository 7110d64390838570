"""The model of latency: a sum of prices is found, and what the sum misses."""

import random

import numpy as np
import pytest
from worker_program import space

from nas_sv2.search.asking.candidates import Candidate, Candidates
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.studies.estimates.latency_model import LatencyModel

PRICES = np.array([100.0, 900.0, 50.0, 20.0, 30.0, 2.0])


@pytest.fixture(scope="module")
def drawn() -> list[Candidate]:
    return Candidates(open_space("40M"), Budget(), Guidelines({})).drawn(40, random.Random(0))


def test_a_sum_of_prices_is_found(drawn: list[Candidate]) -> None:
    counted = np.array([one.counted for one in drawn])
    features = np.array([one.features for one in drawn])
    ms = counted @ PRICES
    model = LatencyModel.fitted(counted[:20], features[:20], ms[:20])
    assert model.log_ms_at(counted[20:], features[20:]) == pytest.approx(np.log(ms[20:]), abs=0.01)
    assert model.deviation < 0.01


def test_what_the_sum_misses_is_learnt_and_doubted(drawn: list[Candidate]) -> None:
    counted = np.array([one.counted for one in drawn])
    features = np.array([one.features for one in drawn])
    noise = np.random.default_rng(0).normal(0, 0.05, len(drawn))
    ms = counted @ PRICES * np.exp(0.3 * (features[:, 4] - features[:, 4].mean()) + noise)
    model = LatencyModel.fitted(counted[:30], features[:30], ms[:30])
    errors = model.log_ms_at(counted[30:], features[30:]) - np.log(ms[30:])
    assert np.std(errors) < 0.12
    assert 0.03 < model.deviation < 0.15


def test_latencies_without_noise_are_fitted() -> None:
    """SciPy's `nnls` raised "Maximum number of iterations reached" for these networks."""
    drawn = Candidates(space(), Budget(), Guidelines({})).drawn(36, random.Random(0))[16:]
    counted = np.array([one.counted for one in drawn])
    features = np.array([one.features for one in drawn])
    ms = 10 * (counted[:, 0] + counted[:, 1])  # multiply-adds
    model = LatencyModel.fitted(counted, features, ms)
    assert model.log_ms_at(counted, features) == pytest.approx(np.log(ms), abs=0.01)
