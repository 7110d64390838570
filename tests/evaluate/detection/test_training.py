"""The training of a detector: repeated, killed and resumed."""

import dataclasses
from pathlib import Path

import pytest
import torch

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.detection import training
from nas_sv2.evaluate.detection.detector import Detector
from nas_sv2.evaluate.detection.scenes import SceneData
from nas_sv2.evaluate.detection.training import (
    CHECKPOINT,
    DetectorRun,
    TrainedDetector,
    open_detector_recipe,
)
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.families.published import published_network

SHORT = "nas_sv2_recipe: 1\nepochs: 2\nbatch: 4\n"


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    file = tmp_path / "short.yaml"
    file.write_text(SHORT)
    return open_detector_recipe(str(file))


def run_of(data: SceneData, recipe: Recipe, out: Path, head: str, seed: int = 0) -> DetectorRun:
    detector = Detector(published_network("shufflenet_v2_x0_5"), head, 64, 64, 10)
    out.mkdir(exist_ok=True)
    return DetectorRun(detector, data, recipe, out, seed)


def weights(trained: TrainedDetector) -> dict[str, torch.Tensor]:
    return dict(trained.module.state_dict())


@pytest.mark.parametrize("head", ["light-head", "ssdlite"])
def test_a_killed_training_goes_on_to_the_same_weights(
    few_drawn: SceneData,
    recipe: Recipe,
    head: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    whole = run_of(few_drawn, recipe, tmp_path / "whole", head).train()
    said: list[str] = []

    def kill(done: int, steps: int) -> None:
        assert steps == 6
        if done == 4:
            raise Killed

    def killed() -> DetectorRun:
        run = run_of(few_drawn, recipe, tmp_path / "killed", head)
        object.__setattr__(run, "notify", said.append)
        return run

    first = killed()
    object.__setattr__(first, "progress", kill)
    with pytest.raises(Killed):
        first.train()
    torch.rand(7)  # torch's own generator is elsewhere in another process
    resumed = killed().train()
    assert said == ["going on at step 4 of 6 of a training that was interrupted"]
    ours, theirs = weights(resumed), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed.score == whole.score
    losses = [one.trained.loss for one in whole.records]
    assert [one.trained.loss for one in resumed.records] == losses
    rows = (tmp_path / "killed" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["pass", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("head", ["light-head", "ssdlite"])
def test_a_detector_learns_the_images_that_it_sees(
    few_drawn: SceneData, head: str, tmp_path: Path
) -> None:
    """Without learning the mmAP is below 0.5 %."""
    recipe = dataclasses.replace(training.DETECTOR_RECIPE, epochs=150, batch=12)
    data = dataclasses.replace(few_drawn, val=few_drawn.train)
    detector = Detector(published_network("shufflenet_v2_x0_5"), head, 192, 256, 10)
    trained = DetectorRun(detector, data, recipe, tmp_path).train()
    assert trained.score.mmap_percent is not None and trained.score.mmap_percent > 10


def test_another_training_in_the_folder_is_not_resumed(
    few_drawn: SceneData, recipe: Recipe, tmp_path: Path
) -> None:
    run = run_of(few_drawn, recipe, tmp_path / "out", "ssdlite")
    run._checkpoint().save({})
    with pytest.raises(StoreError, match="is of another training: seed 0, not 1"):
        run_of(few_drawn, recipe, tmp_path / "out", "ssdlite", seed=1).train()
    run.finish()
    assert not (tmp_path / "out" / CHECKPOINT).exists()


def test_fewer_images_than_a_batch_are_refused(few_drawn: SceneData, tmp_path: Path) -> None:
    recipe = Recipe("large", 1, batch=13)
    with pytest.raises(ConfigError, match=r"recipe.batch must be at most 12.*got 13"):
        run_of(few_drawn, recipe, tmp_path / "out", "ssdlite").train()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "nas_sv2_recipe: 1\nlabel_smoothing: 0.1\n",
            "label_smoothing must be 0.0 for a detector",
        ),
        ("nas_sv2_recipe: 1\nepochs: 0\n", "epochs must be a whole number"),
        ("nas_sv2_recipe: 1\nrate: 1\n", "rate must be one of the keys"),
        ("nas_sv2_recipe: 9\nepochs: 1\n", "nas_sv2_recipe must be a schema version"),
        ("[1, 2]\n", "content must be a mapping"),
    ],
)
def test_a_recipe_with_a_fault_is_refused(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=line):
        open_detector_recipe(str(file))


def test_a_recipe_file_changes_the_default(recipe: Recipe) -> None:
    default = open_detector_recipe("detector")
    assert (recipe.name, recipe.epochs, recipe.batch) == ("short", 2, 4)
    assert recipe.learning_rate == default.learning_rate
    with pytest.raises(ConfigError, match="recipe must be detector, or a file"):
        open_detector_recipe("quick")
