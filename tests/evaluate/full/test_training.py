import csv
import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killed_full_training as killed
import numpy as np
import pytest
import torch
from killed_training import data as halves
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from nas_sv2.errors import ConfigError, EvaluationError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Normalise, augmentation, centre_of
from nas_sv2.evaluate.fitting.batches import Batches
from nas_sv2.evaluate.fitting.determinism import stream
from nas_sv2.evaluate.fitting.learners import Average
from nas_sv2.evaluate.fitting.start import Start
from nas_sv2.evaluate.full.distributed import Processes, Share
from nas_sv2.evaluate.full.int8_training import check_int8_training
from nas_sv2.evaluate.full.training import CHECKPOINT, FullRun, find_data_resolution
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.space.units.reference import reference

SHORT = Recipe("short", 2, batch=20, images_per_epoch=100, learning_rate=0.05)
NETWORK = dataclasses.replace(killed.NETWORK, resolution=16)
CROPPED = killed.RECIPE


Apart = Callable[..., int]


@pytest.fixture(scope="module")
def train_apart(forked: Callable[..., tuple[int, Any]]) -> Apart:
    """Trains in a process that kills itself at a step; how it ended."""
    return lambda out, step=0: forked(killed, out, step)[0]


def came_to(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "came_to.json").read_text())
    return found


@pytest.fixture(scope="module")
def undisturbed(train_apart: Apart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert train_apart(out) == 0
    return out


def test_a_candidate_recipe_trains_as_it_does_in_a_search(
    blobs: ImageData, tmp_path: Path
) -> None:
    searched = ProxyTraining(SHORT, blobs, seed=3, threads=1).train(NETWORK)
    full = FullRun(SHORT, blobs, tmp_path, seed=3, threads=1).train(NETWORK)
    assert searched.architecture == full.network
    assert full.validation.figure.value == searched.evaluation.figure.value > 0.5
    assert full.validation.loss == searched.evaluation.loss
    for name, array in searched.weights.items():
        assert (full.weights[name] == array).all(), name


def test_killed_and_taken_up_comes_to_the_same_bits(
    train_apart: Apart, undisturbed: Path, tmp_path: Path
) -> None:
    for step in (3, 10):  # of 15, five a pass: in the middle of one, and before a validation
        assert train_apart(tmp_path, step) == -signal.SIGKILL
    assert train_apart(tmp_path) == 0
    found, expected = came_to(tmp_path), came_to(undisturbed)
    assert found["weights"] == expected["weights"]
    assert found["figures"] == expected["figures"]
    (said,) = found["told"]
    assert "step 10 of 15" in said
    assert log_of(tmp_path) == log_of(undisturbed)
    assert drawn(tmp_path) == drawn(undisturbed)


def log_of(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = ("train_seconds", "images_per_second")
    return [{key: row[key] for key in row if key not in measured} for row in rows]


def drawn(out: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    return [(each.step, each.value) for each in events.Scalars("pass/val_accuracy")]


def test_tensorboard_shows_every_pass(undisturbed: Path) -> None:
    accuracies = [float(row["val_accuracy"]) for row in log_of(undisturbed)]
    assert [step for step, _ in drawn(undisturbed)] == [5, 10, 15]
    assert [value for _, value in drawn(undisturbed)] == pytest.approx(accuracies)


def test_without_tensorboard_the_log_is_its_table_and_says_so(
    blobs: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told: list[str] = []
    FullRun(SHORT, blobs, tmp_path, threads=1, notify=told.append).train(NETWORK)
    assert len(log_of(tmp_path)) == SHORT.epochs
    assert not (tmp_path / "tensorboard").exists()
    assert [line for line in told if "nas-sv2[tensorboard]" in line] == told != []


def test_a_loss_that_is_not_finite_ends_it_with_step_and_rate(
    blobs: ImageData, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(SHORT, learning_rate=1e30)
    with pytest.raises(EvaluationError, match=r"at step \d+ of 10 \(learning rate \d"):
        FullRun(recipe, blobs, tmp_path, threads=1).train(NETWORK)


def test_the_folder_of_another_training_is_not_written_over(
    blobs: ImageData, tmp_path: Path
) -> None:
    FullRun(SHORT, blobs, tmp_path, threads=1).train(NETWORK)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(StoreError, match="is of another training: seed 0, not 1"):
        FullRun(SHORT, blobs, tmp_path, seed=1, threads=1).train(NETWORK)
    (tmp_path / CHECKPOINT).write_bytes(before[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        FullRun(SHORT, blobs, tmp_path, threads=1).train(NETWORK)


class Watched(nn.Module):
    """Answers with one of two classes, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.learnt, self.asked = list[Tensor](), list[Tensor]()

    def forward(self, images: Tensor) -> Tensor:
        (self.learnt if self.training else self.asked).append(images)
        answers: Tensor = self.norm(images).mean((2, 3)).repeat(1, 2)
        return answers


def test_validation_shows_the_centre_and_the_end_settles_the_norms(tmp_path: Path) -> None:
    data, module = halves(), Watched()
    run = FullRun(dataclasses.replace(CROPPED, norm_images=40), data, tmp_path)
    run.validate(module, last=False)
    assert torch.equal(torch.cat(module.asked), run.normalise(data.val.images[:, :, 1:-1, 1:-1]))
    assert {tuple(each.shape) for each in module.learnt} == {(20, 1, 14, 14)}
    assert len(module.learnt) == 2
    module.learnt.clear()
    run.validate(module, last=True)
    assert len(module.learnt) == 4


def test_raw_input_is_grey_levels_as_they_are(tmp_path: Path) -> None:
    full = FullTraining(validation_resize=16, raw_input=True)
    run = FullRun(dataclasses.replace(CROPPED, full_training=full), halves(), tmp_path)
    images = run.data.val.images[:3]
    assert torch.equal(run.normalise(images), images.float())


def test_the_test_split_is_asked_about_at_the_end(blobs: ImageData, tmp_path: Path) -> None:
    part = Part(blobs.val.images[:31], blobs.val.labels[:31])
    data = dataclasses.replace(blobs, test=part)
    trained = FullRun(SHORT, data, tmp_path, threads=1).train(NETWORK)
    assert trained.test is not None and trained.test.images == 31
    assert trained.test.figure.value > 0.5 and trained.test_int8 is None


def test_a_recipe_that_compares_by_int8_tests_that_form_too(
    blobs: ImageData, tmp_path: Path
) -> None:
    data = dataclasses.replace(blobs, test=blobs.val)
    recipe = dataclasses.replace(SHORT, score_form="int8")
    trained = FullRun(recipe, data, tmp_path, threads=1).train(NETWORK)
    assert trained.test is not None and trained.test_int8 is not None
    assert trained.test_int8.images == trained.test.images
    assert trained.test_int8.loss != trained.test.loss
    assert trained.test_int8.figure.value > 0.5


@dataclasses.dataclass
class Interrupts:
    """Ends a training at a step, as a kill would."""

    at: int

    def __call__(self, done: int, steps: int) -> None:
        if done == self.at:
            raise KeyboardInterrupt


def test_a_training_with_the_rounding_of_int8_is_resumed_to_the_same_bits(
    blobs: ImageData, tmp_path: Path
) -> None:
    weights = FullRun(SHORT, blobs, tmp_path / "float", threads=1).train(NETWORK).weights
    start = Start(weights, "float")
    run = FullRun(SHORT, blobs, tmp_path / "whole", threads=1, start=start, qat=True)
    whole = run.train(NETWORK)
    halves = dataclasses.replace(run, out=tmp_path / "halves", progress=Interrupts(7))
    with pytest.raises(KeyboardInterrupt):
        halves.train(NETWORK)
    again = dataclasses.replace(halves, progress=None).train(NETWORK)
    assert whole.int8 is not None and again.int8 is not None
    assert whole.int8 == again.int8
    assert all(np.array_equal(array, again.weights[name]) for name, array in whole.weights.items())
    assert whole.int8.trained.accuracy == pytest.approx(whole.validation.figure.value, abs=0.05)
    assert whole.int8.gain.change == pytest.approx(
        whole.int8.trained.change - whole.int8.static.change
    )
    means = [name for name in weights if name.endswith(("running_mean", "running_var"))]
    assert all(np.array_equal(weights[name], whole.weights[name]) for name in means)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"start": None}, "qat must have weights"),
        ({"processes": Processes(2)}, "qat must be trained by one process"),
        ({"recipe": dataclasses.replace(SHORT, precision="bf16")}, r"recipe\.precision .*fp32"),
        (
            {"recipe": dataclasses.replace(CROPPED, full_training=FullTraining(24, ema=True))},
            r"recipe\.ema must be false",
        ),
    ],
)
def test_what_cannot_be_rounded_is_refused(changes: dict[str, Any], named: str) -> None:
    start = Start({}, "weights")
    asked: dict[str, Any] = {"recipe": SHORT, "start": start, "processes": Processes()} | changes
    with pytest.raises(ConfigError, match=named):
        check_int8_training(asked["recipe"], asked["start"], asked["processes"].count)


@pytest.mark.parametrize("area", [0.5, 1.0])
def test_larger_images_are_brought_to_what_the_network_takes(area: float) -> None:
    recipe = Recipe("r", 1, crop_area=area, shift=0, flip=False)
    images = torch.arange(20.0).repeat(2, 3, 20, 1)
    cropped = augmentation(recipe, 16)(images, stream(0, "crop"))
    assert cropped.shape == (2, 3, 16, 16)
    assert (cropped[..., 1:] > cropped[..., :-1]).all()  # still a ramp
    assert torch.equal(cropped, centre_of(images, 16)) == (area == 1)


REFERENCE = reference("shufflenet_v2_x0_5")


@pytest.mark.parametrize(
    ("recipe", "side"),
    [
        (RECIPES["quick"], 224),
        (RECIPES["paper"], 256),
        (RECIPES["megvii"], 256),
        (RECIPES["torchvision-new"], 232),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_images_are_opened_as_large_as_the_recipe_needs(recipe: Recipe, side: int) -> None:
    assert find_data_resolution(recipe, REFERENCE) == side


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (
            dataclasses.replace(SHORT, resolution=224, full_training=FullTraining(232, 256)),
            "recipe.train_resolution must be 232 or less.*; got 256",
        ),
        (
            dataclasses.replace(SHORT, resolution=224, full_training=FullTraining(232, 16)),
            "resolution .*; got 16",
        ),
        (dataclasses.replace(SHORT, resolution=64), "recipe.resolution must be 224.*; got 64"),
        (dataclasses.replace(SHORT, seeds=2), r"recipe\.seeds .*; got 2"),
        (dataclasses.replace(SHORT, width_factor=0.5), r"recipe\.width_factor .*; got 0.5"),
        (dataclasses.replace(SHORT, precision="fp16"), "recipe.precision"),
        (
            dataclasses.replace(SHORT, full_training=FullTraining(256)),
            "recipe.resolution .*; got None",
        ),
        (
            dataclasses.replace(SHORT, resolution=224, full_training=FullTraining(200)),
            r"recipe\.validation_resize .*; got 200",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(recipe: Recipe, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_data_resolution(recipe, REFERENCE)


def test_a_network_whose_images_are_no_squares_is_trained_in_short_alone() -> None:
    wide = dataclasses.replace(REFERENCE, resolution=(96, 128))
    assert find_data_resolution(SHORT, wide) == (96, 128)
    assert find_data_resolution(dataclasses.replace(SHORT, resolution=(96, 128)), wide) == (
        96,
        128,
    )
    with pytest.raises(ConfigError, match=r"recipe.resolution must be 96×128.*; got 96"):
        find_data_resolution(dataclasses.replace(SHORT, resolution=96), wide)
    with pytest.raises(ConfigError, match="no full_training, whose images are squares: 96×128"):
        find_data_resolution(RECIPES["megvii"], wide)


def test_the_average_looks_back_as_far_as_torchvisions() -> None:
    recipe, steps = RECIPES["torchvision-new"], 600 * 1251
    average = Average.of(nn.Linear(1, 1), steps, recipe.warm_up)
    assert average.every == 32
    assert average.weight == pytest.approx(2e-5 * 1024 * 32 / 600, rel=0.001)


def test_the_average_begins_after_the_warm_up() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = Average.of(module, 100, 0.1)
    assert average.every == 4 and average.weight < 1.1

    def mean() -> float:
        return float(next(average.module.parameters()))

    for step, value, expected in ((8, 1.0, 1.0), (10, 5.0, 1.0), (12, 5.0, None)):
        nn.init.constant_(module.weight, value)
        average.update(module, step)
        assert mean() == pytest.approx(expected or 1 + average.weight * 4)


def shares(batches: Batches, count: int) -> list[Share]:
    found = [Processes(count, rank).share(batches) for rank in range(count)]
    return [each for each in found if isinstance(each, Share)]


def test_processes_share_a_batch_out_and_augment_each_in_its_own_way() -> None:
    images = torch.arange(40, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 4, 4)
    drawn: list[Tensor] = []

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        drawn.append(torch.rand(2, generator=generator))
        return images

    plain = Normalise(torch.zeros(1), torch.ones(1))
    batches = Batches(Part(images, torch.arange(40)), augment, plain, 10)
    generators = [stream(0, "order") for _ in range(2)]
    both = list(zip(shares(batches, 2), generators, strict=True))
    orders = [share.order(generator) for share, generator in both]
    assert torch.equal(*orders)
    for number in range(len(batches)):
        taken = [
            share.take(order, number, generator)
            for (share, generator), order in zip(both, orders, strict=True)
        ]
        labels = torch.cat([labels for _, labels in taken])
        assert [len(each) for _, each in taken] == [5, 5]
        expected = orders[0][number * 10 : (number + 1) * 10]
        assert set(labels.tolist()) == set(expected.tolist())
    assert not any(torch.equal(*drawn[n : n + 2]) for n in range(0, len(drawn), 2))
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


@pytest.mark.parametrize("size", [9, 64])
def test_a_batch_that_cannot_be_shared_out_is_refused(size: int) -> None:
    part = Part(torch.zeros(40, 1, 4, 4, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    batches = Batches(
        part, lambda images, _: images, Normalise(torch.zeros(1), torch.ones(1)), size
    )
    with pytest.raises(ConfigError, match="a multiple of 2 processes"):
        Processes(2, 0).share(batches)


@pytest.mark.slow
def test_two_processes_killed_and_taken_up_come_to_the_same_bits(tmp_path: Path) -> None:
    def torchrun(out: Path, step: int) -> int:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        script = [killed.__file__, str(out), str(step)]
        run = subprocess.run(
            [*command, "--nproc-per-node", "2", *script], capture_output=True, timeout=300
        )
        return run.returncode

    undisturbed, resumed = tmp_path / "undisturbed", tmp_path / "resumed"
    assert torchrun(undisturbed, 0) == 0
    assert torchrun(resumed, 8) != 0
    assert not (resumed / "came_to.json").exists()
    assert torchrun(resumed, 0) == 0
    found, expected = came_to(resumed), came_to(undisturbed)
    assert found["weights"] == expected["weights"]
    assert found["figures"] == expected["figures"]
    assert "going on at step" in found["told"][0]
    assert found["figures"][-1]["validated"]["images"] == 200
    assert found["figures"][-1]["trained"][1] == 50  # of each pass of 100, this process's half
