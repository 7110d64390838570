"""`data` as a user meets it: prepared once, looked at, removed."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
Folder = Callable[..., Path]


@pytest.fixture
def run(command_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return partial(command_line, "data")


def test_a_folder_is_prepared_looked_at_and_removed(run: Run, folder: Folder) -> None:
    root = folder()
    Image.new("LA", (5, 5)).save(root / "cat" / "grey.png")
    (root / "dog" / "torn.png").write_bytes(b"\x89PNG")
    spec = f"imagefolder:{root}"
    code, out, err = run("prepare", spec)
    assert (code, out) == (2, "")
    assert "1 of 22 images cannot be read: 'dog/torn.png'" in err
    code, out, _ = run("prepare", spec, "--skip-unreadable", "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["classes"], facts["files"]) == (["cat", "dog"], 22)
    assert facts["images"] == {"train": [9, 8], "val": [2, 2]}
    assert facts["modes"] == {"RGB": 20, "LA": 1}
    assert list(facts["unreadable"]) == ["dog/torn.png"]
    assert Path(facts["cache"]["folder"]).is_dir()
    assert run("info", spec, "--json")[1] == out
    lines = run("info", spec)[1].splitlines()
    assert lines[0].split() == ["class", "train", "val"]
    assert lines[3].split() == ["all", "17", "4"]
    assert "22 files, of mode RGB 20, LA 1" in lines
    assert any(line.startswith("cannot be read: 'dog/torn.png' (") for line in lines)
    assert run("clear", f"imagefolder:{root.parent}", "--yes")[1].startswith("removed 0 of")
    removed = json.loads(run("clear", spec, "--yes", "--json")[1])
    assert removed == {"removed": 1, "bytes": facts["cache"]["bytes"]}
    assert not Path(facts["cache"]["folder"]).exists()
    assert root.exists()


def test_another_resolution_is_another_cache_and_all_are_cleared(run: Run, folder: Folder) -> None:
    spec = f"imagefolder:{folder()}"
    for side in ("16", "24"):
        assert json.loads(run("prepare", spec, "--resolution", side, "--json")[1])["side"] == int(
            side
        )
    assert run("clear", "--yes")[1].startswith("removed 2 of the prepared data sets, ")


def test_data_that_needs_no_preparing_is_described(run: Run, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(20) % 2)
    for command in ("prepare", "info"):
        facts = json.loads(run(command, f"npz:{tmp_path}/data.npz", "--json")[1])
        assert facts["images"] == {"train": [8, 8], "val": [2, 2]}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("prepare", "dogs"), "DATA .*; got 'dogs'"),
        (("prepare", "imagefolder:nowhere"), "a folder that exists"),
        (("prepare", "imagenet:pets"), "train/ and val/"),
        (("prepare", "animals", "--resolution", "0"), "--resolution"),
        (("info", "imagefolder:pets"), "nas-sv2 data prepare"),
        (("clear", "animals"), "DATA .*; got 'animals'"),
        (("clear", "imagefolder:"), "DATA .*; got 'imagefolder:'"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_writes_nothing(
    arguments: tuple[str, ...], named: str, run: Run, folder: Folder, tmp_path: Path
) -> None:
    folder()
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(named, err), err
    assert sorted(tmp_path.rglob("*")) == before
