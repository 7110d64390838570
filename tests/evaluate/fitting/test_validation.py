"""How good a network is on images of even and of uneven classes."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.evaluation import Evaluation, average_evaluations
from nas_sv2.evaluate.fitting.validation import (
    Answers,
    Validation,
    count_answers,
    describe_balance,
    describe_counts,
    mean_average_precision,
    validate,
)
from nas_sv2.evaluate.recipes.recipe import ClassWeights, Recipe

NORMALISE = Normalise(torch.zeros(3), torch.ones(3))


class Reads(torch.nn.Module):
    """A network that names the class which an image has as its grey level."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 5 * torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), self.classes).float()


def part_of(labels: list[int], named: list[int]) -> Part:
    levels = torch.tensor(named, dtype=torch.uint8)
    return Part(levels[:, None, None, None].expand(-1, 3, 2, 2), torch.tensor(labels))


def test_always_the_commonest_class_is_no_better_than_chance_when_balanced() -> None:
    part = part_of([0] * 500 + [1] * 2, [0] * 502)
    found = validate(Reads(2), part, NORMALISE, "cpu")
    assert found.accuracy == found.majority == 500 / 502
    assert (found.balanced_accuracy, found.images, found.classes) == (0.5, 502, 2)
    assert found.describe_figure() == "top-1 99.60% (balanced 50.00%)"


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_figures_are_those_of_scikit_learn(classes: int) -> None:
    random = np.random.default_rng(classes)
    labels = random.integers(0, classes - 1, 300).tolist()  # the last class has no image
    named = random.integers(0, classes, 300).tolist()
    part = part_of(labels, named)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        wanted = balanced_accuracy_score(labels, named)
    found = validate(Reads(classes), part, NORMALISE, "cpu")
    assert found.balanced_accuracy == pytest.approx(wanted)
    assert found.macro_f1 == pytest.approx(f1_score(labels, named, average="macro"))
    assert found.accuracy == np.mean(np.equal(labels, named))
    assert found.majority == np.bincount(labels).max() / 300
    halves = [
        count_answers(Reads(classes), Part(part.images[i::2], part.labels[i::2]), NORMALISE, "cpu")
        for i in (0, 1)
    ]
    both = Answers(*(getattr(halves[0], f) + getattr(halves[1], f) for f in Answers.__slots__))
    for field in dataclasses.fields(Validation):
        assert getattr(both.validation, field.name) == pytest.approx(getattr(found, field.name))


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 4))
def test_mean_ap_is_the_precision_at_each_image_with_the_label(
    seed: int, count: int, width: int
) -> None:
    random = np.random.default_rng(seed)
    scores = random.permutation(count * width).reshape(count, width).astype(np.float32)
    labels = random.integers(0, 2, (count, width)).astype(np.float32)
    labels[0, 0] = 1
    wanted = []
    for own, score in zip(labels.T, scores.T, strict=True):
        ranked = own[np.argsort(-score)]
        at = np.flatnonzero(ranked)
        if len(at):
            wanted.append(np.mean([ranked[: place + 1].mean() for place in at]))
    assert mean_average_precision(scores, labels) == pytest.approx(np.mean(wanted))


def test_no_label_at_all_and_scores_that_are_no_numbers_have_no_mean_ap() -> None:
    zeros, ones = np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32)
    assert np.isnan(mean_average_precision(ones, zeros))
    assert np.isnan(mean_average_precision(ones * np.nan, ones))


class Levels(torch.nn.Module):
    """A network whose logits are the grey levels of the first row."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, :]


def test_images_with_several_labels_are_validated_by_mean_ap() -> None:
    levels = torch.tensor([[9, 1], [5, 2], [1, 9]], dtype=torch.uint8)
    part = Part(levels[:, None, None].expand(3, 1, 2, 2), torch.tensor([[1.0, 0], [0, 0], [1, 1]]))
    found = validate(Levels(), part, Normalise(torch.zeros(1), torch.ones(1)), "cpu", "mean_ap")
    assert found.mean_ap == found.score("mean_ap") == pytest.approx((5 / 6 + 1) / 2)
    assert (found.accuracy, found.images, found.classes) == (None, 3, 2)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(levels.float(), part.labels)
    assert found.loss == pytest.approx(float(loss))
    assert found.describe("mean_ap") == f"mean AP 91.67%, cross-entropy {found.loss:.4f}"
    assert describe_counts(part.labels, "ab", Recipe("r", 1)) == []


@pytest.mark.parametrize(
    ("counts", "uneven"),
    [
        ((250, 250), False),
        ((300, 200), False),
        ((375, 125), True),
        ((500, 2), True),
        ((10, 10, 9), False),
        ((15, 8, 7), True),
        ((1, 1, 1, 1), False),
    ],
)
def test_uneven_classes_are_said_with_their_name(counts: tuple[int, ...], uneven: bool) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    part = part_of(labels, labels)
    data = ImageData("x", "0", tuple("abcd"[: len(counts)]), part, part)
    said = describe_balance(part, data)
    assert bool(said) == uneven
    share = f"{max(counts) / sum(counts):.2%} of the images to validate are of class a"
    assert all(share in line for line in said)


@pytest.mark.parametrize(
    ("counts", "weights", "lopsided"),
    [
        ((20, 2), "none", True),
        ((20, 2), "balanced", False),
        ((19, 2), "none", False),
        ((5, 0, 5), "none", True),
        ((7, 7), "none", False),
    ],
)
def test_lopsided_classes_are_said_if_no_weights_were_asked_for(
    counts: tuple[int, ...], weights: ClassWeights, lopsided: bool
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    recipe = Recipe("r", 1, class_weights=weights)
    said = describe_counts(labels, "abc"[: len(counts)], recipe)
    assert bool(said) == lopsided
    for line in said:
        assert f"{max(counts)} training images of a, {min(counts)} of b" in line


def test_a_validation_gives_the_score_that_a_recipe_asks_for() -> None:
    found = Validation(0.9, 0.4, 10, balanced_accuracy=0.6, macro_f1=0.7, own=12.5)
    scores = {"accuracy": 0.9, "balanced_accuracy": 0.6, "macro_f1": 0.7, "cross_entropy": -0.4}
    assert {by: found.score(by) for by in scores} == scores
    assert found.score("my_lab.metrics:cost") == 12.5


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("accuracy", ""),
        ("cross_entropy", ""),
        ("macro_f1", ", macro F1 70.00%"),
        ("balanced_accuracy", ", balanced accuracy 60.00%"),
        ("my_lab.metrics:cost", ", my_lab.metrics:cost 12.5000"),
    ],
)
def test_a_validation_names_the_score_of_its_recipe(by: str, told: str) -> None:
    found = Validation(0.9, 0.4, 10, balanced_accuracy=0.6, macro_f1=0.7, own=12.5)
    assert found.describe(by) == f"top-1 90.00%{told}, cross-entropy 0.4000"
    assert Validation(0.9, 0.4, 10).beside(by) == ""


def test_an_evaluation_says_both_accuracies_of_uneven_classes_alone() -> None:
    plain = Evaluation(0.9901, val_images=502)
    assert (plain.describe_figure(), plain.describe_majority()) == ("99.01%", "")
    known = dataclasses.replace(plain, balanced_accuracy=0.5, majority=0.996, classes=2)
    assert known.describe_figure() == "99.01% (balanced 50.00%)"
    assert "99.60% of the 502 validation images are of one class" in known.describe_majority()
    even = dataclasses.replace(known, majority=0.5)
    assert (even.describe_figure(), even.describe_majority()) == ("99.01%", "")
    other = dataclasses.replace(known, balanced_accuracy=0.7, scores=(0.9,))
    assert average_evaluations([known, other]).balanced_accuracy == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("by", "score", "uneven", "told"),
    [
        ("accuracy", 0.9, False, "top-1 90.00%"),
        ("cross_entropy", -0.4, False, "top-1 90.00%"),
        ("macro_f1", 0.7, False, "top-1 90.00%, macro F1 70.00%"),
        ("balanced_accuracy", 0.6, False, "top-1 90.00%, balanced accuracy 60.00%"),
        ("balanced_accuracy", 0.6, True, "top-1 90.00% (balanced 60.00%)"),
        ("training_speed", -1.25, False, "top-1 90.00%, mean training loss 1.2500 nats"),
        ("lab:cost", -2.5, False, "top-1 90.00%, lab:cost -2.5000"),
    ],
)
def test_an_evaluation_names_its_score_once(
    by: str, score: float, uneven: bool, told: str
) -> None:
    found = Evaluation(
        *(0.9, 0.4),
        balanced_accuracy=0.6,
        majority=0.9 if uneven else 0.5,
        classes=2,
        scored_by=by,
        scores=(score,),
    )
    assert found.describe() == told


def test_an_evaluation_of_an_older_version_has_no_balance() -> None:
    fields = json.loads(Evaluation(0.5).to_json())
    for name in ("balanced_accuracy", "majority", "classes", "mean_ap"):
        del fields[name]
    assert Evaluation.from_json(json.dumps(fields)) == Evaluation(0.5)
