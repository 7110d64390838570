"""Images with a number each, from a table to a front, an export and its check."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.documents import architecture_to_yaml

Run = Callable[..., tuple[int, str, str]]

RECIPE = "nas_sv2_recipe: 1\nepochs: 8\nbatch: 20\nscore: mae\nshift: 0\n"
BRIEF = f"{RECIPE}images_per_epoch: 80\n".replace("epochs: 8", "epochs: 1")
NETWORK = Architecture(
    stem=(8,), stages=(Stage(1, 16),), head=32, resolution=16, stem_pool=False, stem_stride=2
)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Squares on noise, whose number is the year 2000 and 10 times their side."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    with open("squares.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "year"])
        for number in range(240):
            image = generator.integers(0, 40, (16, 16), np.uint8)
            side = int(generator.integers(2, 13))
            row, column = generator.integers(0, 17 - side, 2)
            image[row : row + side, column : column + side] += 180
            Image.fromarray(image).save(f"{number}.png")
            table.writerow([f"{number}.png", 2000 + 10 * side])
    Path("net.yaml").write_text(architecture_to_yaml(NETWORK))
    Path("mae.yaml").write_text(RECIPE)
    Path("brief.yaml").write_text(BRIEF)
    return tmp_path


def test_a_trained_network_answers_in_the_unit_of_the_labels(
    command_line: Run, drawn: Path
) -> None:
    data = ("--data", "csv:squares.csv")
    code, out, err = command_line(
        *("network", "train", "net.yaml", *data, "--recipe", "mae.yaml", "--out", "out")
    )
    assert code == 0, err
    card = json.loads((drawn / "out" / "card.json").read_text())
    mae, page = card["validation"]["mae"], (drawn / "out" / "card.md").read_text()
    opened = open_data("csv:squares.csv", resolution=16, numbers=True)
    labels = opened.train.labels
    assert mae < float((labels - labels.median()).abs().mean()) / 2
    assert f"validation MAE {mae:.4g}" in out and "top-1" not in out + page
    assert "cross-entropy" not in out + page and "one number, in the unit of the labels" in page
    assert "model_int8.onnx" not in card["forms"] and "256 steps" in card["no_int8"]
    images = Normalise(*map(torch.tensor, (card["input"]["mean"], card["input"]["deviation"])))
    session = onnxruntime.InferenceSession((drawn / "out" / "model.onnx").read_bytes())
    name = session.get_inputs()[0].name
    answers = session.run(None, {name: images(opened.val.images).numpy()})[0]
    assert answers.shape == (48, 1) and 1950 < answers.min() < answers.max() < 2200
    error = float(np.abs(answers[:, 0] - opened.val.labels.numpy()).mean())
    assert error == pytest.approx(mae, rel=1e-3)
    code, out, err = command_line("network", "verify", "out", *data)
    assert code == 0, out + err
    assert f"model.onnx MAE: {mae:.4g} of 48 validation images, {mae:.4g} at export" in out


def test_a_search_takes_the_lower_error_for_the_better(command_line: Run, drawn: Path) -> None:
    code, out, err = command_line(
        *("search", "--target", "arm", "--budget", "40M", "--data", "csv:squares.csv"),
        *("--recipe", "brief.yaml", "--trials", "3", "--workers", "1", "--study", "s"),
        "--no-stop-rule",
    )
    assert code == 0, err
    assert "a number each (year), 32×32" in out and "top-1" not in out
    assert "year of the training images: mean 20" in out and "cross-entropy" not in out
    code, out, err = command_line("front", "s", "--json")
    entries = json.loads(out)["entries"]
    assert entries and all(each["score"] == -each["mae"] for each in entries)
    points = [(each["mae"], each["latencies"]["arm"]["ms"]) for each in entries]
    for each, (mae, ms) in zip(entries, points, strict=True):
        beaten = any(a <= mae and b <= ms and (a, b) != (mae, ms) for a, b in points)
        assert each["feasible"] and each["on_front"] != beaten
    best = min(entries, key=lambda each: each["mae"])
    code, out, err = command_line("study", "list", "--json")
    (listed,) = json.loads(out)
    assert (listed["best"], listed["best_is"]) == (best["mae"], "MAE")
    assert listed["best_accuracy"] is None
    code, out, err = command_line("front", "s")
    assert f"{best['mae']:.4g}" in out and "loss" not in out.partition("timed and")[0]
    assert command_line("report", "s", "--out", "page.html")[0] == 0
    page = (drawn / "page.html").read_text()
    assert '"autorange": "reversed"' in page and "mean absolute error" in page
    code, out, err = command_line("study", "confirm", "s", "--recipe", "quick")
    assert code == 2 and "recipe.score must be mae, because the study" in err
    assert err.count("\n") == 1
