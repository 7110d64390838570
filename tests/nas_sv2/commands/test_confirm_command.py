"""A study searched, replayed and confirmed by commands: real trainings, real prices."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

SPACE = str(Path(__file__).parents[3] / "docs" / "lab" / "certificates" / "space.yaml")
BRIEF = "nas_sv2_recipe: 1\nepochs: 1\nbatch: 20\nhopeless_after: 0\n"
LONGER = BRIEF.replace("epochs: 1", "epochs: 12")
T = TypeVar("T")
SEARCH = (
    *("search", "--target", "arm", "--budget", "3M", "--budget", "9ms", "--space", SPACE),
    *("--data", "npz:blobs.npz", "--recipe", "brief.yaml", "--sampler", "random"),
    *("--guidelines", "off", "--study", "s", "--workers", "1"),
)


def nas_sv2(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nas_sv2", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def prepare(folder: Path) -> None:
    """Two classes of which a few hundred steps tell most apart, with a test split."""
    generator = np.random.default_rng(5)
    images = generator.integers(0, 200, (600, 16, 16), np.uint8)
    labels = np.arange(600) % 2
    images[labels == 0, :8] += np.uint8(15)
    images[labels == 1, 8:] += np.uint8(15)
    parts = {"train": slice(0, 300), "val": slice(300, 400), "test": slice(400, 600)}
    np.savez(
        folder / "blobs.npz",
        **{f"{part}_images": images[where] for part, where in parts.items()},  # type: ignore[arg-type]
        **{f"{part}_labels": labels[where] for part, where in parts.items()},  # type: ignore[arg-type]
    )
    (folder / "brief.yaml").write_text(BRIEF)
    (folder / "longer.yaml").write_text(LONGER)


@pytest.mark.slow
def test_a_study_is_replayed_searched_on_and_confirmed(tmp_path: Path) -> None:
    prepare(tmp_path)
    searched = nas_sv2(tmp_path, *SEARCH, "--trials", "4")
    assert searched.returncode == 0, searched.stderr
    added = nas_sv2(tmp_path, "device", "add", "small", "--core", "cortex-a53")
    assert added.returncode == 0, added.stderr

    replayed = nas_sv2(tmp_path, "study", "replay", "s", "--target", "small", "--out", "moved.txt")
    assert replayed.returncode == 0, replayed.stderr
    assert "9 ms on arm is a limit of the study and none of the replay" in replayed.stdout
    assert "Kendall's τ" in replayed.stdout
    assert replayed.stdout.startswith((tmp_path / "moved.txt").read_text()[:200])
    data = json.loads(
        nas_sv2(tmp_path, "study", "replay", "s", "--target", "small", "--json").stdout
    )
    assert data["study"] == "s-on-small"
    assert len(data["networks"]) == 4
    assert data["typical_factor"] > 1
    assert {entry["recipe"] for entry in data["entries"]} == {"brief"}

    # The result is a study: its front is printed, a network of it exported, a search goes on.
    assert nas_sv2(tmp_path, "front", "s-on-small").returncode == 0
    exported = nas_sv2(tmp_path, "export", "s-on-small", "--out", "winner")
    assert exported.returncode == 0, exported.stderr
    on = [word.replace("arm", "small") for word in SEARCH if word not in ("--budget", "9ms")]
    on[on.index("3M")] = "--budget=3M"
    on[on.index("s")] = "s-on-small"
    more = nas_sv2(tmp_path, *on, "--trials", "5")
    assert more.returncode == 0, more.stderr
    assert more.stdout.count("  finished  ") == 1

    number = str(data["networks"][0]["trial"])
    confirming = (
        *("study", "confirm", "s", "--recipe", "longer.yaml", "--trial", number),
        *("--family", "0"),
    )
    command = [sys.executable, "-m", "nas_sv2", *confirming, "--workers", "2"]
    killed = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    workers = _until(lambda: _children(killed.pid) if _with_checkpoint(tmp_path) else None)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    _until(lambda: not any(map(_runs, workers)) or None)  # no orphan trains on
    confirmed = nas_sv2(tmp_path, *confirming, "--json")
    assert confirmed.returncode == 0, confirmed.stderr
    assert "6 of 6 trainings" in confirmed.stderr  # a log has no bar
    found = json.loads(confirmed.stdout)
    assert [len(network["accuracies"]) for network in found["networks"]] == [3, 3]
    assert (found["test_images"], found["seeds"], found["longer"]) == (200, [1, 2, 3], 12)
    assert found["findings"][0]["claim"] in ("both", "faster", "better score", "no claim")
    again = nas_sv2(tmp_path, *confirming)
    assert "6 trainings by longer, 6 of them known" in again.stderr
    assert found["findings"][0]["text"] in again.stdout
    assert ", a proxy; accuracies are of it" in again.stdout
    assert found["timed_and_trained"]["is_proxy"]
    assert found["findings"][0]["text"] in nas_sv2(tmp_path, "front", "s").stdout
    into = ("--trial", number, "--out", "confirmed", "--no-time")
    assert nas_sv2(tmp_path, "export", "s", *into).returncode == 0
    card = json.loads((tmp_path / "confirmed" / "card.json").read_text())
    assert found["findings"][0]["text"] in card["study"]["confirmed"][0]
    assert "## Confirmation" in (tmp_path / "confirmed" / "card.md").read_text()
    assert not list(tmp_path.glob("nas-sv2.db.weights/*/confirm/*"))


def _with_checkpoint(folder: Path) -> bool:
    return bool(list(folder.glob("nas-sv2.db.weights/*/confirm/*/training.checkpoint")))


def _children(parent: int) -> list[int]:
    said = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in said.stdout.splitlines()]
    return [int(pid) for pid, of in rows if int(of) == parent]


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _until(happens: Callable[[], T | None], within_s: float = 600.0) -> T:
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        if found := happens():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_words_that_cannot_be_meant_end_in_one_line(
    command_line: Callable[..., tuple[int, str, str]],
) -> None:
    for arguments in (
        ("study", "confirm", "s", "--recipe", "long", "--seeds", "2"),
        ("study", "confirm", "s", "--recipe", "eternal"),
        ("study", "confirm", "s", "--recipe", "long"),  # no such database
        ("study", "replay", "s", "--target", "arm"),
        ("study", "replay", "s", "--target", "mars"),
        ("study", "replay", "s", "--target", "arm", "--out", "nowhere/moved.txt"),
        ("study", "replay", "s", "--target", "arm", "--out", "."),
    ):
        code, out, err = command_line(*arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1), arguments
        assert "--out" not in arguments or "--out" in err
