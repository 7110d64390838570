"""Data that were moved are the data of the study; others, wherever they lie, are not."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from packages import RECIPE, images_file

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.studies.findings.attributes import DATA_PLACE
from nas_sv2.studies.storage.confirmation_store import HeldOutScore, HeldOutScores, Training
from nas_sv2.studies.storage.places import data_of, data_place, note_data
from nas_sv2.studies.storage.study import create_or_resume, load_study

Folder = Callable[..., Path]
SCORE = HeldOutScore({"accuracy": 0.5}, 1.0, 60, 120, 1.0)


def begun(folder: Path, data: str, **changed: object) -> optuna.Study:
    """A study on `data`, with a trial: its question stands."""
    identity = {
        "targets": {"arm": "emulated"},
        "budget": {"flops": 40e6, "latency_ms": {}},
        "space_digest": "1",
        "recipe_digest": "1",
        "data": data,
        "data_content": open_data(data).provenance,
        "skip_unreadable": False,
        "recipe_document": recipe_to_document(RECIPE),
        **changed,
    }
    study = create_or_resume(
        Database.open(f"sqlite:///{folder / 's.db'}"), "s", identity, RandomSampler(seed=0)
    )
    study.ask()
    return study


def moved(data: str, folder: Path) -> str:
    """The same file elsewhere."""
    folder.mkdir()
    kind, _, where = data.partition(":")
    return f"{kind}:{Path(where).rename(folder / 'moved.npz')}"


def test_data_that_were_moved_are_gone_on_with(tmp_path: Path) -> None:
    here = images_file(tmp_path)
    begun(tmp_path, here)
    there = moved(here, tmp_path / "there")
    study = begun(tmp_path, there)
    assert len(study.get_trials()) == 2
    with pytest.raises(ConfigError) as caught:
        data_of(study)
    assert str(caught.value) == (
        "data of the study must be npz:FILE of a file that exists and can be reached; "
        "if they were moved, "
        f"give their new place as data; got '{here}'"
    )
    assert data_of(study, there).name == there
    note_data(study, there)
    again = load_study(Database.open(f"sqlite:///{tmp_path / 's.db'}"), "s")
    assert data_of(again).name == data_place(again) == there


def test_moved_pictures_are_fitted_as_the_study_began(folder: Folder, tmp_path: Path) -> None:
    there = folder()
    study = begun(tmp_path, f"imagefolder+pad:{there}")
    there = there.rename(tmp_path / "moved")
    assert data_of(study, f"imagefolder:{there}").name == f"imagefolder+pad:{there}"
    with pytest.raises(
        ConfigError, match=r"^data must be imagefolder\+pad, as the pictures were trained on; got"
    ):
        data_of(study, f"imagefolder+stretch:{there}")


def test_images_that_are_decoded_again_say_so_before(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    study, said = begun(tmp_path, f"imagefolder:{folder(count=300)}"), list[str]()
    data_of(study, notify=said.append)
    assert said == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    data_of(study, notify=said.append)
    assert len(said) == 1 and said[0].startswith("decoding 600 images to 32×32, once")


def test_of_several_differences_the_one_that_the_others_follow_from_is_named(
    tmp_path: Path,
) -> None:
    """Other images can bring another space, a recipe another size of the images."""
    here, other = images_file(tmp_path), images_file(tmp_path, seed=1)
    begun(tmp_path, here)
    space = {"space_digest": "2", "space_document": {"stages": [1]}}
    with pytest.raises(ConfigError, match=r"begun with data .*images0.npz.*, not .*images1.npz"):
        begun(tmp_path, other, **space)
    recipe = recipe_to_document(dataclasses.replace(RECIPE, resolution=48))
    changed = {"recipe_digest": "2", "recipe_document": recipe, **space}
    with pytest.raises(ConfigError, match=r"begun with recipe resolution .*, not 48;"):
        begun(tmp_path, other, **changed)
    with pytest.raises(ConfigError, match="begun with budget 40M, not 41M, arm=5ms;"):
        begun(tmp_path, here, budget={"flops": 41e6, "latency_ms": {"arm": 5.0}})


def test_another_content_is_refused_wherever_it_lies(tmp_path: Path) -> None:
    here, other = images_file(tmp_path), images_file(tmp_path, seed=1)
    study = begun(tmp_path, here)
    key, others = (open_data(each).key for each in (here, other))
    with pytest.raises(ConfigError, match=r"begun with data .*images0.npz.*, not .*images1.npz"):
        begun(tmp_path, other)
    with pytest.raises(ConfigError, match=f"data must be .*@{key}, .*@{others}'"):
        data_of(study, other)
    Path(other.partition(":")[2]).rename(here.partition(":")[2])
    with pytest.raises(ConfigError, match=r"of the study must be .* have changed; if .* as data"):
        data_of(study)
    with pytest.raises(ConfigError, match="whose content has changed since"):
        begun(tmp_path, here)


def test_where_they_lie_is_noted_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = images_file(tmp_path)
    study = begun(tmp_path, here)
    monkeypatch.chdir(tmp_path)
    note_data(study, "npz:images0.npz")
    assert data_place(study) == here
    assert DATA_PLACE not in study.user_attrs  # where they always were
    note_data(study, "npz:other.npz")
    assert data_place(study) == f"npz:{tmp_path.resolve() / 'other.npz'}"


def test_a_test_score_is_found_after_a_move(tmp_path: Path) -> None:
    scores = HeldOutScores(begun(tmp_path, images_file(tmp_path)))
    training = Training("a" * 16, "r" * 16, "npz:/my data/a@b.npz@0123", 4, "cpu, 1 threads")
    scores.save(training, SCORE)
    moved = dataclasses.replace(training, data="imagefolder:/there@0123")
    assert scores.find(training) == scores.find(moved) == SCORE
    for other in (
        {"data": "npz:/my data/a@b.npz@0124"},
        {"architecture": "b" * 16},
        {"recipe": "s" * 16},
        {"seed": 14},
        {"device": "cpu, 2 threads"},
    ):
        assert scores.find(dataclasses.replace(moved, **other)) is None


def test_a_damaged_test_score_counts_as_none_and_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = HeldOutScores(begun(tmp_path, images_file(tmp_path)))
    training = Training("a" * 16, "r" * 16, "npz:/a.npz@0123", 4, "cpu, 1 threads")
    scores.study.set_user_attr(training.attribute, "{")
    moved = dataclasses.replace(training, data="npz:/b.npz@0123")
    assert scores.find(moved) is None
    assert "a stored test score cannot be read" in caplog.text
    assert "network aaaaaaaa is trained again" in caplog.text
    scores.save(moved, SCORE)
    assert scores.find(training) == SCORE
