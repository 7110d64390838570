"""`network train-detector` as a user meets it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import save_file

from nas_sv2.api.detection import load_detector
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.detection import drawn
from nas_sv2.space.families.published import published_network
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.weights import random_weights

Run = Callable[..., tuple[int, str, str]]
SHORT = "nas_sv2_recipe: 1\nepochs: 1\nbatch: 4\nimages_per_epoch: 8\n"


@pytest.fixture
def run(command_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(drawn, "TRAIN", 12)
    monkeypatch.setattr(drawn, "VAL", 3)
    monkeypatch.chdir(tmp_path)
    Path("short.yaml").write_text(SHORT)
    return partial(
        command_line,
        *("network", "train-detector", "shufflenet_v2_x0_5", "--data", "drawn"),
        *("--image-size", "64x96"),
    )


@pytest.mark.parametrize("head", ["light-head", "ssdlite"])
def test_a_detector_is_trained_loaded_and_shown(run: Run, command_line: Run, head: str) -> None:
    code, out, err = run("--out", "pet", "--head", head, "--recipe", "short.yaml", "--json")
    metrics = json.loads(out)
    assert code == 0 and "12 train, 3 val images" in err
    assert (metrics["images"], metrics["passes"], metrics["onnx_equals_torch_on"]) == (3, 1, 3)
    assert {file.name for file in Path("pet").iterdir()} == {
        *("SHA256SUMS", "detector.onnx", "detector.yaml", "log.csv", "metrics.json"),
        "weights.safetensors",
    }
    module, categories = load_detector("pet")
    assert categories[0] == "bear"
    image = torch.randint(0, 256, (3, 64, 96), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (found,) = module([image / 255])
    session = onnxruntime.InferenceSession("pet/detector.onnx")
    _, scores, _ = session.run(None, {"images": image[None].numpy().astype(np.float32)})
    assert np.allclose(scores, found["scores"], atol=1e-3)
    code, _, err = run("--out", "pet", "--head", head)
    assert code == 2 and "--out must name a folder without a finished training" in err
    code, _, err = command_line("measure", "pet/detector.onnx", "--target", "arm")
    assert (code, err.count("\n")) == (2, 1) and "got 'NonMaxSuppression'" in err
    table = ("network", "detect-table", "--target", "arm", "--image-size", "224x224")
    code, out, _ = command_line(*table, "--level", "40M", "--trained", "pet", "--json")
    rows = {row["network"]: row["trained"] for row in json.loads(out)["rows"]}
    words = f"{head} on drawn at 64x96, seed 0"
    assert rows["shufflenet_v2_x0_5"] == [[words, metrics["mmap_percent"]]]
    assert rows["shufflenet_v2_star_x0_5"] == []


def test_a_detector_starts_from_weights(run: Run) -> None:
    graph = lower(published_network("shufflenet_v2_x0_5"))
    save_file(random_weights(graph, seed=7), "mine.safetensors")
    options = ("--head", "ssdlite", "--recipe", "short.yaml", "--weights", "mine.safetensors")
    code, out, err = run("--out", "pet", *options, "--json")
    start = json.loads(out)["start"]
    assert code == 0 and "weights of mine.safetensors: " in err, err
    assert start["taken"] == start["of"] > 100 and start["fresh"] == []
    code, _, err = run("--out", "other", "--weights", "pet")
    assert (code, err.count("\n")) == (2, 1) and "must list architecture.yaml" in err
    larger = lower(published_network("shufflenet_v2_x1_0"))
    save_file(random_weights(larger, seed=7), "larger.safetensors")
    code, _, err = run("--out", "other", "--weights", "larger.safetensors")
    assert (code, err.count("\n")) == (2, 1)
    assert "--weights must be weights of this network" in err
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--data", "animals"), "--data must be drawn (the demo data of detection) or coco:PATH"),
        (("--data", "coco:none"), "there is no such folder; got 'coco:none'"),
        (("--head", "yolo"), "--head must be one of light-head, ssdlite; got 'yolo'"),
        (
            ("--image-size", "16x16"),
            "--image-size must have sides of at least the total stride, 32; got '16x16'",
        ),
        (("--image-size", "99999x8"), "--image-size must be pixels, from 1 to 16384; got 99999"),
        (("--recipe", "quick"), "--recipe must be detector, detector-quick, or a file"),
        (("--recipe", "none.yaml"), "must be a readable file"),
        (("--device", "tpu"), "--device must be cpu or cuda; got 'tpu'"),
        (("--weights", "none"), "--weights must be a folder that export"),
    ],
)
def test_bad_input_is_one_line(run: Run, options: tuple[str, ...], line: str) -> None:
    code, _, err = run("--out", "out", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert line in err
    assert not Path("out").exists()


def test_a_folder_of_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SHA256SUMS"):
        load_detector(tmp_path)
