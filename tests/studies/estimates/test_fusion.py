"""The fusion: closed forms of linear problems, calibration, and its fall-backs."""

import numpy as np
import pytest

from nas_sv2.studies.estimates.fusion import FEWEST_LONGER, fuse

Array = np.ndarray


def problem(seed: int, count: int = 40, error: float = 0.3) -> tuple[Array, Array, Array]:
    """Networks whose longer training is log ms and the expected score in equal parts."""
    drawn = np.random.default_rng(seed)
    features = drawn.normal(size=(count, 4))
    expected = features[:, 1] + 0.5 * features[:, 2]
    scores = expected + 0.3 * drawn.normal(size=count)
    longer = 2.0 + 3.0 * (expected / expected.std() + features[:, 0])
    return features, scores, longer + 3.0 * error * drawn.normal(size=count)


def some(longer: Array, known: int) -> Array:
    return np.where(np.arange(len(longer)) < known, longer, np.nan)


def test_without_longer_trainings_both_weigh_equally_on_the_scale_of_the_recipe() -> None:
    features, scores, longer = problem(0)
    found = fuse(features, features[:, 0], scores, some(longer, FEWEST_LONGER - 1))
    assert found.longer == 0 and found.reach == pytest.approx(1.685, abs=1e-3)
    assert found.mean.mean() == pytest.approx(scores.mean())
    assert found.mean.std() == pytest.approx(scores.std() * np.sqrt(0.75))
    assert found.deviation == pytest.approx(np.full(40, scores.std() / 2), rel=0.2)
    standard = (found.mean - scores.mean()) / found.mean.std()
    by_ms = np.corrcoef(standard, features[:, 0])[0, 1]
    by_score = np.corrcoef(standard, scores)[0, 1]
    assert by_ms == pytest.approx(by_score, abs=0.1)


def test_many_longer_trainings_give_the_weights_of_least_squares() -> None:
    features, scores, longer = problem(1, 200)
    found = fuse(features, features[:, 0], scores, longer)
    table = np.column_stack([np.ones(200), features[:, 0], features[:, 1:3] @ [1, 0.5]])
    fitted = table @ np.linalg.lstsq(table, longer, rcond=None)[0]
    assert np.corrcoef(found.mean, fitted)[0, 1] > 0.99
    assert found.mean.mean() == pytest.approx(longer.mean())


def test_intervals_hold_what_they_say() -> None:
    held = []
    for seed in range(12):
        features, scores, longer = problem(seed, error=0.7)
        found = fuse(features, features[:, 0], scores, some(longer, 12))
        misses = np.abs(found.mean - longer)[12:]
        held.append(np.mean(misses < found.reach * found.deviation[12:]))
    assert 0.85 < np.mean(held) < 0.97


def test_few_trainings_are_less_sure_than_many() -> None:
    features, scores, longer = problem(4, 5)
    found = fuse(features, features[:, 0], scores, some(longer, 0))
    # Student (1908): the 0.95 quantile with 4 degrees of freedom.
    assert found.reach == pytest.approx(2.132, abs=1e-3)
    drawn = found.drawn(5, 20_000)
    above = (drawn < (found.mean + found.reach * found.deviation)[:, None]).mean(axis=1)
    assert above == pytest.approx(np.full(5, 0.95), abs=0.01)
    counted = (drawn[0] > drawn[1]).mean()
    assert found.chance_better(0, 1) == pytest.approx(counted, abs=0.015)


def test_a_network_without_a_training_is_estimated_from_the_others_and_less_sure() -> None:
    features, scores, longer = problem(2)
    known = fuse(features, features[:, 0], scores, some(longer, 0))
    scores[5] = np.nan
    found = fuse(features, features[:, 0], scores, some(longer, 0))
    assert np.isfinite(found.mean).all()
    assert found.deviation[5] > known.deviation[5]


def test_networks_of_equal_latency_are_not_ordered_by_it() -> None:
    features, scores, longer = problem(3)
    features[:, 0] *= 0.01
    found = fuse(features, features[:, 0], scores, some(longer, 0))
    assert np.corrcoef(found.mean, scores)[0, 1] > 0.9
