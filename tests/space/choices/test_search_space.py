import contextlib
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.space.choices.levels import (
    FLOPS_OF_LEVEL,
    LEVELS,
    named_space,
    nearest_level,
    open_space,
)
from nas_sv2.space.choices.search_space import (
    Range,
    SearchSpace,
    StageChoices,
    space_from_document,
    space_to_document,
)
from nas_sv2.space.choices.suggesters import Replay
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import REFERENCES, reference

OF_LEVEL = {"40M": "x0_5", "140M": "x1_0", "300M": "x1_5", "500M": "x2_0"}


class Recorder:
    """Answers at random, and keeps the answers."""

    def __init__(self, seed: int) -> None:
        self.random, self.params = random.Random(seed), dict[str, Any]()

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        self.params[name] = number = self.random.randrange(low, high + 1, step)
        return number

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.params[name] = choice = self.random.choice(choices)
        return choice


@pytest.mark.parametrize("level", OF_LEVEL)
@pytest.mark.parametrize("form", ["", "star_", "se_", "residual_"])
def test_every_level_holds_the_papers_networks(level: str, form: str) -> None:
    architecture = reference(f"shufflenet_v2_{form}{OF_LEVEL[level]}")
    space = named_space(level)
    assert space.sample(Replay(space.params_of(architecture))) == architecture


@pytest.mark.parametrize("name", ["shufflenet_v2_50", "se_shufflenet_v2_164"])
def test_the_large_space_holds_the_papers_large_networks(name: str) -> None:
    named_space("large").params_of(reference(name))


@pytest.mark.parametrize("name", LEVELS)
@given(st.integers(0, 2**32))
def test_every_answer_gives_a_network_and_replays(name: str, seed: int) -> None:
    space, trial = LEVELS[name], Recorder(seed)
    architecture = space.sample(trial)
    assert space.sample(Replay(trial.params)) == architecture
    lower(architecture)


@pytest.mark.parametrize("name", OF_LEVEL)
def test_a_share_of_a_level_meets_its_budget(name: str) -> None:
    """A budget that almost nothing meets would waste the first, random trials."""
    costs = [cost_of(lower(LEVELS[name].sample(Recorder(seed)))).flops for seed in range(200)]
    meets = sum(flops <= 1.05 * FLOPS_OF_LEVEL[name] for flops in costs) / len(costs)
    assert 0.2 < meets < 0.8


@given(
    st.sampled_from(["head", "stem", "stage2.width", "stage3.kernel", "stage4.split"]),
    st.none() | st.text() | st.floats() | st.integers() | st.lists(st.integers(), max_size=1),
)
def test_a_stored_answer_of_any_kind_is_allowed_or_refused(name: str, value: object) -> None:
    space = named_space("140M")
    params = space.params_of(space.baseline("shufflenet_v2_x1_0"))
    with contextlib.suppress(ConfigError):
        space.sample(Replay({**params, name: value}))


def test_a_network_outside_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stage2\.width"):
        named_space("40M").params_of(reference("shufflenet_v2_x1_0"))
    with pytest.raises(ConfigError, match="a point of space 140M"):
        named_space("140M").params_of(REFERENCES["torchvision_shufflenet_v2_x1_0"])


def test_what_names_no_space_is_told_that_files_do() -> None:
    with pytest.raises(
        ConfigError, match=r"500M, large, a file that ends in \.yaml, .*'own\.txt'"
    ):
        open_space("own.txt")


def test_budgets_choose_the_nearest_level() -> None:
    assert [nearest_level(flops).name for flops in (1e6, 45e6, 120e6, 420e6, 9e9)] == [
        "40M",
        "40M",
        "140M",
        "500M",
        "large",
    ]


def test_identity_is_the_choices_not_the_name() -> None:
    assert len({space.digest for space in LEVELS.values()}) == len(LEVELS)


@pytest.mark.parametrize("numbers", [(0, 8, 8), (8, 4, 4), (8, 20, 8), (8, 16, 0), (True, 2, 1)])
def test_impossible_ranges_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError):
        Range(*numbers)


OWN = """
nas_sv2_space: 1
stem: [16, [24, 24]]
head: 128
resolution: 96
stages:
  - depth: {low: 1, high: 3}
    width: {low: 40, high: 80, step: 8}
    split: [1/4, 0.5]
    kernel: [3, 5]
    se: [false, true]
  - {depth: 2, width: 96}
"""
OWN_TOML = """
nas_sv2_space = 1
stem = [16, [24, 24]]
head = 128
resolution = 96
[[stages]]
depth = {low = 1, high = 3}
width = {low = 40, high = 80, step = 8}
split = ["1/4", 0.5]
kernel = [3, 5]
se = [false, true]
[[stages]]
depth = 2
width = 96
"""


def test_a_users_space_in_yaml_and_toml(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "own.toml").write_text(OWN_TOML)
    space = open_space(str(tmp_path / "own.yaml"))
    assert space == open_space(str(tmp_path / "own.toml"))
    assert space == SearchSpace.load(tmp_path / "own.yaml")
    assert space.name == "own"
    assert {space.sample(Recorder(seed)).stem for seed in range(20)} == {(16,), (24, 24)}
    assert space.sample(Recorder(0)).resolution == 96


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("stem: [16, [24, 24]]", "stem: []", "stem"),
        ("head: 128", "heads: 128", "heads"),
        ("head: 128", "head: wide", "head"),
        ("head: 128", "head: 1000000000", "head.low"),
        ("stem: [16,", "stem: [1000000000,", "stem[0][0]"),
        ("high: 80, step: 8", "high: 1000000000, step: 1", "stages[0].width.high"),
        ("high: 3}", "high: 1001}", "stages[0].depth"),
        ("resolution: 96", "classes: 1000000000", "classes"),
        ("high: 3}", "high: 3, by: 2}", "stages[0].depth.by"),
        ("step: 8", "step: 7", "stages[0].width.range"),
        ("[3, 5]", "[3, 4]", "stages[0].kernel"),
        ("1/4", "5/4", "stages[0].split"),
        ("width: 96", "depths: 2", "stages[1].depths"),
        ("nas_sv2_space: 1", "nas_sv2_space: 7", "nas_sv2_space"),
        ("resolution: 96", "resolution: 4", "resolution"),
        ("resolution: 96", "baselines: [shufflenet_v2_x1_0]", "stem"),
    ],
)
def test_bad_spaces_are_refused_by_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        open_space(str(path))
    assert caught.value.field == f"{path}: {field}"


SMALL = """
nas_sv2_space: 1
resolution: 32
classes: 10
stem_pool: false
stem: [12, 24]
head: {low: 512, high: 1024, step: 512}
stages:
  - {depth: {low: 2, high: 4}, width: {low: 16, high: 48, step: 8}, stride: 1}
  - {depth: {low: 4, high: 8}, width: {low: 32, high: 96, step: 8}}
  - {depth: {low: 2, high: 4}, width: {low: 64, high: 192, step: 16}}
baselines: [shufflenet_v2_x0_25, shufflenet_v2_x0_5]
"""


def test_baselines_have_the_input_and_the_strides_of_the_space(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    space = open_space(str(tmp_path / "small.yaml"))
    narrow = space.baseline("shufflenet_v2_x0_25")
    assert (narrow.resolution, narrow.classes, narrow.total_stride) == (32, 10, 8)
    params = space.params_of(narrow)
    assert (params["stem"], params["stage2.width"], params["head"]) == ("12", 24, 512)
    (tmp_path / "small.yaml").write_text(SMALL.replace("x0_25", "x0_3"))
    with pytest.raises(ConfigError, match="stem must be one of 12, 24; got '14'"):
        open_space(str(tmp_path / "small.yaml"))


def test_unknown_spaces_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="40M"):
        open_space("41M")
    with pytest.raises(ConfigError, match="No such file"):
        open_space(str(tmp_path / "own.toml"))


SPACES = """
from dataclasses import replace
from nas_sv2.space.choices.levels import named_space

narrow = replace(named_space("140M"), name="narrow", baselines=(), classes=10)
odd = replace(narrow, baselines=("shufflenet_v2_x2_0",))
number = 4

def make():
    return narrow
"""


@pytest.mark.parametrize("attribute", ["narrow", "make"])
def test_a_space_may_be_an_object_of_a_module(
    attribute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_spaces.py").write_text(SPACES)
    monkeypatch.syspath_prepend(str(tmp_path))
    space = open_space(f"my_spaces:{attribute}")
    assert (space.name, space.classes) == ("narrow", 10)


@pytest.mark.parametrize(
    ("attribute", "sentence"),
    [
        ("wide", "space must be a module:attribute"),
        ("number", "space must be"),
        ("odd", "must be .*; got"),
    ],
)
def test_another_object_of_a_module_is_refused(
    attribute: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_spaces.py").write_text(SPACES)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=sentence):
        open_space(f"my_spaces:{attribute}")


def test_a_space_of_small_images_says_how_its_stem_keeps_their_size() -> None:
    stage = StageChoices(Range(1, 2), Range(16, 32, 8))
    plain = SearchSpace("small", ((8,),), (stage,), Range(16, 32, 16), resolution=32)
    kept = dataclasses.replace(plain, stem_stride=1, stem_pool=False)
    network = kept.sample(Recorder(0))
    assert (network.stem_stride, network.stem_pool, network.total_stride) == (1, False, 2)
    assert kept.sample(Replay(kept.params_of(network))) == network
    assert space_from_document(space_to_document(kept), "") == kept
    assert kept.digest != plain.digest
    assert LEVELS["40M"].digest == "1082e2c7ba6024d9"  # a study of an older version goes on


@pytest.mark.parametrize("stride", [0, 3, "2"])
def test_a_stem_has_a_stride_of_one_or_two(stride: object) -> None:
    document = {**space_to_document(LEVELS["40M"]), "stem_stride": stride}
    with pytest.raises(ConfigError, match="stem_stride"):
        space_from_document(document, "")
