"""Expected hypervolume improvement against Monte Carlo, and points that are spread."""

from dataclasses import replace

import numpy as np
import pytest

from nas_sv2.studies.estimates.improvement import (
    MOST_BOXES,
    Estimates,
    Reference,
    expected_improvement,
    non_dominated,
    spread,
)

DRAWS = 400_000


def some(count: int, targets: int, seed: int) -> Estimates:
    draw = np.random.default_rng(seed)
    return Estimates(
        draw.uniform(0.2, 0.9, count),
        draw.uniform(0.05, 0.3, count),
        draw.uniform(0.1, 0.9, (count, targets)),
        draw.uniform(0.02, 0.2, (count, targets)),
    )


def by_monte_carlo(asked: Estimates, front: Estimates, reference: Reference) -> np.ndarray:
    """Draw points of a box: the share that a network reaches and the front does not."""
    draw, targets = np.random.default_rng(9), front.log_ms.shape[1]
    lowest, highest = -1.0, 2.5
    score = draw.uniform(reference.score, highest, DRAWS)
    log_ms = draw.uniform(lowest, reference.log_ms, (DRAWS, targets))
    free = np.ones(DRAWS, dtype=bool)
    for level, fast in zip(front.score, front.log_ms, strict=True):
        free &= ~((score <= level) & np.all(log_ms >= fast, axis=1))
    volume = (highest - reference.score) * np.prod(reference.log_ms - lowest)
    found = []
    for number in range(len(asked.score)):
        one = asked.of(np.array([number]))
        becomes = draw.normal(one.score, one.score_deviation, DRAWS)
        takes = draw.normal(one.log_ms, one.log_ms_deviation, (DRAWS, targets))
        reached = free & (score <= becomes) & np.all(log_ms >= takes, axis=1)
        found.append(volume * reached.mean())
    return np.array(found)


@pytest.mark.parametrize("targets", [1, 2, 3])
def test_it_is_the_mean_growth_of_the_hypervolume(targets: int) -> None:
    asked, front = some(3, targets, 0), some(6, targets, 1)
    reference = Reference(0.3, np.full(targets, 0.8))
    expected = by_monte_carlo(asked, front, reference)
    assert expected_improvement(asked, front, reference) == pytest.approx(expected, abs=0.01)


def test_a_network_without_doubt_adds_its_rectangle() -> None:
    front = Estimates(np.array([0.5]), np.zeros(1), np.array([[0.5]]), np.zeros((1, 1)))
    asked = Estimates(
        np.array([0.7, 0.4, 0.4]), np.zeros(3), np.array([[0.2], [0.6], [0.3]]), np.zeros((3, 1))
    )
    growth = expected_improvement(asked, front, Reference(0.0, np.array([1.0])))
    faster, slower = 0.3 * 0.7, 0.5 * 0.2  # up to the front's latency, and beyond it
    assert growth == pytest.approx([faster + slower, 0.0, 0.2 * 0.4])


def test_nothing_counts_beyond_the_corner() -> None:
    nobody = some(0, 1, 0)
    asked = Estimates(np.array([0.9]), np.zeros(1), np.array([[1.2]]), np.zeros((1, 1)))
    assert expected_improvement(asked, nobody, Reference(0.0, np.array([1.0]))) == [0.0]


def test_a_large_front_of_three_latencies_is_thinned() -> None:
    asked, front = some(4, 3, 0), some(400, 3, 1)
    assert non_dominated(front.score, front.log_ms).sum() > MOST_BOXES ** (1 / 3)
    assert np.all(expected_improvement(asked, front, Reference(0.3, np.full(3, 0.8))) >= 0)


def test_a_large_front_of_equal_scores_is_thinned_by_its_latencies() -> None:
    asked, front = some(4, 3, 0), some(400, 3, 1)
    front = replace(front, score=np.full(400, 0.5))
    assert non_dominated(front.score, front.log_ms).sum() > MOST_BOXES ** (1 / 3)
    growth = expected_improvement(asked, front, Reference(0.3, np.full(3, 0.8)))
    assert np.all(np.isfinite(growth)) and np.all(growth >= 0)


def test_points_are_spread_from_those_that_are_known() -> None:
    line = np.arange(11.0)[:, None]
    assert spread(line, 2, np.array([[0.0]])) == [10, 5]
    assert spread(line, 3, line[:0]) == [5, 0, 10]
