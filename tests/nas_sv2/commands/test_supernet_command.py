"""`nas-sv2 supernet train`, a search that asks it, and its certificate."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nas_sv2.search import qualification
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

SPACE = """nas_sv2_space: 1
stem: [8, 16]
head: {low: 32, high: 64, step: 32}
stages:
  - {depth: {low: 1, high: 2}, width: {low: 24, high: 32, step: 4}, residual: [false, true]}
  - depth: {low: 1, high: 3}
    width: {low: 40, high: 64, step: 8}
    split: [1/2, 3/4]
    se: [false, true]
  - {depth: {low: 1, high: 2}, width: {low: 72, high: 96, step: 8}, kernel: [3, 5]}
"""
RECIPE = """nas_sv2_recipe: 1
epochs: 1
images_per_epoch: 160
validation_images: 200
batch: 16
norm_images: 64
"""
SEARCH = (
    *("search", "--target", "arm", "--guidelines", "off", "--data", "animals"),
    *("--sampler", "random"),
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def train(files: Path) -> tuple[str, ...]:
    return (
        *("supernet", "train", "--space", "space.yaml", "--recipe", "recipe.yaml"),
        *("--data", "animals", "--out", "net", "--train-threads", "1"),
    )


def test_it_is_trained_searched_with_and_never_mixed_up(
    command_line: Run, train: tuple[str, ...], files: Path
) -> None:
    code, out, err = command_line(*train, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["steps"] == 10
    assert facts == {
        **json.loads((files / "net" / "supernet.json").read_text()),
        **{"digest": facts["digest"]},
    }
    assert not list((files / "net").glob("*.checkpoint"))
    by = ("--evaluator", "supernet:net")
    for arguments, said in (
        (("--space", "140M"), "--space .*the evaluator's space.*; got '140M'"),
        (("--stop-rule",), "which trains no candidate"),
    ):
        code, _, err = command_line(*SEARCH, *by, *arguments)
        assert code == 2
        assert re.search(said, err), err
    code, _, err = command_line(*train)
    assert code == 2
    assert "a folder without a trained supernet" in err
    code, out, err = command_line(*SEARCH, *by, "--trials", "2", "--study", "s")
    assert code == 0, err
    assert f"evaluator supernet {facts['digest']} in net: trained once, 10 steps" in out
    assert "not certified" in out
    code, out, err = command_line("front", "s", "--json")
    assert code == 0, err
    for entry in json.loads(out)["entries"]:
        assert entry["recipe"] == f"supernet {facts['digest']} (recipe)"
    # Another evaluator is another question.
    code, _, err = command_line(
        *SEARCH,
        "--space",
        "space.yaml",
        "--recipe",
        "recipe.yaml",
        "--trials",
        "4",
        "--study",
        "s",
    )
    assert code == 2
    assert f"begun with evaluator supernet {facts['digest']}, not recipe; its trainings" in err
    export = ("export", "s", "--out", "winner", "--no-time", "--no-int8")
    (files / "net").rename(files / "moved")
    code, _, err = command_line(*export)
    assert code == 2
    assert f"that of supernet {facts['digest']}" in err
    for folder in ("moved", "elsewhere"):  # named, and found where the search has seen it
        named = ("--supernet", folder) if folder == "moved" else ()
        code, out, err = command_line(*export, *named, "--force")
        assert code == 0, err
        assert f"supernet {facts['digest']}" in (files / "winner" / "card.md").read_text()
        if named:
            (files / "moved").rename(files / "elsewhere")
            there = ("--evaluator", "supernet:elsewhere", "--trials", "3", "--study", "s")
            code, out, err = command_line(*SEARCH, *there)
            assert code == 0, err
            assert "2 of 3 trials done" in out
    code, _, err = command_line(*export, "--supernet", "winner", "--force")
    assert code == 2
    assert f"supernet train wrote, that of supernet {facts['digest']}; got 'winner'" in err


@pytest.mark.slow
def test_it_is_certified_like_a_recipe(
    command_line: Run, train: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def counts(network: Architecture, *_: object) -> dict[str, float]:
        return {"flops": float(cost_of(lower(network)).flops)}

    monkeypatch.setattr(qualification, "untrained_scores", counts)  # half a minute
    assert command_line(*train)[0] == 0
    qualify = (
        *("recipe", "qualify", "--evaluator", "supernet:net", "--data", "animals", "--seeds", "1"),
        *("--trajectories", "1", "--matched", "0", "--workers", "1"),
    )
    code, _, err = command_line(*qualify)
    assert code == 2
    assert "--reference" in err
    code, out, err = command_line(*qualify, "--reference", "recipe.yaml")
    assert code == 0, err
    assert "s for the supernet, once" in out
    assert "- against: `recipe`, mean of 1 seed" in out
    assert "noise of the seed: not known" in out
    code, again, err = command_line(*qualify, "--reference", "recipe.yaml")
    assert code == 0, err
    words = err.splitlines()[-1].split()
    assert words[0] == words[2]  # all trainings are known
    assert again == out
    by = ("--evaluator", "supernet:net")
    code, out, err = command_line(*SEARCH, *by, "--trials", "1", "--study", "s")
    assert code == 0, err
    assert "; certified on animals@" in out
    assert "against training by recipe" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--evaluator", "supernet:none"), "supernet .*; got 'none'"),
        (("--evaluator", "supernet"), "--evaluator .*; got 'supernet'"),
        (("--evaluator", "oracle"), "must be recipe, supernet:DIR or the module:attribute"),
        (("--evaluator", "supernet:none", "--recipe", "quick"), "--recipe .*; got 'quick'"),
    ],
)
def test_a_word_that_cannot_be_meant_is_named(
    command_line: Run, arguments: tuple[str, ...], said: str
) -> None:
    for command in (SEARCH, ("recipe", "qualify")):
        code, _, err = command_line(*command, *arguments)
        assert code == 2
        assert re.search(said, err), err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ("--guidelines", "measured"),
            "--guidelines .*paper or off.*; got 'measured'",
        ),
        (("--recipe", "paper"), "a recipe for candidates"),
        (("--space", "12M"), "space .*; got '12M'"),
        (("--networks", "1000000000"), "--networks must be .* from 0 to 1000; got 1000000000"),
        (("--networks=-1",), "--networks must be .* from 0 to 1000; got -1"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(
    command_line: Run, train: tuple[str, ...], files: Path, changes: tuple[str, ...], said: str
) -> None:
    code, _, err = command_line(*train, *changes)
    assert code == 2
    assert re.search(said, err), err
    assert not (files / "net").exists()


def test_the_search_that_is_shown_reads_the_same_images(
    command_line: Run, train: tuple[str, ...], folder: Callable[..., Path]
) -> None:
    images = folder()
    (images / "dog" / "torn.png").write_bytes(b"\x89PNG")
    asked = ("--data", f"imagefolder:{images}", "--fit", "pad", "--skip-unreadable")
    code, out, err = command_line(*train, *asked)
    assert code == 0, err
    assert out.splitlines()[-1] == (
        f"nas-sv2 search --evaluator supernet:net --data imagefolder+pad:{images} "
        "--skip-unreadable ..."
    )
