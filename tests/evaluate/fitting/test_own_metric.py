"""A metric of the user's own: what it is given, and what is refused."""

import dataclasses
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluator import Setting
from nas_sv2.evaluate.fitting.own_metric import apply_metric, open_metric, try_score
from nas_sv2.evaluate.proxy.training import ProxyTraining, choose_recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.units.architecture import Architecture

SHORT = Recipe("short", epochs=1, batch=20, learning_rate=0.05)
LABELS = torch.tensor([0, 1, 2, 1])


def top1(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Top-1 in per cent, of arrays as documented; a metric may write into them."""
    assert logits.dtype == np.float32 and labels.dtype == np.int64
    right = float(np.mean(logits.argmax(1) == labels)) * 100
    logits[:], labels[:] = 0, 0
    return right


def raising(logits: object, labels: object) -> float:
    raise ValueError("only two\nclasses")


class Made:
    """A metric that is an object; its class is called once to make it."""

    def __call__(self, logits: object, labels: object) -> np.float64:
        return np.float64(-3)


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = ModuleType("lab")
    made.top1, made.raising, made.Made, made.number = top1, raising, Made, 3
    made.nan = lambda logits, labels: float("nan")
    made.text = lambda logits, labels: "good"
    made.once = lambda logits: 1.0
    monkeypatch.setitem(sys.modules, "lab", made)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ("lab:missing", "no attribute 'missing'"),
        ("no_such_lab:f", "No module named 'no_such_lab'"),
        ("lab:number", "can be imported and called"),
        ("lab:raising", r"metric lab:raising failed: ValueError: only two\\nclasses"),
        ("lab:nan", "metric lab:nan must return a finite number; it returned nan"),
        ("lab:text", "metric lab:text failed: ValueError"),
        ("lab:once", "metric lab:once failed: TypeError"),
    ],
)
def test_a_metric_that_fails_is_refused_before_a_training(
    score: str, reason: str, blobs: ImageData
) -> None:
    recipe = dataclasses.replace(SHORT, score=score)
    with pytest.raises(ConfigError, match=reason) as refused:
        choose_recipe(recipe).open(blobs, Setting())
    assert refused.value.field == "score" and "\n" not in str(refused.value)


def test_a_metric_that_fails_later_fails_the_candidate_alone() -> None:
    with pytest.raises(EvaluationError, match="metric lab:nan must return a finite number"):
        metric = open_metric("lab:nan")
        assert metric is not None
        apply_metric("lab:nan", metric, torch.zeros(4, 3), LABELS)


def test_scores_of_ours_and_objects_are_no_trouble() -> None:
    assert open_metric("macro_f1") is None
    try_score("macro_f1", LABELS, 3)
    metric = open_metric("lab:Made")
    assert metric is not None
    assert apply_metric("lab:Made", metric, torch.zeros(4, 3), LABELS) == -3


def test_candidates_are_compared_by_it_and_nothing_else_changes(
    blobs: ImageData, tiny: Architecture
) -> None:
    own = dataclasses.replace(SHORT, score="lab:top1")
    found = ProxyTraining(own, blobs).evaluate(tiny)
    plain = ProxyTraining(SHORT, blobs).evaluate(tiny)
    assert found.scored_by == "lab:top1"
    assert found.score == pytest.approx(100 * found.figure.value)
    assert (found.accuracy, found.loss) == (plain.accuracy, plain.loss)
    assert own.digest != SHORT.digest
