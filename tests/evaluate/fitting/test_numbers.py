"""Trainings on images with a number each, and what such data refuse."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.course import Step
from nas_sv2.evaluate.fitting.evaluation import Evaluation, Figure
from nas_sv2.evaluate.fitting.evaluator import Setting
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.learners import NetworkLearner
from nas_sv2.evaluate.fitting.start import Start
from nas_sv2.evaluate.fitting.validation import Validation, describe_balance, validate
from nas_sv2.evaluate.full.int8_training import check_int8_training
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.proxy.training import ProxyTraining, choose_recipe
from nas_sv2.evaluate.proxy.untrained_scores import untrained_scores
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights, weights_of
from nas_sv2.space.units.architecture import Architecture, Stage

SHORT = Recipe("short", 8, batch=20, learning_rate=0.1, score="mae", label_smoothing=0, shift=0)
SMALL = Architecture(
    stem=(8,), stages=(Stage(1, 16),), head=32, resolution=12, channels=1, stem_pool=False
)


def squares(count: int, seed: int) -> Part:
    """Squares on noise, whose number is 10 times their side after the year 2000."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 40, (count, 1, 12, 12), generator=generator)
    sides = torch.randint(2, 11, (count,), generator=generator)
    for image, side in zip(images, sides.tolist(), strict=True):
        row, column = torch.randint(0, 13 - side, (2,), generator=generator).tolist()
        image[0, row : row + side, column : column + side] += 180
    return Part(images.to(torch.uint8), 2000 + 10 * sides.float())


@pytest.fixture(scope="module")
def years() -> ImageData:
    return ImageData("squares", "k", ("year",), squares(300, 0), squares(100, 1))


def answers_of(found: Any, weights: Any, data: ImageData, training: Any) -> Validation:
    module, graph = build_module(lower(found)), lower(found)
    load_weights(module, graph, weights)
    return validate(module, data.val, training.normalise, "cpu", "mae")


def test_a_short_training_beats_the_median_in_the_unit_of_the_labels(years: ImageData) -> None:
    training = ProxyTraining(SHORT, years)
    trained = training.train(SMALL)
    found, scale = trained.evaluation, LabelScale.of(years.train.labels)
    assert scale is not None and found.mae is not None
    assert 0 < found.mae < scale.baseline / 2
    assert (found.accuracy, found.loss, found.score) == (None, None, -found.mae)
    assert found.describe() == f"MAE {found.mae:.4g}" and "%" not in found.describe()
    assert Evaluation.from_json(found.to_json()) == found
    plain = answers_of(trained.architecture, trained.weights, years, training)
    assert plain.mae == pytest.approx(found.mae, rel=1e-4)


def test_seeds_are_averaged(years: ImageData) -> None:
    mean = ProxyTraining(dataclasses.replace(SHORT, epochs=1, seeds=2), years).evaluate(SMALL)
    assert mean.mae == pytest.approx(-sum(mean.scores) / 2)
    assert mean.describe_spread().startswith("±") and "%" not in mean.describe_spread()


def test_the_loss_is_the_error_in_standard_deviations(years: ImageData) -> None:
    training = ProxyTraining(SHORT, years)
    graph, scale = lower(training.adapt(SMALL)), training.scale
    module = build_module(graph, torch.Generator().manual_seed(1))
    assert scale is not None
    scale.apply(module, graph)
    learner = NetworkLearner.of(module, training.batches, SHORT)
    inputs, labels = next(training.batches.one_pass(torch.Generator().manual_seed(2)))
    with torch.no_grad():
        answers = module.train()(inputs)[:, 0]
    loss, stopped = learner.learn(Step(0, 9, 0.0), inputs, labels)
    wanted = (answers - labels).abs().mean() / years.train.labels.std(correction=0)
    assert loss == pytest.approx(float(wanted), rel=1e-4) and stopped is None


@pytest.mark.parametrize(("offset", "unit"), [(0.0, 1e-3), (2000.0, 5.0), (-7.0, 1e5)])
def test_folding_changes_no_answer_and_is_undone(offset: float, unit: float) -> None:
    labels = offset + unit * torch.randn(50, generator=torch.Generator().manual_seed(3))
    scale, graph = LabelScale.of(labels), lower(dataclasses.replace(SMALL, classes=1))
    assert scale is not None
    module = build_module(graph, torch.Generator().manual_seed(4)).eval()
    before = weights_of(module)
    images = torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(5))
    scale.apply(module, graph)
    folded = build_module(graph).eval()
    load_weights(folded, graph, scale.folded(before, graph))
    with torch.no_grad():
        apart = (module(images) - folded(images)).abs().max()
    assert apart < 1e-5 * (abs(offset) + unit)
    scale.unfold(folded, graph)
    for name, array in weights_of(folded).items():
        assert array == pytest.approx(before[name], abs=1e-4)


def test_equal_seeds_learn_alike_in_every_unit(years: ImageData) -> None:
    """A unit of the labels changes nothing but the unit of the error."""
    parts = [Part(each.images, each.labels * 1024) for each in (years.train, years.val)]
    other = dataclasses.replace(years, train=parts[0], val=parts[1])
    recipe = dataclasses.replace(SHORT, epochs=1)
    ours, theirs = (ProxyTraining(recipe, data).evaluate(SMALL).mae for data in (years, other))
    assert ours is not None and theirs == pytest.approx(1024 * ours, rel=1e-3)


def test_a_full_training_starts_from_weights_in_the_unit_of_the_labels(
    years: ImageData, tmp_path: Path
) -> None:
    full = FullTraining(validation_resize=12, random_erase=0.3, ema=True)
    recipe = dataclasses.replace(SHORT, resolution=12, full_training=full)
    data = dataclasses.replace(years, test=years.val)
    said: list[str] = []
    trained = FullRun(recipe, data, tmp_path / "a", notify=said.append).train(SMALL)
    assert any("always answering their median" in line for line in said)
    assert trained.network.classes == 1
    assert trained.test is not None and trained.test.mae == trained.validation.mae
    assert trained.validation.describe("mae") == f"MAE {trained.validation.mae:.4g}"
    header = (tmp_path / "a" / "log.csv").read_text().splitlines()[0]
    assert "val_mae" in header and "val_accuracy" not in header
    still = dataclasses.replace(SHORT, epochs=1, learning_rate=1e-9)
    run = FullRun(still, years, tmp_path / "b", start=Start(trained.weights, "a"))
    again = run.train(trained.network)
    assert trained.validation.mae is not None
    assert again.validation.mae == pytest.approx(trained.validation.mae, rel=0.05)
    plain = answers_of(again.network, again.weights, years, run)
    assert plain.mae == pytest.approx(again.validation.mae, rel=1e-3)


def test_a_killed_training_comes_to_the_same_bits(years: ImageData, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, steps: int) -> None:
        if done == steps // 2:
            raise Killed

    recipe = dataclasses.replace(SHORT, epochs=2)
    whole = FullRun(recipe, years, tmp_path / "whole").train(SMALL)
    with pytest.raises(Killed):
        FullRun(recipe, years, tmp_path / "cut", progress=kill).train(SMALL)
    resumed = FullRun(recipe, years, tmp_path / "cut").train(SMALL)
    for name, array in whole.weights.items():
        assert np.array_equal(array, resumed.weights[name]), name


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing"),
        ({"classes": 2}, "classes"),
        ({"class_weights": "balanced"}, "class_weights"),
        ({"score_form": "int8"}, "score_form"),
        ({"full_training": FullTraining(12, mixup=0.2)}, "mixup"),
        ({"full_training": FullTraining(12, cutmix=1.0)}, "cutmix"),
    ],
)
def test_a_field_that_means_nothing_for_numbers_is_refused(
    fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError, match="with the score mae") as refused:
        dataclasses.replace(SHORT, **fields)
    assert refused.value.field == field


def test_a_training_with_the_rounding_of_int8_refuses_numbers() -> None:
    with pytest.raises(ConfigError, match="left out for images with a number each"):
        check_int8_training(SHORT, None, 1)


def test_untrained_scores_are_of_the_loss_of_numbers(years: ImageData) -> None:
    """The gradient is that of the error in deviations, whatever the unit of the labels."""
    other = Part(years.train.images, years.train.labels * 1024)
    scores = [
        untrained_scores(SMALL, dataclasses.replace(years, train=part), SHORT)
        for part in (years.train, other)
    ]
    assert scores[0]["grad_norm"] > 0
    assert scores[1] == pytest.approx(scores[0], rel=1e-3)


@pytest.mark.parametrize("score", ["accuracy", "cross_entropy", "mean_ap", "lab:own"])
def test_numbers_have_no_other_score(score: str, years: ImageData) -> None:
    with pytest.raises(ConfigError, match=r"must be one of mae for images with a number each"):
        choose_recipe(dataclasses.replace(SHORT, score=score)).open(years, Setting())


def test_mae_is_refused_for_classes(blobs: ImageData) -> None:
    with pytest.raises(ConfigError, match="for images with one class each"):
        choose_recipe(SHORT).open(blobs, Setting())


@pytest.mark.parametrize("offset", [7.0, 1e7])
def test_numbers_that_hardly_differ_are_refused(offset: float, years: ImageData) -> None:
    labels = torch.full((300,), offset)
    labels[0] += offset > 10
    equal = dataclasses.replace(years, train=Part(years.train.images, labels))
    with pytest.raises(ConfigError, match=r"must differ by more than 0\.0001 of their mean"):
        choose_recipe(SHORT).open(equal, Setting())


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_data_hold_finite_numbers_alone(wrong: float, years: ImageData) -> None:
    labels = years.val.labels.clone()
    labels[4] = wrong
    with pytest.raises(ConfigError, match="finite float32"):
        dataclasses.replace(years, val=Part(years.val.images, labels))


def test_one_line_says_which_error_is_to_be_beaten(years: ImageData) -> None:
    (line,) = describe_balance(years.val, years)
    baseline = (years.train.labels - years.train.labels.median()).abs().mean()
    assert line.startswith("year of the training images: mean 2059")
    assert line.endswith(f"has an MAE of {float(baseline):.4g} on them")


def test_a_kept_sample_knows_numbers(years: ImageData, tmp_path: Path) -> None:
    DataSample.of(years).write(tmp_path / "sample")
    assert DataSample.read(tmp_path / "sample").kind == "numbers"


def test_a_lower_error_is_better_and_no_share() -> None:
    good, bad = Figure("mae", 0.5), Figure("mae", 12345.6)
    assert good.score > bad.score
    assert (good.describe(), bad.describe(), good.title) == (
        "0.5",
        "12,346",
        "mean absolute error",
    )
    assert good.change_from(Figure("mae", 0.75)) == "-0.25"
    assert bad.is_near(Figure("mae", 12400.0), 0.01) and not good.is_near(bad, 0.01)
    assert not good.is_near(Figure("accuracy", 0.5), 0.01)
