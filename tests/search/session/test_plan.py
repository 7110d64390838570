"""A search, planned: numbers, and the default name of its study."""

from pathlib import Path

import pytest
import torch

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting import determinism
from nas_sv2.evaluate.fitting.determinism import MOST_PER_CORE, core_count, useful_workers
from nas_sv2.search.session.plan import SearchPlan, forms_of, plan_search


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_ends_of_the_range_of_seeds_are_allowed(seed: int) -> None:
    assert plan_search("arm", seed=seed).seed == seed


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed must be a whole number from 0 to 4294967295"):
        plan_search("arm", seed=seed)


def test_postgresql_has_smaller_numbers() -> None:
    with pytest.raises(ConfigError, match="at most 2147483647 with PostgreSQL"):
        plan_search("arm", seed=2**31, storage="postgresql+psycopg://me@here/studies")


@pytest.mark.parametrize("workers", [-1, 0, MOST_PER_CORE * core_count() + 1, 1_000_000])
def test_a_number_of_workers_that_cannot_run_is_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"workers must be .* {core_count()} cores"):
        plan_search("arm", workers=workers)


@pytest.mark.parametrize(
    ("asked", "work", "threads", "workers"),
    [
        (8, 1, 1, 1),
        (96, 1000, 1, 6),
        (None, 1000, 1, 6),
        (None, 1000, 2, 3),
        (None, 1000, 4, 1),
        (None, 1000, 9, 1),
        (None, 4, 1, 4),
        (1, 0, 1, 1),
    ],
)
def test_no_more_workers_than_cores_and_work(
    asked: int | None, work: int, threads: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(determinism, "core_count", lambda: 6)
    monkeypatch.setattr(determinism, "memory_bytes", lambda: 32 << 30)
    assert useful_workers(asked, work, threads) == workers


def test_no_more_workers_than_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism, "core_count", lambda: 64)
    monkeypatch.setattr(determinism, "memory_bytes", lambda: (8 << 30) - 1)
    assert useful_workers(None, 1000) == useful_workers(64, 1000) == 7
    monkeypatch.setattr(determinism, "memory_bytes", lambda: 1 << 29)
    assert useful_workers(None, 1000) == 1


@pytest.mark.parametrize("text", ["96x96", "96x64x3", "96*96*3", "0x0x3", "96x96x0", "16x16x3"])
def test_an_input_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be"):
        plan_search("arm", input=text)


def test_the_input_that_is_deployed_is_the_one_that_is_timed() -> None:
    plan = plan_search("arm", input="96x96x1")
    assert (plan.space.resolution, plan.space.channels) == (96, 1)
    assert plan.study != plan_search("arm").study
    assert plan.space.digest != plan_search("arm").space.digest


def test_a_level_is_chosen_by_flops_at_the_input_that_is_deployed() -> None:
    assert plan_search("arm", ["40M"]).space.name == "40M"
    assert plan_search("arm", ["40M"], input="112x112x3").space.name == "140M"


def described(plan: SearchPlan, side: int, channels: int) -> str:
    images = torch.zeros(2, channels, side, side, dtype=torch.uint8)
    part = Part(images, torch.tensor([0, 1]))
    (line,) = forms_of(plan, ImageData("made up", "0" * 16, ("a", "b"), part, part))
    return line


def test_what_is_timed_and_what_is_trained_is_said() -> None:
    line = described(plan_search("arm", input="96x96x3", recipe="quick"), 28, 1)
    assert "timed: 96×96×3" in line and "trained: 28×28×1" in line and "proxy" in line


def test_two_data_sets_have_two_names(tmp_path: Path) -> None:
    places = ["a/photos", "b/photos", "a/cats", "a/photos.npz"]
    names = [plan_search("arm", data=f"imagefolder:{tmp_path}/{place}").study for place in places]
    assert len(set(names)) == len(places)
    assert names[0].startswith("arm-photos-")
    assert plan_search("arm").study == "arm-animals-quick"
    padded = plan_search("arm", data=f"imagefolder+pad:{tmp_path}/a/photos").study
    assert padded == names[0].replace("-quick", "-pad-quick")


def test_the_name_of_a_data_set_is_that_of_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = plan_search("arm", data=f"imagefolder:{tmp_path}/photos").study
    assert plan_search("arm", data="imagefolder:photos").study == whole
    assert plan_search("arm", data="imagefolder:./x/../photos/").study == whole


@pytest.mark.parametrize(
    "field",
    ["space", "recipe", "timeout", "study", "evaluator", "sampler", "guidelines", "latency"],
)
@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_text_is_not_taken_as_left_out(field: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field} "):
        plan_search("arm", **{field: text})  # type: ignore[arg-type]
