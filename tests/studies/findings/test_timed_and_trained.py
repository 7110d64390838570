"""What is timed and what is trained is said in one line, and a proxy is called one."""

import dataclasses
import json
from typing import Any

import pytest

from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.studies.findings.timed_and_trained import Form, TimedAndTrained

TOP_1 = facts_of("accuracy")
FORM = Form(32, 3, 10, 1, False)


@pytest.mark.parametrize(
    "other",
    [{"resolution": 28}, {"channels": 1}, {"stem_stride": 2}, {"stem_pool": True}],
)
def test_another_input_or_stem_is_a_proxy(other: dict[str, Any]) -> None:
    found = TimedAndTrained(dataclasses.replace(FORM, **other), FORM)
    assert found.is_proxy
    said = found.describe(TOP_1)
    assert said.startswith("timed: ") and said.endswith(", a proxy; accuracies are of it")
    assert found.describe_proxy(TOP_1).endswith("), not of the network that is timed")


@pytest.mark.parametrize(("score", "name"), [("mean_ap", "mean AP"), ("mae", "MAE")])
def test_the_figure_of_a_proxy_is_named(score: str, name: str) -> None:
    found = TimedAndTrained(dataclasses.replace(FORM, resolution=28), FORM)
    assert found.describe(facts_of(score)).endswith(f", a proxy; each {name} is of it")
    assert found.describe_proxy(facts_of(score)).startswith(f"each {name} is of a proxy (32×32×3")
    own = TimedAndTrained(FORM, None).describe_proxy(facts_of(score))
    assert own.startswith(f"the {name} is the evaluator's")


def test_narrower_networks_are_a_proxy() -> None:
    found = TimedAndTrained(FORM, dataclasses.replace(FORM, width_factor=0.5))
    assert found.is_proxy and "widths × 0.5" in found.describe(TOP_1)


def test_the_same_network_is_no_proxy_and_its_classes_are_told() -> None:
    same = TimedAndTrained(FORM, FORM)
    assert not same.is_proxy and same.describe_proxy(TOP_1) == ""
    assert same.describe(TOP_1) == (
        "timed and trained: 32×32×3, stem of stride 1 and no pool, the same network"
    )
    wider = TimedAndTrained(dataclasses.replace(FORM, classes=1000), FORM)
    assert not wider.is_proxy
    assert wider.describe(TOP_1).endswith("but for classes, 1,000 timed and 10 trained")


def test_an_evaluator_of_the_users_may_train_anything() -> None:
    found = TimedAndTrained(FORM, None)
    assert not found.is_proxy
    for said in (found.describe(TOP_1), found.describe_proxy(TOP_1)):
        assert "not known" in said


def test_plain_data_gives_the_same_again() -> None:
    for found in (TimedAndTrained(FORM, None), TimedAndTrained(Form.of(LEVELS["40M"]), FORM)):
        assert TimedAndTrained.read(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("stored", [None, {}, {"timed": FORM, "trained": {"resolution": 0}}])
def test_something_else_is_not_read(stored: object) -> None:
    with pytest.raises(ValueError):
        TimedAndTrained.read(stored)
