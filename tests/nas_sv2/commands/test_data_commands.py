"""`data` as a user meets it: prepared once, looked at, removed."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FITS = ("crop", "pad", "stretch")
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
    assert "--skip-unreadable, or skip_unreadable in Python, leaves" in err
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
    assert run("clear", f"imagefolder:{root.parent}", "--yes")[1].startswith(
        "removed 0 prepared data sets"
    )
    removed = json.loads(run("clear", spec, "--yes", "--json")[1])
    assert removed == {"removed": 1, "bytes": facts["cache"]["bytes"]}
    assert not Path(facts["cache"]["folder"]).exists()
    assert root.exists()


def test_a_folder_without_a_readable_image_is_described(run: Run, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    for command in ("info", "prepare"):
        code, _, err = run(command, "imagefolder:pets")
        assert code == 2 and "must have images" in err and err.count("\n") == 1
    (tmp_path / "pets" / "cat" / "torn.png").write_bytes(b"\x89PNG")
    assert run("prepare", "imagefolder:pets", "--skip-unreadable")[0] == 2
    code, out, err = run("info", "imagefolder:pets")
    assert code == 0 and "cannot be read: 'cat/torn.png'" in out, err


@pytest.mark.parametrize(
    ("name", "kind"), [("pets", "imagefolder"), ("a.csv", "csv"), ("a.npz", "npz")]
)
def test_a_path_without_its_kind_is_told_its_kind(
    name: str, kind: str, run: Run, tmp_path: Path
) -> None:
    place = tmp_path / name
    if place.suffix:
        place.touch()
    else:
        place.mkdir()
    code, _, err = run("info", name)
    assert code == 2 and f"{kind}:{name}; got '{name}'" in err


def test_another_resolution_is_another_cache_and_all_are_cleared(run: Run, folder: Folder) -> None:
    spec = f"imagefolder:{folder()}"
    for side in ("16", "24"):
        assert json.loads(run("prepare", spec, "--resolution", side, "--json")[1])["side"] == int(
            side
        )
    assert run("clear", "--yes")[1].startswith("removed 2 prepared data sets, ")


def test_a_folder_is_described_as_it_was_prepared(run: Run, folder: Folder) -> None:
    spec = f"imagefolder:{folder()}"
    assert "must be prepared at 32×32" in run("info", spec)[2]
    square = run("prepare", spec, "--resolution", "16")[1]
    assert run("info", spec) == (0, square, "")
    wide = run("prepare", spec, "--resolution", "12x20")[1]
    code, out, err = run("info", spec)
    assert (code, out) == (2, "")
    assert err.startswith(
        f"nas-sv2: --resolution must be one at which {spec} is prepared: 12x20 or 16x16"
    )
    assert run("info", spec, "--resolution", "12x20") == (0, wide, "")
    usual = run("prepare", spec)[1]
    assert run("info", spec) == (0, usual, "")


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
        (("prepare", "imagefolder:pets", "--resolution", "5000"), "--resolution .* 1024 pixels"),
        (("prepare", "animals", "--resolution", "64x5000"), "--resolution .* 1024 pixels"),
        (("info", "imagefolder:pets", "--resolution", "5000"), "--resolution .* 1024 pixels"),
        *(
            (
                ("prepare", "animals", "--resolution", size),
                f"--resolution .* as 96x128; got '{size}'",
            )
            for size in ("33x", "x", "1x2x3", "-5", "1.5", "9" * 10, "wide")
        ),
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


def test_the_fit_is_part_of_the_data(run: Run, folder: Folder) -> None:
    spec = f"imagefolder:{folder()}"
    facts = {fit: json.loads(run("prepare", spec, "--fit", fit, "--json")[1]) for fit in FITS}
    assert len({each["key"] for each in facts.values()}) == 3
    pad = spec.replace(":", "+pad:", 1)
    assert facts["pad"]["spec"] == pad
    assert json.loads(run("info", pad, "--json")[1]) == facts["pad"]
    assert json.loads(run("info", spec, "--json")[1]) == facts["crop"]
    assert json.loads(run("prepare", pad, "--fit", "pad", "--json")[1]) == facts["pad"]
    for data, fit, found in (
        (spec, "zoom", "--fit must be one of crop, pad, stretch"),
        (pad, "crop", "--fit must be pad, as data says"),
        ("animals", "pad", "--fit must be left out: the images of animals are squares"),
        (spec.replace(":", "+zoom:", 1), "pad", "must have one of crop, pad, stretch after"),
    ):
        code, _, err = run("prepare", data, "--fit", fit)
        assert code == 2
        assert found in err


def test_wide_pictures_are_said(run: Run, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "wide" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (40, 10 + number), number).save(
                tmp_path / "wide" / name / f"{number}.png"
            )
    spec = f"imagefolder:{tmp_path / 'wide'}"
    assert "of half of the pictures the centre crop drops 71% or more" in run("prepare", spec)[1]
    assert "crop drops" not in run("prepare", spec, "--fit", "stretch")[1]


def test_without_a_home_one_line_says_what_to_do(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number without a name."""
    root = folder()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    for arguments in (
        ("prepare", f"imagefolder:{root}"),
        ("clear", "--yes"),
        ("prepare", "cifar10"),
    ):
        code, _, err = run(*arguments)
        assert code == 1
        assert "name a folder in XDG_CACHE_HOME" in err
    for spec in ("imagefolder:~/x", "npz:~/x", "cifar10:~/x", "csv:~/x"):
        code, _, err = run("prepare", spec)
        assert code == 2
        assert err.count("\n") == 1


def test_a_cache_that_cannot_be_made_is_one_line(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = folder()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for arguments in (
        ("prepare", f"imagefolder:{root}"),
        ("prepare", "cifar10"),
        ("info", f"imagefolder:{root}"),
        ("clear", "--yes"),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (1, "", 1), err
        assert "Not a directory" in err
