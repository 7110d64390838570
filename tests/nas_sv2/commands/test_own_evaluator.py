"""A search with an evaluator of the user's, from `search` to what it cannot do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "accuracy_table.py"
SEARCH = (
    *("search", "--target", "arm", "--guidelines", "off", "--study", "s", "--trials", "2"),
    *("--evaluator", "accuracy_table:AccuracyTable"),
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def example(command_line: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module in the folder that the command runs in."""
    shutil.copy(EXAMPLE, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_search_asks_it_and_records_its_name(command_line: Run) -> None:
    code, out, err = command_line(*SEARCH)
    assert code == 0, err
    assert "evaluator published accuracies: your own; it gives accuracies and no weights" in out
    code, out, err = command_line("front", "s", "--json")
    assert code == 0, err
    entries = json.loads(out)["entries"]
    assert {entry["recipe"] for entry in entries} == {"ImageNet, as published"}
    assert {entry["data"] for entry in entries} == {"ImageNet"}
    assert {entry["loss"] for entry in entries} == {None}
    code, out, err = command_line("front", "s")
    assert code == 0, err
    assert "–" in out  # the loss is not known
    code, _, err = command_line("report", "s", "--out", "report.html")
    assert code == 0, err
    code, _, err = command_line("export", "s", "--out", "winner")
    assert code == 2
    assert "evaluator of the study must give weights" in err
    code, out, err = command_line(*SEARCH[:-2], "--trials", "3")
    assert code == 2
    assert "this one was begun with" in err  # another evaluator is another study
    code, out, err = command_line(*SEARCH, "--trials", "3")
    assert code == 0, err
    assert "2 of 3 trials done" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--recipe", "quick"), "--recipe must be left out beside evaluator published accuracies"),
        (("--stop-rule",), "which trains no candidate"),
        (("--device", "cuda"), "which trains no candidate"),
    ],
)
def test_what_needs_a_training_is_refused(
    command_line: Run, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = command_line(*SEARCH, *arguments)
    assert code == 2
    assert said in err
