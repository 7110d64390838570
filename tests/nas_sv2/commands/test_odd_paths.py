"""Paths that lead nowhere in ways of their own: each is refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nas_sv2.errors import ConfigError
from nas_sv2.files import checked_out, new_file

Run = Callable[..., tuple[int, str, str]]
LONG = "x" * 300
"""A name that no file system takes: it fails where a missing file does not."""
TRAIN = ("network", "train", "1x", "--data", "animals")
SEARCH = ("search", "--target", "arm", "--trials", "1")


@pytest.mark.parametrize(
    "words",
    [
        ("data", "prepare", f"imagefolder:{LONG}"),
        ("data", "prepare", f"imagenet:{LONG}"),
        ("data", "prepare", f"npz:{LONG}.npz"),
        ("data", "prepare", f"cifar10:{LONG}"),
        ("data", "prepare", "csv:loop"),
        ("network", "cost", f"a/{LONG}.tflite"),
        (*TRAIN, "--out", LONG),
        (*TRAIN, "--out", "w", "--weights", LONG),
        (*TRAIN, "--out", "w", "--teacher", LONG),
        ("network", "train-detector", "1x", "--data", "drawn", "--out", LONG),
        ("network", "train-detector", "1x", "--data", f"coco:{LONG}", "--out", "w"),
        ("supernet", "train", "--space", "40M", "--data", "animals", "--out", LONG),
        (*SEARCH, "--data", f"imagefolder:{LONG}"),
        (*SEARCH, "--start", f"{LONG}.yaml"),
        (*SEARCH, "--evaluator", f"supernet:{LONG}"),
        ("device", "add", "a", "--ssh", "host", "--ssh-config", LONG),
        ("device", "guidelines", "arm", "--out", LONG),
        ("device", "calibrate", "--core", "cortex-a57", "--out", LONG),
    ],
)
def test_a_path_that_no_system_takes_is_one_line(
    command_line: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    code, out, err = command_line(*words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert [each.name for each in tmp_path.iterdir()] == ["loop"]


def test_a_link_to_itself_has_nothing_prepared(command_line: Run, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert command_line("data", "clear", "csv:loop", "--yes")[0] == 0


def test_a_new_file_is_refused_before_the_work(tmp_path: Path) -> None:
    assert new_file(tmp_path / "table.json") == tmp_path / "table.json"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert checked_out(tmp_path / "loop") == tmp_path / "loop"
    for taken in (tmp_path, tmp_path / "loop", Path("/proc/table.json")):
        with pytest.raises(ConfigError, match="out must "):
            new_file(taken)
