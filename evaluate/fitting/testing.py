"""Contract tests of an evaluator; they need pytest.

A class of yours with a fixture `evaluator` inherits them:

    from nas_sv2.testing import EvaluatorTests

    class TestMyEvaluator(EvaluatorTests):
        @pytest.fixture
        def evaluator(self):
            return MyEvaluator()
"""

import dataclasses
import math
import random

import numpy as np
import pytest

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.fitting.evaluator import Evaluator
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference


class EvaluatorTests:
    """The tests that every evaluator passes; a class that inherits them gives `evaluator`."""

    @pytest.fixture
    def architecture(self) -> Architecture:
        """Return a network that the evaluator knows; give another if it does not know this one."""
        return reference("shufflenet_v2_x0_5")

    def test_it_has_a_name(self, evaluator: Evaluator) -> None:
        """Studies and records keep the name."""
        assert isinstance(evaluator.name, str)
        assert evaluator.name.strip()

    def test_it_gives_an_accuracy(self, evaluator: Evaluator, architecture: Architecture) -> None:
        """An accuracy is a share, and all figures are finite."""
        found = evaluator.evaluate(architecture)
        assert isinstance(found, Evaluation)
        assert 0 <= found.accuracy <= 1
        assert found.loss is None or math.isfinite(found.loss)
        assert all(map(math.isfinite, found.scores))
        assert found.seconds >= 0

    def test_an_evaluation_can_be_stored(
        self, evaluator: Evaluator, architecture: Architecture
    ) -> None:
        """A database keeps an evaluation as JSON."""
        found = evaluator.evaluate(architecture)
        assert Evaluation.from_json(found.to_json()) == found

    def test_the_same_network_gets_the_same_answer(
        self, evaluator: Evaluator, architecture: Architecture
    ) -> None:
        """A killed search may evaluate a network again."""
        first, again = (_without_times(evaluator.evaluate(architecture)) for _ in range(2))
        assert first == again

    def test_global_seeds_are_left_alone(
        self, evaluator: Evaluator, architecture: Architecture
    ) -> None:
        """A sampler of the search may draw from the global generators."""
        before = random.getstate(), str(np.random.get_state())
        evaluator.evaluate(architecture)
        assert (random.getstate(), str(np.random.get_state())) == before


def _without_times(evaluation: Evaluation) -> Evaluation:
    return dataclasses.replace(evaluation, seconds=0, images_per_second=0)
