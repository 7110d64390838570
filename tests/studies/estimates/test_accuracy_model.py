"""The model of accuracy: known functions, and the noise of a training told apart from them."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas_sv2.studies.estimates.accuracy_model import AccuracyModel


def truth(features: np.ndarray) -> np.ndarray:
    return np.asarray(features[:, 0] + 0.5 * np.sin(features[:, 1]))


def drawn(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3))


@pytest.fixture(scope="module")
def model() -> AccuracyModel:
    features = drawn(120, 0)
    noise = 0.2 * np.random.default_rng(1).normal(size=120)
    return AccuracyModel.fitted(features, truth(features) + noise)


def test_it_foretells_networks_that_were_not_trained(model: AccuracyModel) -> None:
    others = drawn(200, 2)
    mean, deviation = model.at(others)
    errors = mean - truth(others)
    assert np.sqrt(np.mean(errors**2)) < 0.1
    assert 0.85 < np.mean(np.abs(errors) < 2 * deviation) <= 1.0


def test_it_finds_the_noise_of_a_training(model: AccuracyModel) -> None:
    assert model.noise == pytest.approx(0.2, rel=0.25)


def test_a_further_training_narrows_its_network(model: AccuracyModel) -> None:
    features, far = drawn(120, 0), np.full((1, 3), 3.0)
    more = np.vstack([features, far])
    narrower = model.with_trainings(more, truth(more))
    assert narrower.at(far)[1] < model.at(far)[1]


def test_a_feature_that_never_varies_and_equal_scores_are_taken() -> None:
    features = np.column_stack([drawn(8, 3), np.ones(8)])
    mean, deviation = AccuracyModel.fitted(features, np.zeros(8)).at(features)
    assert mean == pytest.approx(np.zeros(8)) and np.all(np.isfinite(deviation))


def test_few_trainings_are_not_taken_for_free_of_noise() -> None:
    """Of networks that eight trainings do not tell apart, 90 % lie in their 90 % intervals."""
    held = []
    for seed in range(20):
        features, drawn_noise = drawn(60, seed), np.random.default_rng(100 + seed)
        scores = truth(features) + drawn_noise.normal(size=60)
        model = AccuracyModel.fitted(features[:8], scores[:8])
        mean, deviation = model.at(features[8:])
        reach = 1.645 * np.hypot(deviation, model.noise)
        held.append(np.mean(np.abs(mean - scores[8:]) < reach))
    assert 0.75 < np.mean(held) < 0.97


def test_the_estimates_are_those_of_the_closed_form(model: AccuracyModel) -> None:
    """Further trainings narrow the posterior as Rasmussen and Williams, equation 2.24, has it."""
    features = drawn(120, 0)
    scores = truth(features) + 0.2 * np.random.default_rng(1).normal(size=120)
    others = drawn(5, 4)
    mean, covariance = model.together(others)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(model.at(others)[1])
    assert mean == pytest.approx(model.at(others)[0])
    again = model.with_trainings(np.vstack([features, others]), np.append(scores, mean))
    assert again.at(others)[1] == pytest.approx(
        np.sqrt(
            np.diag(
                covariance
                - covariance @ np.linalg.solve(covariance + model.noise**2 * np.eye(5), covariance)
            )
        ),
        rel=0.05,
    )


@pytest.mark.parametrize(
    ("kind", "gain"), [("related", 0.1), ("unrelated", -0.05), ("contrary", 0)]
)
def test_another_study_informs_as_far_as_the_trainings_bear_it_out(kind: str, gain: float) -> None:
    """Its scores are on another scale."""
    draw = np.random.default_rng(0)
    networks = draw.normal(size=(140, 6))
    score = networks @ np.array([0.5, 1, -1, 0.5, 0.8, 0.0])
    scores = {"related": score, "unrelated": draw.permutation(score), "contrary": -score}[kind]
    other = AccuracyModel.fitted(networks[:100], 70 + 5 * scores[:100])
    agreed = []
    for informing in (None, other):
        model = AccuracyModel.fitted(networks[100:110], score[100:110], informing)
        mean, deviation = model.at(networks[110:])
        together, covariance = model.together(networks[110:])
        assert np.allclose(mean, together) and np.allclose(deviation**2, np.diag(covariance))
        agreed.append(kendalltau(mean, score[110:]).statistic)
    alone, informed = agreed
    print(kind, agreed)
    assert informed > alone + gain
