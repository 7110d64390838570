"""The training of a detector: repeated, killed and resumed."""

import dataclasses
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import killed_detector_training as killed
import numpy as np
import pytest
import torch

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.detection import training
from nas_sv2.evaluate.detection.detector import Detector, build_detector
from nas_sv2.evaluate.detection.scenes import SceneData
from nas_sv2.evaluate.detection.training import (
    CHECKPOINT,
    DetectorRun,
    TrainedDetector,
    check_norms,
    open_detector_recipe,
)
from nas_sv2.evaluate.fitting.start import Start
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.families.published import published_network
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.weights import random_weights, weight_shapes

Run = Callable[..., DetectorRun]


@pytest.fixture
def run_of(few_drawn: SceneData, tmp_path: Path) -> Run:
    def made(out: str, head: str = "ssdlite", **changes: Any) -> DetectorRun:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        return DetectorRun(killed.detector(head), few_drawn, killed.SHORT, folder, **changes)

    return made


def weights(trained: TrainedDetector) -> dict[str, torch.Tensor]:
    return dict(trained.module.state_dict())


@pytest.mark.parametrize("head", ["light-head", "ssdlite"])
def test_a_killed_training_goes_on_to_the_same_weights(
    run_of: Run, head: str, forked: Callable[..., tuple[int, Any]]
) -> None:
    whole = run_of("whole", head).train()
    said: list[str] = []
    resumed = run_of("killed", head, notify=said.append)
    assert forked(killed, resumed.out, head, 4) == (-signal.SIGKILL, None)
    assert "\n2," not in (resumed.out / "log.csv").read_text()  # one pass of two was finished
    torch.rand(7)  # torch's own generator is elsewhere in another process
    found = resumed.train()
    assert said == ["going on at step 4 of 6 of a training that was interrupted"]
    assert found.anchors == whole.anchors
    ours, theirs = weights(found), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert found.score == whole.score
    losses = [one.trained.loss for one in whole.records]
    assert [one.trained.loss for one in found.records] == losses
    rows = (resumed.out / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["pass", "1", "2"]


@pytest.mark.parametrize("head", ["light-head", "ssdlite"])
def test_a_backbone_starts_from_weights_of_a_classifier(head: str) -> None:
    detector = killed.detector(head)
    given = random_weights(lower(killed.NETWORK), seed=7)
    module: Any = build_detector(detector)
    fresh = {name: value.clone() for name, value in module.state_dict().items()}
    taken = module.backbone.backbone.take(Start(given, "mine"), detector.trunk)
    assert taken.share == 1 and taken.count == len(weight_shapes(detector.trunk.graph))
    inside = "backbone.backbone."
    for name, value in module.state_dict().items():
        own = name.removeprefix(inside).partition(".")[2]
        if name.startswith(inside) and not name.endswith("num_batches_tracked"):
            assert np.array_equal(value, given[own]), name
        else:
            assert torch.equal(value, fresh[name]), name


def test_a_start_from_weights_is_said_and_is_another_training(run_of: Run) -> None:
    given = random_weights(lower(killed.NETWORK), seed=7)
    said: list[str] = []
    started = run_of("out", notify=said.append, start=Start(given, "mine"))
    started.train()
    count = len(weight_shapes(killed.detector("ssdlite").trunk.graph))
    assert said[0] == f"weights of mine: {count} of {count} taken by name and shape"
    with pytest.raises(StoreError, match="is of another training: start"):
        run_of("out").train()
    short = {name: array for name, array in given.items() if name.startswith("stem")}
    with pytest.raises(ConfigError, match=r"weights must be weights of this network.*got 'mine'"):
        run_of("other", start=Start(short, "mine")).train()


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


def test_another_training_in_the_folder_is_not_resumed(run_of: Run) -> None:
    run = run_of("out")
    run._checkpoint().save({})
    with pytest.raises(StoreError, match="is of another training: seed 0, not 1"):
        run_of("out", seed=1).train()
    run.finish()
    assert not (run.out / CHECKPOINT).exists()


@pytest.mark.parametrize(("side", "refused"), [(512, True), (544, False)])
def test_a_step_of_one_image_needs_maps_of_more_than_one_pixel(side: int, refused: bool) -> None:
    recipe = dataclasses.replace(killed.SHORT, batch=1)
    detector = dataclasses.replace(killed.detector("ssdlite"), height=side)
    line = r"recipe\.batch must be 2 or more .*got 1"
    with pytest.raises(ConfigError, match=line) if refused else nullcontext():
        check_norms(recipe, detector)


def test_fewer_images_than_a_batch_are_refused(run_of: Run) -> None:
    large = dataclasses.replace(run_of("out"), recipe=Recipe("large", 1, batch=13))
    with pytest.raises(ConfigError, match=r"recipe.batch must be at most 12.*got 13"):
        large.train()


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


def test_a_recipe_file_changes_the_default(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("nas_sv2_recipe: 1\nepochs: 2\nbatch: 4\n")
    recipe = open_detector_recipe(str(tmp_path / "short.yaml"))
    default = open_detector_recipe("detector")
    assert (recipe.name, recipe.epochs, recipe.batch) == ("short", 2, 4)
    assert recipe.learning_rate == default.learning_rate
    quick = open_detector_recipe("detector-quick")
    assert (quick.score, default.score) == ("box_ap", "box_ap") and quick.epochs < default.epochs
    with pytest.raises(ConfigError, match="recipe must be detector, detector-quick, or a file"):
        open_detector_recipe("quick")
