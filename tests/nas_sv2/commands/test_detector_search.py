"""`search --task detection` and what is done with its study, as a user meets it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nas_sv2.api.detection import load_detector
from nas_sv2.api.study import open_study
from nas_sv2.evaluate.detection import drawn
from nas_sv2.studies.dashboard.view import study_note, trial_note
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Run = Callable[..., tuple[int, str, str]]
TARGET = '''
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.space.onnx_models.model import OnnxModel


class Scale:
    """Its time is the size of the file."""

    name, provenance = "scale", "published"

    def estimate(self, network):
        assert isinstance(network, OnnxModel), "the whole detector is timed"
        ms = len(network.body) / 1e6
        return Latency(ms, None, None, "published", "a scale", None, None, "")
'''
SPACE = {
    **{"nas_sv2_space": 1, "resolution": 32, "classes": 10, "stem": [8], "stem_pool": False},
    "head": 16,
    "stages": [
        {
            "depth": 1,
            "width": {"low": low, "high": 2 * low, "step": 4},
            "wide_field": [False, True],
        }
        for low in (16, 32)
    ],
}
SHORT = "nas_sv2_recipe: 1\nepochs: 1\nbatch: 4\nimages_per_epoch: 8\n"


@pytest.fixture
def run(command_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(drawn, "TRAIN", 12)
    monkeypatch.setattr(drawn, "VAL", 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("scale.py").write_text(TARGET)
    Path("small.yaml").write_text(json.dumps(SPACE))
    Path("short.yaml").write_text(SHORT)
    return partial(
        command_line,
        *("search", "--target", "scale:Scale", "--task", "detection", "--input", "64x96x3"),
        *("--space", "small.yaml", "--recipe", "short.yaml", "--workers", "1"),
    )


def figures(study: str) -> dict[str, Any]:
    records = open_study(study).records.values()
    return {
        one.architecture.digest: (one.evaluation.box_ap, one.latencies["scale"].ms)
        for one in records
    }


def test_a_resumed_search_finds_the_same(run: Run) -> None:
    code, out, err = run("--trials", "2", "--study", "whole", "--json")
    assert code == 0, err
    (first, *_) = json.loads(out.splitlines()[-1])["entries"]
    assert first["scored_by"] == "box_ap" and first["accuracy"] is None
    assert 0 <= first["box_ap"] == first["score"] <= 1
    assert first["detector_flops"] > first["flops"] > 0
    assert first["estimate"] is None  # whose weights are those of classifiers
    assert run("--trials", "1", "--study", "two")[0] == 0
    assert len(figures("two")) == 1
    assert run("--trials", "2", "--study", "two")[0] == 0
    assert figures("two") == figures("whole")


def test_every_page_of_the_study_names_the_score(run: Run, command_line: Run) -> None:
    code, out, err = run("--trials", "2", "--study", "pets")
    assert code == 0, err
    begun = " ".join(out.split())
    assert "detector ssdlite 64x96: timed whole" in begun and "without credit for latency" in begun
    assert "detector" in out and "backbone" in out and "mmAP" in out and "top-1" not in out
    assert "mmAP" in command_line("study", "list")[1]
    shown = " ".join(command_line("study", "show", "pets")[1].split())
    assert "ssdlite 64x96: timed whole" in shown
    assert command_line("report", "pets", "--out", "r.md")[0] == 0
    page = Path("r.md").read_text()
    assert (
        "params of the backbone" in page
        and "multiply-adds of the detector" in page
        and "mmAP" in page
        and "top-1" not in page
    )
    assert command_line("report", "pets", "--out", "r.html", "--operators")[0] == 0
    assert "a detector is timed whole" in Path("r.html").read_text()
    assert "multiply-adds of the detector" in Path("r.html").read_text()
    facts = open_study("pets").facts
    notes = [study_note(facts), *(trial_note(facts, one) for one in facts.front.entries)]
    assert "timed whole" in notes[0] and "mmAP" in notes[1] and "of the backbone" in notes[1]
    for command in (("study", "replay", "pets", "--target", "arm"),):
        code, _, err = command_line(*command)
        assert (code, err.count("\n")) == (2, 1) and "must be a study of classifiers" in err
    code, _, err = command_line("study", "confirm", "pets", "--recipe", "standard")
    assert (code, err.count("\n")) == (2, 1) and "must be a study of classifiers" in err
    words = ("search", "--target", "arm", "--recipe", "smoke", "--workers", "1", "--from", "pets")
    code, _, err = command_line(*words)
    assert code == 2 and "--from must be a study of classifiers, not of ssdlite 64x96" in err


def test_a_winner_is_exported_whole(run: Run, command_line: Run) -> None:
    assert run("--trials", "3", "--study", "pets")[0] == 0
    study = open_study("pets")
    facts = study.facts
    code, out, err = command_line("export", "pets", "--out", "best")
    assert code == 0, err
    assert "of 3 images" in out and "scale: " in out and "with random weights" in out
    metrics = json.loads(Path("best/metrics.json").read_text())
    assert metrics["flops"] == facts.records[facts.best or 0].detector_flops
    assert f"{metrics['flops'] / 1e6:.1f} M multiply-adds" in out
    found = open_study("pets").best.evaluation.box_ap
    assert found is not None and metrics["mmap_percent"] == pytest.approx(100 * found)
    session = onnxruntime.InferenceSession("best/detector.onnx")
    boxes, _, classes = session.run(None, {"images": np.zeros((1, 3, 64, 96), np.float32)})
    assert boxes.shape == (len(classes), 4)
    assert load_detector("best")[1] == drawn.open_drawn().categories
    other = next(number for number in facts.records if number != facts.best)
    weights = WeightsFolder.of_study(study.db, facts.key)
    weights.drop([facts.records[other].architecture.digest])
    words = ("export", "pets", "--trial", str(other), "--out", "again", "--no-time")
    code, _, err = command_line(*words)
    assert code == 0 and "training it again" in err
    for option in (("--form", "onnx"), ("--opset", "14"), ("--supernet", "x")):
        code, _, err = command_line("export", "pets", "--out", "other", *option)
        assert (code, err.count("\n")) == (2, 1)
        assert f"{option[0]} must be left out for a detector" in err
    code, _, err = command_line("export", "pets", "--out", "other", "--trial", "last")
    assert (code, err.count("\n")) == (2, 1) and "--trial must be best or a number" in err
    code, _, err = command_line("export", "pets", "--out", "other", "--data", "coco:nowhere")
    assert code == 2 and not Path("other").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--task", "segmentation"), "--task must be one of classification, detection"),
        (("--recipe", "quick"), "--recipe must be detector, detector-quick, or a file"),
        (("--data", "animals"), "--data must be drawn (the demo data of detection) or coco:PATH"),
        (("--head", "yolo"), "--head must be one of light-head, ssdlite"),
        (("--input", "96x96"), "--input must be HEIGHTxWIDTHx3"),
        (("--input", "64x96x1"), "--input must be HEIGHTxWIDTHx3"),
        (("--input", f"{'9' * 5000}x96x3"), "--input must be HEIGHTxWIDTHxCHANNELS"),
        (("--input", "4x4x3"), "--input must have sides of at least the total stride"),
        (("--guidelines", "paper"), "--guidelines must be off with task detection"),
        (("--stop-rule",), "--stop-rule must be left out with task detection"),
        (("--latency", "auto"), "--latency must be measured with task detection"),
        (("--from", "other"), "--from must be left out with task detection"),
        (("--ray", "auto"), "--ray must be left out with task detection"),
        (("--fit", "pad"), "--fit must be left out for detection"),
        (("--skip-unreadable",), "--skip-unreadable must be left out with task detection"),
        (("--evaluator", "supernet:x"), "--evaluator must be recipe with task detection"),
        (("--budget", "2MiB"), "--budget must be no memory with task detection"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_detector_does_not_have_is_refused_in_a_line(
    run: Run, options: tuple[str, ...], said: str
) -> None:
    code, _, err = run(*options, "--trials", "1")
    assert (code, err.count("\n")) == (2, 1) and said in err
    assert not Path("nas-sv2.db").exists()


@pytest.mark.usefixtures("run")
def test_an_emulated_core_is_refused_by_the_name_of_an_operator(command_line: Run) -> None:
    asked = ("--task", "detection", "--input", "64x96x3", "--space", "small.yaml")
    code, _, err = command_line(
        "search", "--target", "arm", *asked, "--recipe", "short.yaml", "--trials", "1"
    )
    assert (code, err.count("\n")) == (2, 1) and "NonMaxSuppression" in err
