"""The short training of a detector on each candidate of a search."""

import dataclasses
from pathlib import Path

import killed_detector_training as killed
import numpy as np
import pytest

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.detection.detector import DetectorForm
from nas_sv2.evaluate.detection.scenes import SceneData, Scenes
from nas_sv2.evaluate.detection.short_training import choose_detector
from nas_sv2.evaluate.detection.training import QUICK, DetectorLearner
from nas_sv2.evaluate.evaluators import find_evaluator
from nas_sv2.evaluate.fitting.evaluator import Setting
from nas_sv2.space.units.reference import reference

FORM = DetectorForm("ssdlite", 64, 96)
NETWORK = reference("shufflenet_v2_x0_5")
CHOICE = dataclasses.replace(
    choose_detector(FORM, None),
    open=find_evaluator(killed.SHORT, {"detector": str(FORM)}, None).open,
)


def test_a_form_is_read_as_it_is_written() -> None:
    assert DetectorForm.read(str(FORM)) == FORM
    for text in ("ssdlite", "ssdlite 64", "ssdlite 64x96x3", "yolo 64x96"):
        with pytest.raises(ConfigError):
            DetectorForm.read(text)


def test_an_interrupted_training_goes_on_and_leaves_no_checkpoint(
    few_drawn: SceneData, tmp_path: Path
) -> None:
    whole = CHOICE.open(few_drawn, Setting()).train(NETWORK)

    def ended(done: int, steps: int) -> None:
        if done == steps - 2:
            raise KeyboardInterrupt

    kept = Setting(progress=ended, checkpoints=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        CHOICE.open(few_drawn, kept).train(NETWORK)
    assert len(list(tmp_path.iterdir())) == 1
    said: list[str] = []
    resumed = dataclasses.replace(kept, progress=None, notify=said.append)
    found = CHOICE.open(few_drawn, resumed).train(NETWORK)
    assert len(said) == 1 and "of a training that was interrupted" in said[0]
    assert list(tmp_path.iterdir()) == []
    assert found.weights.keys() == whole.weights.keys()
    assert all(np.array_equal(found.weights[name], whole.weights[name]) for name in whole.weights)
    same = dataclasses.replace(found.evaluation, seconds=0.0, images_per_second=0.0)
    assert same == dataclasses.replace(whole.evaluation, seconds=0.0, images_per_second=0.0)
    assert same.figure.name == "mmAP" and same.scores == (same.box_ap,)
    assert same.val_images == killed.VAL and same.epochs == killed.SHORT.epochs


def test_a_training_that_failed_is_not_resumed(
    few_drawn: SceneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*args: object) -> tuple[float, None]:
        raise EvaluationError("the loss is nan")

    monkeypatch.setattr(DetectorLearner, "learn", diverged)
    with pytest.raises(EvaluationError):
        CHOICE.open(few_drawn, Setting(checkpoints=tmp_path)).train(NETWORK)
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_trained_or_scored_are_refused_at_once(few_drawn: SceneData) -> None:
    large = find_evaluator(dataclasses.replace(QUICK, batch=13), {"detector": str(FORM)}, None)
    with pytest.raises(ConfigError, match="must be at most 12, the number of training images"):
        large.open(few_drawn, Setting())
    bare = [
        dataclasses.replace(one, crowds=np.ones_like(one.crowds)) for one in few_drawn.val.scenes
    ]
    empty = dataclasses.replace(few_drawn, val=Scenes(bare, few_drawn.val.read))
    with pytest.raises(ConfigError, match="must have a box to score"):
        CHOICE.open(empty, Setting())


def test_a_network_without_a_backbone_for_the_size_is_refused(few_drawn: SceneData) -> None:
    small = choose_detector(DetectorForm("ssdlite", 16, 16), None).open(few_drawn, Setting())
    with pytest.raises(ConfigError, match="must have sides of at least"):
        small.adapt(NETWORK)
    with pytest.raises(ConfigError, match="a detector reads colour images"):
        CHOICE.open(few_drawn, Setting()).adapt(dataclasses.replace(NETWORK, channels=1))
