"""A search, planned: numbers, and the default name of its study."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting import determinism
from nas_sv2.evaluate.fitting.determinism import MOST_PER_CORE, core_count, useful_workers
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.search.session.plan import (
    describe_precision,
    forms_of,
    plan_search,
)
from nas_sv2.space.choices.levels import LEVELS

TOP_1 = facts_of("accuracy")


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
    with pytest.raises(ConfigError, match=f"workers must be .* {core_count()} core"):
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


@pytest.mark.parametrize("text", ["96x96", "96x0x3", "96*96*3", "0x0x3", "96x96x0", "96x99999x3"])
def test_an_input_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be"):
        plan_search("arm", input=text)


def images(
    side: int, channels: int = 3, picture_side: int | None = None, width: int | None = None
) -> ImageData:
    pixels = torch.zeros(2, channels, side, width or side, dtype=torch.uint8)
    part = Part(pixels, torch.tensor([0, 1]))
    return ImageData("made up", "0" * 16, ("a", "b"), part, part, picture_side=picture_side)


OWN = "npz:photos.npz"


def test_the_input_that_is_deployed_is_the_one_that_is_timed() -> None:
    plan = plan_search("arm", input="96x96x1")
    sized = plan.at_timed_input(images(28, 1))
    assert (sized.space.resolution, sized.space.channels, sized.space.classes) == (96, 1, 2)
    assert sized.space.stem_pool
    assert plan.study != plan_search("arm").study
    assert sized.space.digest != plan_search("arm").space.digest


def test_an_input_that_is_no_square_is_timed_and_trained() -> None:
    plan = plan_search("arm", recipe="quick", input="48x64x3")
    proxy = plan.at_timed_input(images(28))
    assert forms_of(proxy, images(28)).describe(TOP_1).startswith("timed: 48×64×3, ")
    same = plan.at_timed_input(images(48, width=64))
    found = forms_of(same, images(48, width=64))
    assert found.describe(TOP_1).startswith("timed and trained: 48×64×3, ")
    assert same.space.resolution == (48, 64)
    own = plan_search("arm", data=OWN, recipe="quick")
    data = images(48, picture_side=300, width=64)
    sized = own.at_timed_input(data)
    assert sized.space.resolution == (48, 64)
    assert sized.timed_input is not None
    assert sized.timed_input.describe(sized.space, data) == [
        "your images are trained at 48×64; --input times another size"
    ]


def test_a_level_is_chosen_by_flops_at_the_input_that_is_deployed() -> None:
    data = images(32)
    assert plan_search("arm", ["40M"]).at_timed_input(data).space.name == "40M"
    there = plan_search("arm", ["40M"], input="112x112x3").at_timed_input(data)
    assert there.space.name == "140M"
    named = plan_search("arm", ["40M"], space="40M", input="112x112x3").at_timed_input(data)
    assert (named.space.name, named.space.resolution) == ("40M", 112)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [28, 32, 64])
def test_an_input_of_the_size_of_the_images_is_timed_as_it_is_trained(
    side: int, channels: int
) -> None:
    data, text = images(side, channels), f"{side}x{side}x{channels}"
    plan = plan_search("arm", space="40M", recipe="quick", input=text).at_timed_input(data)
    found = forms_of(plan, data)
    assert found.timed == found.trained and not found.is_proxy
    assert found.describe(TOP_1).startswith(f"timed and trained: {side}×{side}×{channels}")


def test_an_input_that_no_level_takes_says_what_it_may_be() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_search("arm", input="28x28x3").at_timed_input(images(32))
    assert "must be at least 32x32, for the strides of space 140M" in str(caught.value)
    assert "or be that of the images, 32x32x3" in str(caught.value)
    assert "got '28x28x3'" in str(caught.value)


@pytest.mark.parametrize("picture_side", [12, 32])
def test_own_images_that_are_not_reduced_are_timed_as_they_are_trained(picture_side: int) -> None:
    data = images(32, picture_side=picture_side)
    plan = plan_search("arm", data=OWN, recipe="quick").at_timed_input(data)
    found = forms_of(plan, data)
    assert found.timed == found.trained
    assert plan.timed_input is not None
    assert "the size of your images" in plan.timed_input.describe(plan.space, data)[0]


@pytest.mark.parametrize(("picture_side", "timed"), [(64, 64), (224, 224), (500, 224)])
def test_larger_images_are_timed_at_their_size_up_to_that_of_the_level(
    picture_side: int, timed: int
) -> None:
    data = images(32, picture_side=picture_side)
    plan = plan_search("arm", data=OWN, recipe="quick").at_timed_input(data)
    found = forms_of(plan, data)
    assert (found.timed.resolution, found.timed.classes) == (timed, 2)
    assert found.is_proxy
    assert plan.timed_input is not None
    (line,) = plan.timed_input.describe(plan.space, data)
    assert f"up to {picture_side} pixels" in line and f"{timed}×{timed} is timed" in line


@pytest.mark.parametrize("named", [{"space": "40M"}, {"budgets": ["40M"]}])
def test_a_named_level_keeps_its_input(named: dict[str, Any]) -> None:
    plan = plan_search("arm", data=OWN, **named).at_timed_input(images(32, picture_side=32))
    assert plan.space == LEVELS["40M"]


def test_published_sets_keep_the_input_of_the_level() -> None:
    assert plan_search("arm").at_timed_input(images(28, 1)).space == LEVELS["140M"]


def test_an_own_space_keeps_its_stem() -> None:
    plan = plan_search("arm", space=LEVELS["40M"], input="64x64x4")
    assert plan.timed_input is None
    assert (plan.space.resolution, plan.space.channels, plan.space.stem_pool) == (64, 4, True)


def test_what_is_timed_and_what_is_trained_is_said() -> None:
    data = images(28, 1)
    plan = plan_search("arm", input="96x96x3", recipe="quick").at_timed_input(data)
    line = forms_of(plan, data).describe(TOP_1)
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


OWN_CORES = """
[devices.phone]
kind = "emulated"
core = "cortex-a76"
runtime = "litert"

[devices.int8]
kind = "emulated"
core = "cortex-a57"
precision = "int8"
"""


@pytest.fixture
def own_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nas-sv2.toml").write_text(OWN_CORES)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own_cores")
def test_memory_is_that_of_the_runtime_whose_kernels_are_priced() -> None:
    for targets, runtimes in (("phone", ("litert",)), ("arm,phone", ("onnxruntime", "litert"))):
        assert plan_search(targets, budgets=["8MiB"]).budget.runtimes == runtimes
    with pytest.raises(ConfigError, match=r"left out with int8 \(onnxruntime, int8, batch 1\)"):
        plan_search("arm,int8", budgets=["8MiB"])


def test_memory_is_that_of_the_kernels_of_a_phone_of_the_catalogue() -> None:
    for targets, runtimes in (("pixel-4", ("litert",)), ("galaxy-a03s", ("onnxruntime",))):
        assert plan_search(targets, budgets=["8MiB"]).budget.runtimes == runtimes
    with pytest.raises(ConfigError, match=r"left out with pixel-4-int8 \(\w+, int8, batch 1\)"):
        plan_search("arm,pixel-4-int8", budgets=["8MiB"])
    with pytest.raises(ConfigError, match=r"left out with rock-5b \(ncnn, fp16, batch 1\)"):
        plan_search("rock-5b", budgets=["8MiB"])


@pytest.mark.usefixtures("own_cores")
def test_a_latency_of_another_precision_than_is_compared_is_said(tmp_path: Path) -> None:
    recipe = tmp_path / "q8.yaml"
    recipe.write_text("nas_sv2_recipe: 1\nepochs: 1\nscore_form: int8\n")
    (said,) = describe_precision(plan_search("arm,int8", recipe=str(recipe)))
    assert said.strip() == "accuracies are of int8 networks, the latencies of arm of fp32"
    (said,) = describe_precision(plan_search("arm,int8"))
    assert said.strip() == "accuracies are of fp32 networks, the latencies of int8 of int8"
    assert describe_precision(plan_search("arm,phone")) == []
