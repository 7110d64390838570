"""A supernet is trained to the same weights again, killed or not, and asked to the same score."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_spaces import SMALL
from torch.nn import functional

from nas_sv2.errors import ConfigError, EvaluationError, InfeasibleError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet import training as supernet_training
from nas_sv2.evaluate.supernet.trained import (
    FACTS,
    WEIGHTS,
    SupernetEvaluator,
    open_supernet,
    save_supernet,
)
from nas_sv2.evaluate.supernet.training import CHECKPOINT, SupernetTraining
from nas_sv2.space.choices.extremes import largest, smallest
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

RECIPE = Recipe("tiny", 2, batch=20, images_per_epoch=60, norm_images=40, score="cross_entropy")
STEPS = 6


def training(data: ImageData, **changes: object) -> SupernetTraining:
    plain = SupernetTraining(SMALL, RECIPE, data, Guidelines({}), threads=1)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def stops_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, steps: int) -> None:
        assert steps == STEPS
        if done == step:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def folder(blobs: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a trained supernet."""
    folder = tmp_path_factory.mktemp("supernet")
    how = training(blobs)
    save_supernet(folder, how, how.train())
    return folder


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return open_supernet(folder).weights()


@pytest.mark.parametrize("killed_at", [(3,), (2, 5)])
def test_killed_and_gone_on_it_comes_to_equal_weights(
    blobs: ImageData,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: tuple[int, ...],
) -> None:
    monkeypatch.setattr(supernet_training, "CHECKPOINT_SECONDS", 0.0)
    told: list[str] = []
    for step in killed_at:
        with pytest.raises(KeyboardInterrupt):
            training(blobs, checkpoints=tmp_path, progress=stops_at(step)).train()
    how = training(blobs, checkpoints=tmp_path, notify=told.append)
    trained = how.train()
    assert told == [
        f"going on at step {killed_at[-1]} of {STEPS} of a training that was interrupted"
    ]
    assert (trained.steps, trained.images) == (STEPS, 120)
    expected = weights_in(folder)
    for name, weight in trained.supernet.weights().items():
        assert torch.equal(weight, expected[name]), name
    again = save_supernet(tmp_path, how, trained)
    assert again.digest == open_supernet(folder).digest
    how.finish()
    assert not (tmp_path / CHECKPOINT).exists()


def test_another_seed_gives_other_weights(blobs: ImageData, folder: Path) -> None:
    other, ours = training(blobs, seed=1).train().supernet.weights(), weights_in(folder)
    assert all(not torch.equal(other[name], ours[name]) for name in ours if "conv" in name)


def test_largest_and_smallest_learn_at_every_step(blobs: ImageData) -> None:
    how = training(blobs, random=3)
    steps = [how.networks(step) for step in range(20)]
    assert all(nets[:2] == [largest(SMALL), smallest(SMALL)] for nets in steps)
    assert len({one.digest for nets in steps for one in nets[2:]}) > 40
    assert [how.networks(step) for step in range(20)] == steps


def test_random_networks_keep_the_guidelines(blobs: ImageData) -> None:
    any_network = [one for step in range(10) for one in training(blobs).networks(step)[2:]]
    scores = sorted(-Guidelines({"G4": 1.0}).excesses(lower(one))["G4"] for one in any_network)
    limits = Guidelines({"G4": 1 - scores[10]})
    kept = [one for step in range(5) for one in training(blobs, guidelines=limits).networks(step)]
    drawn = [one for number, one in enumerate(kept) if number % 4 > 1]
    assert all(limits.excesses(lower(one))["G4"] <= 0 for one in drawn)
    with pytest.raises(InfeasibleError, match="guidelines off"):
        training(blobs, guidelines=Guidelines({"G4": 1e-9})).networks(0)


def test_a_loss_that_is_not_finite_ends_it_with_step_and_rate(blobs: ImageData) -> None:
    wild = dataclasses.replace(RECIPE, learning_rate=1e30, warm_up=0.0)
    with pytest.raises(EvaluationError, match=r"loss of .* at step \d+ of 6 \(learning rate"):
        training(blobs, recipe=wild).train()


def test_the_same_network_gets_the_same_answer(blobs: ImageData, folder: Path) -> None:
    asked = SupernetEvaluator(open_supernet(folder), blobs, threads=1)
    how = training(blobs)
    one, other = how.networks(4)[2:]
    first = asked.train(one)
    asked.evaluate(other)
    again = SupernetEvaluator(open_supernet(folder), blobs, threads=1).train(one)
    assert dataclasses.replace(first.evaluation, seconds=0) == dataclasses.replace(
        again.evaluation, seconds=0
    )
    assert all((first.weights[name] == again.weights[name]).all() for name in first.weights)
    saved = open_supernet(folder)
    assert first.evaluation.recipe == f"supernet {saved.digest} (tiny)"
    assert first.evaluation.recipe_digest not in (RECIPE.digest, saved.digest)
    assert [-score for score in first.evaluation.scores] == [first.evaluation.loss]
    assert first.evaluation.val_images == 200
    assert (first.architecture.resolution, first.architecture.stem_stride) == (16, 2)


def test_a_trained_supernet_tells_two_easy_classes_apart(blobs: ImageData, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=5, images_per_epoch=200)
    how = training(blobs, recipe=recipe, random=0)
    asked = SupernetEvaluator(save_supernet(tmp_path, how, how.train()), blobs, threads=1)
    for one in (largest(SMALL), smallest(SMALL)):
        assert asked.evaluate(one).figure.value > 0.8


def test_what_is_no_point_of_the_space_is_refused(
    blobs: ImageData, folder: Path, tiny: Architecture
) -> None:
    with pytest.raises(ConfigError, match="stem must be one of"):
        SupernetEvaluator(open_supernet(folder), blobs).evaluate(tiny)
    SupernetEvaluator(open_supernet(folder), dataclasses.replace(blobs, name="elsewhere:blobs"))
    other = dataclasses.replace(blobs, key="other")
    with pytest.raises(ConfigError, match="the supernet was trained on, blobs@k"):
        SupernetEvaluator(open_supernet(folder), other)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"width_factor": 0.5}, "width_factor"),
        ({"seeds": 2}, "seeds"),
        ({"norm_images": 0}, "norm_images"),
        ({"score": "training_speed"}, "score"),
        ({"score_form": "int8"}, "score_form"),
    ],
)
def test_a_recipe_that_shared_weights_cannot_follow_is_refused(
    blobs: ImageData, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"recipe\.{named}"):
        training(blobs, recipe=dataclasses.replace(RECIPE, **changes))  # type: ignore[arg-type]


def test_a_damaged_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    facts = (folder / FACTS).read_text()
    (tmp_path / FACTS).write_text(facts)
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-4])
    with pytest.raises(StoreError, match="damaged"):
        open_supernet(tmp_path).weights()
    (tmp_path / FACTS).write_text(json.dumps({**json.loads(facts), "space": {}}))
    with pytest.raises(ConfigError):
        open_supernet(tmp_path)
    with pytest.raises(ConfigError, match="nas-sv2 supernet train"):
        open_supernet(tmp_path / "none")


@pytest.mark.parametrize("name", ["seed", "steps", "images", "seconds"])
@pytest.mark.parametrize("value", [None, "many", True, -1, float("nan")])
def test_a_fact_that_is_cut_off_or_odd_is_named(
    folder: Path, tmp_path: Path, name: str, value: object
) -> None:
    """A search would end in a KeyError, or divide by it, after the first candidate was asked."""
    facts = json.loads((folder / FACTS).read_text())
    del facts[name]
    if value is not None:
        facts[name] = value
    (tmp_path / FACTS).write_text(json.dumps(facts))
    with pytest.raises(
        ConfigError, match=rf"{name}.*supernet\.json|supernet\.json.*{name}"
    ) as refused:
        open_supernet(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_every_network_learns_several_labels_or_a_number(
    kind: str, blobs: ImageData, tmp_path: Path
) -> None:
    """The weights in the folder answer in the unit of the labels, for every width."""
    recipe = dataclasses.replace(RECIPE, epochs=5, images_per_epoch=200, score="mean_ap")
    parts, names = (blobs.train, blobs.val), blobs.class_names
    labels = [functional.one_hot(part.labels, 2).float() for part in parts]
    if kind == "numbers":
        fields = {"score": "mae", "label_smoothing": 0, "epochs": 8, "learning_rate": 0.3}
        recipe = dataclasses.replace(recipe, flip=False, **fields)  # type: ignore[arg-type]
        labels = [2000 + 100 * part.labels.float() for part in parts]
        names = ("year",)
    train, val = (Part(part.images, each) for part, each in zip(parts, labels, strict=True))
    data = ImageData("blobs", "k", names, train, val)
    how = SupernetTraining(SMALL, recipe, data, Guidelines({}), random=0)
    asked = SupernetEvaluator(save_supernet(tmp_path, how, how.train()), data, threads=1)
    for one in (largest(SMALL), smallest(SMALL)):
        found = asked.evaluate(one)
        if kind == "labels":
            assert found.mean_ap is not None and found.mean_ap > 0.8
        else:
            assert found.mae is not None and found.mae < 20  # 50 by always answering the median
            assert (found.loss, found.score) == (None, -found.mae)
