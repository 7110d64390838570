"""A whole search through the command line: real trainings, real prices, a real study.

The first search is a process of its own, which is interrupted; this one, where torch is loaded,
goes on with it and runs the other commands.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import running

from nas_sv2.studies.package.load import load_package
from nas_sv2.studies.storage.weights_folder import WeightsFolder

# The smallest space, and trainings of ten steps; `.ci/run` takes a built-in recipe.
RECIPE = """nas_sv2_recipe: 1
epochs: 1
images_per_epoch: 160
validation_images: 200
batch: 16
learning_rate: 0.05
"""
SEARCH = (
    *("search", "--target", "arm", "--budget", "40M", "--recipe", "brief.yaml"),
    *("--workers", "1"),
)
STUDY = "arm-40M-animals-brief"

Run = Callable[..., SimpleNamespace]


@dataclass(frozen=True)
class Interrupted:
    """A search that was interrupted once a candidate had finished, and the folder it ran in."""

    folder: Path
    returncode: int
    after: str
    errors: str


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("search")
    (folder / "brief.yaml").write_text(RECIPE)
    command = [sys.executable, "-u", "-m", "nas_sv2", *SEARCH, "--trials", "50"]
    with running(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as search:
        assert search.stdout is not None
        before = ""
        while "finished" not in before:
            before = search.stdout.readline()
        search.send_signal(signal.SIGINT)
        after, errors = search.communicate(timeout=600)
    return Interrupted(folder, search.returncode, after, errors)


@pytest.fixture
def nas_sv2(
    interrupted: Interrupted,
    command_line: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs the command line in the folder of the search."""
    monkeypatch.chdir(interrupted.folder)

    def run(*arguments: str) -> SimpleNamespace:
        code, out, err = command_line(*arguments)
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


@pytest.fixture
def folder(interrupted: Interrupted, nas_sv2: Run) -> Path:
    """The folder of the search, with three candidates once the first test has gone on with it."""
    found = interrupted.folder / "found.txt"
    if not found.exists():
        done = nas_sv2(*SEARCH, "--trials", "3")
        assert done.returncode == 0, done.stderr
        found.write_text(done.stdout)
    return interrupted.folder


def test_an_interrupt_ends_with_the_front_so_far(interrupted: Interrupted) -> None:
    assert interrupted.returncode == 130
    assert "Traceback" not in interrupted.errors
    assert "shufflenet_v2_x0_5" in interrupted.after
    assert "nas-sv2 export" in interrupted.after
    assert interrupted.errors.splitlines()[-1] == "interrupted; the same command goes on"


def test_an_interrupted_search_goes_on_to_the_asked_number(
    interrupted: Interrupted, folder: Path
) -> None:
    out = (folder / "found.txt").read_text()
    done = 1 + interrupted.after.count("  finished  ")
    assert f"{done} of 3 trials done" in out
    assert out.count("  finished  ") == 3 - done
    assert "[3/3" in out
    assert "arm ms" in out
    assert "emulated" in out
    assert "shufflenet_v2_x0_5" in out


@pytest.mark.usefixtures("folder")
def test_repeating_it_tells_the_front_again_and_more_trials_go_on(nas_sv2: Run) -> None:
    again = nas_sv2(*SEARCH, "--trials", "3", "--json")
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert [event.get("event") for event in events] == ["began", None]
    assert events[-1]["study"] == STUDY
    more = nas_sv2(*SEARCH, "--trials", "4", "--json")
    events = [json.loads(line) for line in more.stdout.splitlines()]
    ended = [event for event in events if event.get("event") == "ended"]
    assert [event["verdict"] for event in ended].count("finished") == 1
    assert ended[-1]["finished"] == ended[-1]["wanted"] == 4
    # Rejected candidates cost nothing but their question, and say why.
    assert all(event["reason"] for event in ended if event["verdict"] == "rejected")


@pytest.mark.usefixtures("folder")
def test_the_front_has_the_baselines_and_stable_keys(nas_sv2: Run) -> None:
    data = json.loads(nas_sv2("front", STUDY, "--json").stdout)
    baselines = {entry["baseline"] for entry in data["entries"]}
    assert {"shufflenet_v2_x0_5", "shufflenet_v2_se_x0_5"} <= baselines
    for entry in data["entries"]:
        assert entry["on_front"] == (entry["beaten_by"] is None and entry["feasible"])
        assert entry["latencies"]["arm"]["provenance"] == "emulated"
        assert (entry["recipe"], entry["seed"]) == ("brief", 0)


def test_a_winner_is_exported_and_loads_again(folder: Path, nas_sv2: Run) -> None:
    exported = nas_sv2("export", STUDY, "--out", "winner")
    assert exported.returncode == 0, exported.stderr
    assert "timing_int8.onnx, 224 × 224, on arm: " in exported.stdout
    package = load_package(folder / "winner")
    assert package.architecture.resolution == 224
    assert (package.trained.resolution, package.trained.classes) == (28, 10)
    study, forms = package.card["study"], package.card["forms"]
    assert forms["torch"]["accuracy"] == forms["model.onnx"]["accuracy"] == study["accuracy"]
    card = (folder / "winner" / "card.md").read_text()
    for stated in ("emulated", "brief", "seed 0", "animals@", "onnxruntime", "model.py", "int8"):
        assert stated in card
    checked = nas_sv2("network", "verify", "winner", "--data", "animals")
    assert checked.returncode == 0 and checked.stdout.count("ok  ") == 15, checked.stdout
    costs = json.loads(nas_sv2("network", "cost", "winner/architecture.yaml", "--json").stdout)
    assert costs["digest"] == package.architecture.digest


def test_a_network_without_kept_weights_is_trained_to_the_same_again(
    folder: Path, nas_sv2: Run
) -> None:
    for file in (folder / "nas-sv2.db.weights").glob("*/*.safetensors"):
        file.unlink()
    baseline = ("export", STUDY, "--trial", "0", "--out", "baseline", "--no-time", "--no-int8")
    exported = nas_sv2(*baseline)
    assert exported.returncode == 0, exported.stderr
    assert "training it again" in exported.stderr
    package = load_package(folder / "baseline")
    assert package.card["latency"] == []
    assert not [name for name in package.files if "int8" in name]
    again = nas_sv2(*baseline)
    assert again.returncode == 2 and "(force overwrites it)" in again.stderr
    # Weights that are not those which the study speaks of are not shipped.
    (kept,) = (path for path in (folder / "nas-sv2.db.weights").iterdir() if path.is_dir())
    damaged = {name: array[::-1].copy() for name, array in package.weights.items()}
    WeightsFolder(kept).save(package.architecture.digest, damaged)
    refused = nas_sv2(*baseline[:5], "damaged", *baseline[6:])
    assert refused.returncode == 1 and "on the validation images" in refused.stderr
    (array, *_) = package.weights.values()
    (file,) = kept.glob(f"{package.architecture.digest}.*")
    WeightsFolder(kept).save(package.architecture.digest, {"stem": array})
    refused = nas_sv2(*baseline[:5], "damaged", *baseline[6:])
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1, refused.stderr
    assert f"{file.name} has the weights of another network" in refused.stderr
    assert "; delete it, and the network is trained again" in refused.stderr
    assert not [path for path in folder.iterdir() if "damaged" in path.name]


@pytest.mark.usefixtures("folder")
def test_another_question_under_the_same_name_is_refused(nas_sv2: Run) -> None:
    other = nas_sv2(*SEARCH, "--study", STUDY, "--seed", "1")
    assert other.returncode == 2
    assert "begun with seed 0, not 1" in other.stderr
    assert len(other.stderr.splitlines()) == 1
