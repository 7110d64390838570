"""Trainings on images that have several labels each, and what such data refuse."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.course import Step
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.fitting.evaluator import Setting
from nas_sv2.evaluate.fitting.learners import NetworkLearner
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.proxy.training import ProxyTraining, choose_recipe
from nas_sv2.evaluate.proxy.untrained_scores import untrained_scores
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.units.architecture import Architecture, Stage

SHORT = Recipe("short", 6, batch=20, learning_rate=0.1, score="mean_ap", flip=False, shift=0)
SMALL = Architecture(
    stem=(8,), stages=(Stage(1, 16),), head=32, resolution=8, channels=1, stem_pool=False
)


@pytest.fixture(scope="module")
def corners() -> ImageData:
    """Three labels: the corners that are bright, each on its own."""
    parts = []
    for seed, count in ((0, 200), (1, 80)):
        generator = torch.Generator().manual_seed(seed)
        labels = (torch.rand(count, 3, generator=generator) < 0.4).float()
        images = torch.randint(0, 40, (count, 1, 8, 8), generator=generator)
        for at, (row, column) in enumerate(((0, 0), (0, 5), (5, 0))):
            images[:, 0, row : row + 3, column : column + 3] += (
                180 * labels[:, at, None, None].long()
            )
        parts.append(Part(images.to(torch.uint8), labels))
    train, val = parts
    return ImageData("corners", "k", ("left", "right", "low"), train, val)


def test_a_short_training_learns_each_label(corners: ImageData) -> None:
    found = ProxyTraining(SHORT, corners).evaluate(SMALL)
    chance = float(corners.val.labels.mean())
    assert found.mean_ap is not None and found.mean_ap > chance + 0.3
    assert (found.accuracy, found.score, found.classes) == (None, found.mean_ap, 3)
    assert found.describe() == f"mean AP {found.mean_ap:.2%}"
    assert Evaluation.from_json(found.to_json()) == found
    two = dataclasses.replace(SHORT, epochs=1, seeds=2)
    mean = ProxyTraining(two, corners).evaluate(SMALL)
    assert mean.mean_ap == pytest.approx(sum(mean.scores) / 2)


def test_the_loss_is_the_mean_of_the_binary_ones(corners: ImageData) -> None:
    training = ProxyTraining(dataclasses.replace(SHORT, label_smoothing=0.2), corners)
    module = build_module(lower(training.adapt(SMALL)), torch.Generator().manual_seed(1))
    learner = NetworkLearner.of(module, training.batches, training.recipe)
    inputs, labels = next(training.batches.one_pass(torch.Generator().manual_seed(2)))
    with torch.no_grad():
        logits = module.train()(inputs)
    loss, stopped = learner.learn(Step(0, 9, 0.0), inputs, labels)
    wanted = functional.binary_cross_entropy_with_logits(logits, labels * 0.8 + 0.1)
    assert loss == pytest.approx(float(wanted), rel=1e-4) and stopped is None


def test_untrained_scores_are_of_the_binary_losses(corners: ImageData) -> None:
    scores = untrained_scores(SMALL, corners, SHORT)
    turned = dataclasses.replace(corners.train, labels=1 - corners.train.labels)
    other = untrained_scores(SMALL, dataclasses.replace(corners, train=turned), SHORT)
    assert scores["grad_norm"] > 0 and scores["grad_norm"] != other.pop("grad_norm")
    assert all(scores[name] == value for name, value in other.items())


@pytest.mark.parametrize("mixes", [{}, {"mixup": 0.2, "random_erase": 0.5}])
def test_a_full_training_names_its_mean_ap(
    mixes: dict[str, float], corners: ImageData, tmp_path: Path
) -> None:
    full = FullTraining(validation_resize=8, **mixes) if mixes else None  # type: ignore[arg-type]
    recipe = dataclasses.replace(SHORT, epochs=2, resolution=8, full_training=full, stem_stride=2)
    data = dataclasses.replace(corners, test=corners.val)
    trained = FullRun(recipe, data, tmp_path).train(SMALL)
    assert trained.network.classes == 3
    assert trained.test is not None and trained.test.mean_ap == trained.validation.mean_ap
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert "val_mean_ap" in header and "val_accuracy" not in header


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"score": "accuracy"}, "recipe.score"),
        ({"score": "macro_f1"}, "recipe.score"),
        ({"score": "balanced_accuracy"}, "recipe.score"),
        ({"classes": 2}, "recipe.classes"),
        ({"class_weights": "balanced"}, "recipe.class_weights"),
    ],
)
def test_a_recipe_for_one_class_an_image_is_refused(
    fields: dict[str, Any], field: str, corners: ImageData
) -> None:
    with pytest.raises(ConfigError) as refused:
        choose_recipe(dataclasses.replace(SHORT, **fields)).open(corners, Setting())
    assert refused.value.field == field


def test_mean_ap_is_refused_for_one_class_an_image(blobs: ImageData) -> None:
    with pytest.raises(ConfigError, match="for images with one class each"):
        choose_recipe(SHORT).open(blobs, Setting())


def test_data_hold_0_and_1_alone(corners: ImageData) -> None:
    val = corners.val
    for labels in (
        val.labels * 2,
        val.labels[:, :2],
        val.labels.double(),
        val.labels[:, 0].long(),
    ):
        with pytest.raises(ConfigError, match="labels of 0 and 1"):
            dataclasses.replace(corners, val=Part(val.images, labels))


def test_a_kept_sample_knows_several_labels(corners: ImageData, tmp_path: Path) -> None:
    DataSample.of(corners).write(tmp_path / "sample")
    assert DataSample.read(tmp_path / "sample").kind == "labels"


@pytest.mark.parametrize(("accuracy", "mean_ap"), [(None, None), (0.5, 0.5)])
def test_an_evaluation_has_one_figure(accuracy: float | None, mean_ap: float | None) -> None:
    with pytest.raises(EvaluationError, match="must have one of accuracy, mean_ap, mae, box_ap"):
        Evaluation(accuracy, mean_ap=mean_ap)
