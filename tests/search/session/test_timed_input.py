"""A study belongs to the input that it times: resumed with the same, refused with another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_sv2.api.searching import search
from nas_sv2.api.study import Study
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.search.events.events import Event, SearchDescribed
from nas_sv2.search.session.timed_input import describe_level, read_input
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference


class Wide:
    """Likes width, and takes no time."""

    name = "wide"

    def evaluate(self, architecture: Architecture) -> Evaluation:
        return Evaluation(architecture.stages[0].width / 1000)


def asked(folder: Path, trials: int = 2, **how: Any) -> Study:
    at = f"sqlite:///{folder / 's.db'}"
    return search("arm", evaluator=Wide(), study="s", storage=at, trials=trials, **how)


def test_the_same_input_resumes_and_another_is_refused_by_name(tmp_path: Path) -> None:
    first = asked(tmp_path, space="40M", input="64x64x1")
    assert {r.architecture.resolution for r in first.records.values()} == {64}
    more = asked(tmp_path, 3, space="40M", input="64x64x1")
    assert len(more.records) == 3
    inputs = ({"input": "96x96x1"}, "96x96x1"), ({"input": "64x96x1"}, "64x96x1")
    for other, named in (*inputs, ({}, "224x224x3")):
        with pytest.raises(ConfigError) as caught:
            asked(tmp_path, 4, space="40M", **other)
        said = str(caught.value)
        assert f"this one was begun with input 64x64x1, not {named};" in said
        assert len(said.splitlines()) == 1
    assert len(more.records) == 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_emulated_core_prices_one_to_four_channels(channels: int, tmp_path: Path) -> None:
    found = asked(tmp_path, 1, space="40M", input=f"32x32x{channels}")
    (record,) = found.records.values()
    assert record.architecture.channels == channels
    assert record.latencies["arm"].ms > 0


ARM = EmulatedArm.open()


def test_a_limit_on_latency_alone_says_the_level_and_what_the_others_take() -> None:
    level = replace(LEVELS["140M"], resolution=96, classes=10)
    which, times = describe_level(level, Budget(latency_ms={"arm": 8}), {"arm": ARM})
    assert which == "no FLOPs are budgeted, so that the level is 140M; --space names others"
    assert times.startswith("the paper's network of each level on arm (emulated): 40M ")
    for name, typical in (("40M", "shufflenet_v2_x0_5"), ("140M", "shufflenet_v2_x1_0")):
        network = replace(reference(typical), resolution=96, classes=10)
        assert f"{name} {ARM.estimate(network).ms:.3g} ms" in times


def test_a_limit_on_memory_alone_says_the_level() -> None:
    (which,) = describe_level(LEVELS["140M"], Budget(memory_bytes=2**20), {"arm": ARM})
    assert "the level is 140M" in which
    for budget in (Budget(), Budget(flops=40e6, latency_ms={"arm": 8})):
        assert describe_level(LEVELS["140M"], budget, {"arm": ARM}) == []


@pytest.mark.parametrize(("space", "said"), [(None, 1), ("140M", 0)])
def test_a_level_that_was_named_is_not_explained(
    space: str | None, said: int, tmp_path: Path
) -> None:
    heard: list[SearchDescribed] = []

    def listen(event: Event) -> None:
        if isinstance(event, SearchDescribed):
            heard.append(event)

    asked(tmp_path, 1, budget="40ms", space=space, on_event=listen)
    lines = [line for line in heard[0].lines if "--space names others" in line]
    assert len(lines) == said


@pytest.mark.parametrize(
    "text",
    ["", "96", "96x128", "1x3x96x128", "0x8x3", "8x8x0", "16385x8x3", "8x99999x3", "8x8x-1"],
)
def test_a_refusal_has_the_form_and_the_value_as_typed(text: str) -> None:
    form = r"input must be HEIGHTxWIDTHxCHANNELS, as 96x128x3, each from 1 to 16384"
    with pytest.raises(ConfigError, match=f"^{form}; got {text!r}$"):
        read_input(text)
    assert read_input("96x128x3") == ((96, 128), 3)
    assert read_input("96x96x1") == (96, 1)
