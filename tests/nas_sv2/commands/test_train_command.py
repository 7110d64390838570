"""`train` as a user meets it, on a folder of images."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import nas_sv2
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.fitting.validation import Validation
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.resolution import height_and_width
from nas_sv2.space.networks.lowering import load_network, lower
from nas_sv2.space.runtimes.quantization import ranges_in
from nas_sv2.space.runtimes.weights import check_weights
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.studies.package.full_package import int8_lines

Run = Callable[..., tuple[int, str, str]]

RECIPE = """
nas_sv2_recipe: 1
epochs: 2
batch: 5
resolution: 16
crop_area: 0.5
colour: 0.1
full_training: {validation_resize: 20, norm_steps: 3}
"""
STAGES = (Stage(1, 16), Stage(1, 32))
NETWORK = Architecture(stem=(8,), stages=STAGES, head=64, resolution=16, stem_pool=False)


@pytest.fixture
def asked(tmp_path: Path, folder: Callable[..., Path]) -> list[str]:
    (tmp_path / "net.yaml").write_text(architecture_to_yaml(NETWORK))
    (tmp_path / "mine.yaml").write_text(RECIPE)
    data = f"imagefolder:{folder()}"
    return [
        "network",
        "train",
        "net.yaml",
        "--data",
        data,
        "--recipe",
        "mine.yaml",
        "--out",
        "out",
    ]


def test_a_folder_holds_the_network_its_numbers_and_how_it_came_to_them(
    command_line: Run, asked: list[str], tmp_path: Path
) -> None:
    code, out, err = command_line(*asked, "--seed", "3", "--train-threads", "1")
    assert code == 0, err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "SHA256SUMS", "architecture.yaml", "card.json", "card.md", "log.csv", "model.onnx",
        "model.py", "model_int8.onnx", "tensorboard", "weights.safetensors",
    }  # fmt: skip
    metrics = json.loads((tmp_path / "out" / "card.json").read_text())
    assert metrics["seed"] == 3 and metrics["recipe"]["name"] == "mine"
    assert len(metrics["passes"]) == 2 and metrics["class_names"] == ["cat", "dog"]
    for form in ("torch", "model.py", "model.onnx"):
        assert metrics["forms"][form]["relative"] < 1e-4
        assert metrics["forms"][form]["accuracy"] == metrics["validation"]["accuracy"]
    network = load_network(tmp_path / "out" / "architecture.yaml")
    assert (network.classes, network.channels, network.resolution) == (2, 3, 16)
    check_weights(lower(network), load_file(tmp_path / "out" / "weights.safetensors"))
    assert accuracy_of_onnx(tmp_path / "out", asked[4], metrics) == pytest.approx(
        metrics["validation"]["accuracy"]
    )
    assert f"{metrics['validation']['accuracy']:.2%}" in out
    code, out, err = command_line("network", "verify", "out", "--data", asked[4])
    assert code == 0 and out.count("ok  ") == 13, out + err
    (tmp_path / "pets" / "cat" / "torn.png").write_bytes(b"\x89PNG")
    code, _, err = command_line("network", "verify", "out", "--data", asked[4])
    assert code == 2 and "--skip-unreadable" in err
    code, again, err = command_line(
        "network", "verify", "out", "--data", asked[4], "--skip-unreadable"
    )
    assert (code, again) == (0, out), err
    (tmp_path / "pets" / "cat" / "torn.png").unlink()
    with torch.no_grad():
        assert nas_sv2.load("out")(torch.zeros(2, 3, 16, 16)).shape == (2, 2)

    code, _, err = command_line(*asked)
    assert code == 2 and "a folder without a finished training" in err


def test_a_training_writes_the_formats_that_are_asked_for(
    command_line: Run, asked: list[str], tmp_path: Path
) -> None:
    code, _, err = command_line(*asked, "--form", "onnx, tflite,ncnn")
    assert code == 0, err
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    models = [f"model{kind}.{form}" for form in ENDINGS for kind in ("", "_int8")]
    assert list(card["forms"]) == ["torch", "model.py", *models]
    code, out, err = command_line("network", "verify", "out", "--data", asked[4])
    assert code == 0, out + err


ENDINGS = ("onnx", "tflite", "ncnn.param")


def accuracy_of_onnx(out: Path, spec: str, metrics: dict[str, Any]) -> float:
    """By a user who has the folder and the data, and nothing else of ours."""
    taken = metrics["input"]
    val = open_data(spec, resolution=taken["centre_of"]).val
    edge = (taken["centre_of"] - taken["side"]) // 2
    images = val.images.numpy()[:, :, edge : edge + taken["side"], edge : edge + taken["side"]]
    mean, deviation = (np.array(taken[key])[:, None, None] for key in ("mean", "deviation"))
    session = onnxruntime.InferenceSession(out / "model.onnx")
    feed = {session.get_inputs()[0].name: ((images - mean) / deviation).astype(np.float32)}
    (logits,) = session.run(None, feed)
    return float((logits.argmax(1) == val.labels.numpy()).mean())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipe", "paper"), "recipe.resolution .*16.*; got 224"),
        (("--form", "pb"), "--form .*onnx, tflite.*; got 'pb'"),
        (("--device", "tpu"), "--device .*cpu or cuda.*; got 'tpu'"),
        (("--data", "nothing"), "--data .*; got 'nothing'"),
        (("--weights", "nothing"), "--weights must be a folder.*; got 'nothing'"),
        (("--freeze", "stem"), "--freeze .*without weights.*; got 'stem'"),
        (("--rates", "stage9=0.1"), "--rates .*: stem, stage2, stage3, head; got 'stage9'"),
        (("--rates", "stage2=0"), "--rates .*, as stage2=0.1; got 'stage2=0'"),
        (("--teacher", "nothing"), "--teacher must be a folder.*; got 'nothing'"),
        (("--teacher", "no.onnx"), "--teacher must be readable: no.onnx.*; got 'no.onnx'"),
        (("--temperature", "2"), "--temperature .*without a teacher; got 2"),
        (("--qat",), "--qat must have weights: .*; got True"),
        (("--rates", "stage2"), "--rates .*, as stage2=0.1; got 'stage2'"),
        (("--input", "16x16"), "--input must be HEIGHTxWIDTHxCHANNELS.*; got '16x16'"),
        (("--input", "2x2x3"), "--input must fit .*, whose resolution .* least .*; got '2x2x3'"),
        (("--input", "16x16x1"), "--input .* channels of the images.* 3; got '16x16x1'"),
        (("--input", "32x32x3"), "recipe.resolution must be 32, .*; got 16"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    options: tuple[str, ...], said: str, command_line: Run, asked: list[str]
) -> None:
    code, _, err = command_line(*asked, *options)
    assert code == 2 and re.search(said, err) and err.count("\n") == 1


@pytest.mark.parametrize(
    ("network", "size", "stem"),
    [
        ("shufflenet_v2_x0_33", (32, 32), (1, False)),
        ("shufflenet_v2_x0_33", (16, 32), (1, False)),
        ("mobilenet_v1_x0_25", (32, 32), None),
    ],
)
def test_a_network_is_brought_to_the_input_of_the_images(
    network: str,
    size: tuple[int, int],
    stem: tuple[int, bool] | None,
    command_line: Run,
    asked: list[str],
    tmp_path: Path,
) -> None:
    recipe = "nas_sv2_recipe: 1\nepochs: 1\nbatch: 5\nresolution: 32\nstem_stride: 1\n"
    (tmp_path / "mine.yaml").write_text(recipe)
    asked[2] = network
    code, _, err = command_line(*asked)
    assert code == 2 and "recipe.resolution must be 224" in err and "as 32x32x3; got 32" in err
    (tmp_path / "mine.yaml").write_text(recipe.replace(": 32", f": {list(size)}"))
    code, _, err = command_line(*asked, "--input", "x".join(map(str, (*size, 3))))
    assert code == 0, err
    trained = load_network(tmp_path / "out" / "architecture.yaml")
    assert height_and_width(trained.resolution) == size
    assert (trained.channels, trained.classes) == (3, 2)
    if isinstance(trained, Architecture):
        assert (trained.stem_stride, trained.stem_pool) == stem


def test_trained_on_from_an_exported_network_with_another_classifier(
    command_line: Run, asked: list[str], folder: Callable[..., Path], tmp_path: Path
) -> None:
    assert command_line(*asked)[0] == 0
    more = folder("more", ("cat", "dog", "fox"))
    asked[4:] = [f"imagefolder:{more}", "--recipe", "mine.yaml", "--out", "second"]
    tuned = ("--weights", "out", "--freeze", "stem,stage2", "--rates", "stage3=0.1")
    code, _, err = command_line(*asked, *tuned)
    assert code == 0
    assert "weights of out: 60 of 62 taken by name and shape; fresh: head.classifier" in err
    first, second = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("out", "second")
    )
    for name, array in second.items():
        kept = name.startswith(("stem.", "stage2."))
        assert np.array_equal(array, first[name]) == kept, name
    card = json.loads((tmp_path / "second" / "card.json").read_text())
    assert (card["start"]["weights"], card["start"]["taken"]) == ("out", 60)
    page = (tmp_path / "second" / "card.md").read_text()
    assert "| frozen | stem, stage2 |" in page and "| rates | stage3 × 0.1 |" in page
    code, out, err = command_line("network", "verify", "second")
    assert code == 0, out + err

    (tmp_path / "net.yaml").write_text(
        architecture_to_yaml(dataclasses.replace(NETWORK, stages=(Stage(1, 24), Stage(1, 64))))
    )
    code, _, err = command_line(*asked[:-1], "third", "--weights", "out")
    assert code == 2 and err.count("\n") == 1
    assert re.search("--weights must be weights of this network: .*; got 'out'", err)


def test_a_network_is_fine_tuned_with_the_rounding_of_int8(
    command_line: Run, asked: list[str], folder: Callable[..., Path], tmp_path: Path
) -> None:
    assert command_line(*asked)[0] == 0
    asked[-1] = "rounded"
    code, out, err = command_line(*asked, "--weights", "out", "--qat")
    assert code == 0, err
    assert re.search(r"static int8 before: \S+, \S+ points, 95 % \S+ to \S+ from float32", out)
    card = json.loads((tmp_path / "rounded" / "card.json").read_text())
    first = json.loads((tmp_path / "out" / "card.json").read_text())
    found = card["int8_training"]
    assert found["float32"] == first["validation"]["accuracy"]
    assert found["static"]["accuracy"] == first["forms"]["model_int8.onnx"]["accuracy"]
    assert found["trained"]["accuracy"] == card["forms"]["model_int8.onnx"]["accuracy"]
    held = ranges_in((tmp_path / "rounded" / "model_int8.onnx").read_bytes())
    assert found["ranges"].keys() <= held.keys()
    assert held["input"] == pytest.approx(found["ranges"]["input"], abs=0.05)
    page = (tmp_path / "rounded" / "card.md").read_text()
    assert "int8 (static, weights a channel, learned ranges) changes" in page
    code, out, err = command_line("network", "verify", "rounded", "--data", asked[4])
    assert code == 0, out + err

    more = folder("more", ("cat", "dog", "fox"))
    asked[4:] = [f"imagefolder:{more}", "--recipe", "mine.yaml", "--out", "other"]
    refused = {
        ("--freeze", "stem"): "--freeze must be left out with qat.*; got 'stem'",
        (): "--weights must be of this whole network with qat: head.classifier.* got 'out'",
    }
    for options, said in refused.items():
        code, _, err = command_line(*asked, "--weights", "out", "--qat", *options)
        assert code == 2 and re.search(said, err.splitlines()[-1]), err


def test_an_int8_form_that_was_spoilt_is_left_out_with_a_line_that_says_why(
    command_line: Run, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas_sv2.studies.package.form_checks.LOST", 0.0)
    assert command_line(*asked)[0] == 0
    asked[-1] = "rounded"
    code, out, err = command_line(*asked, "--weights", "out", "--qat")
    assert code == 0, err
    said = "no int8 form: model_int8.onnx and torch disagree: the error of the int8 logits is "
    assert out.splitlines()[-1].startswith(said)
    assert not (tmp_path / "rounded" / "model_int8.onnx").exists()
    assert "has the learned ranges" not in (tmp_path / "rounded" / "card.md").read_text()


@pytest.mark.parametrize(("high", "is_harm"), [(-0.01, True), (0.0, False), (0.02, False)])
def test_a_training_that_did_harm_to_int8_is_called_that(high: float, is_harm: bool) -> None:
    change = {"accuracy": 0.5, "change": -0.1, "low": -0.2, "high": high}
    found = {"float32": 0.6, "images": 100, "static": change, "trained": change, "gain": change}
    assert ("did harm" in int8_lines(found)[-1]) == is_harm


def test_a_teacher_stands_on_the_card_and_its_classes_are_those_of_the_data(
    command_line: Run, asked: list[str], folder: Callable[..., Path], tmp_path: Path
) -> None:
    halves = tmp_path / "halves"
    for number, name in enumerate(("dark", "light")):
        (halves / name).mkdir(parents=True)
        for image in range(10):
            pixels = np.full((20, 20, 3), 60 + 100 * number + image, np.uint8)
            Image.fromarray(pixels).save(halves / name / f"{image}.png")
    asked[4] = f"imagefolder:{halves}"
    (tmp_path / "mine.yaml").write_text("nas_sv2_recipe: 1\nepochs: 12\nbatch: 4\n")
    assert command_line(*asked)[0] == 0
    asked[-1] = "taught"
    code, _, err = command_line(*asked, "--teacher", "out", "--temperature", "3")
    assert code == 0 and re.search(r"teacher out \(\w{16}\): 100.00% of 4 validation", err), err
    card = json.loads((tmp_path / "taught" / "card.json").read_text())
    assert card["recipe"]["teacher"]["temperature"] == 3
    assert len(card["recipe"]["teacher"]["digest"]) == 16
    assert "temperature 3, share 0.9 |" in (tmp_path / "taught" / "card.md").read_text()
    assert command_line("network", "verify", "taught")[0] == 0

    other = folder("others")
    asked[4:] = [f"imagefolder:{other}", "--recipe", "mine.yaml", "--out", "other"]
    code, _, err = command_line(*asked, "--teacher", "out")
    assert code == 2 and err.count("\n") == 1
    assert "--teacher must have the classes of the data in their order: 'cat', not 'dark'" in err
    assert not (tmp_path / "other").exists()


def test_an_interrupt_says_how_far_the_training_is_and_the_same_command_goes_on(
    command_line: Run, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    validate, validated = FullRun.validate, []

    def interrupted(self: FullRun, module: torch.nn.Module, last: bool) -> Validation:
        validated.append(last)
        if len(validated) == 2:
            raise KeyboardInterrupt
        return validate(self, module, last)

    monkeypatch.setattr(FullRun, "validate", interrupted)
    code, out, err = command_line(*asked)
    assert (code, out) == (130, "")
    steps = re.search(r"step (\d+) of (\d+)$", err.splitlines()[-1])
    assert steps is not None and int(steps[1]) * 2 == int(steps[2])
    assert err.splitlines()[-1].startswith("interrupted after pass 1 of 2; the same command goes")
    code, _, err = command_line(*asked)
    assert code == 0 and f"going on at {steps[0]}" in err


def test_an_interrupt_while_files_are_written_is_told_too(
    command_line: Run, asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("nas_sv2.api.training.write_full_package", interrupted)
        code, _, err = command_line(*asked)
    said = "interrupted after the last pass; the same command writes the files"
    assert (code, err.splitlines()[-1]) == (130, said)
    assert command_line(*asked)[0] == 0 and (tmp_path / "out" / "card.json").exists()


@pytest.mark.slow
def test_torchrun_on_the_imagenet_layout_killed_and_taken_up(
    asked: list[str], folder: Callable[..., Path], tmp_path: Path
) -> None:
    for part, count in (("train", 20), ("val", 7)):
        folder(f"net/{part}", count=count)
    (tmp_path / "mine.yaml").write_text(
        RECIPE.replace("epochs: 2", "epochs: 100").replace("batch: 5", "batch: 10")
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "nas_sv2", *asked, "--train-threads", "1"]
    command[command.index("--data") + 1] = f"imagenet:{tmp_path / 'net'}"

    def begin(out: str) -> subprocess.Popen[str]:
        command[command.index("--out") + 1] = out
        return subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    code, out, err = end(begin("undisturbed"))
    assert code == 0, err
    assert out.count("validation top-1") == 1  # of two processes one speaks

    killed, log = begin("killed"), tmp_path / "killed" / "log.csv"
    while not log.exists() or log.read_text().count("\n") < 4:
        assert killed.poll() is None, end(killed)
        time.sleep(0.02)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert end(killed)[0] != 0
    assert not (tmp_path / "killed" / "card.json").exists()

    code, _, err = end(begin("killed"))
    assert code == 0 and "going on at step" in err, err
    for name in ("weights.safetensors", "model.onnx"):
        parts = [(tmp_path / out / name).read_bytes() for out in ("undisturbed", "killed")]
        assert parts[0] == parts[1], name
    metrics = json.loads((tmp_path / "killed" / "card.json").read_text())
    assert metrics["processes"] == 2
    assert metrics["test"]["images"] == 14  # ImageNet's val; validation is carved from its train
    assert len(metrics["passes"]) == 100
