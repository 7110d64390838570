import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes import RECIPES, Recipe, recipe
from nas_sv2.evaluate.schedule import one_cycle

CHANGES: dict[str, Any] = {
    "name": "other",
    "epochs": 7,
    "images_per_epoch": 77,
    "validation_images": 77,
    "validate_each_epoch": True,
    "stem_stride": 1,
    "stem_pool": True,
    "resolution": 20,
    "batch": 7,
    "learning_rate": 0.7,
    "warm_up": 0.7,
    "momentum": 0.7,
    "weight_decay": 0.7,
    "label_smoothing": 0.7,
    "flip": False,
    "shift": 7,
    "norm_images": 7,
    "hopeless_after": 0.7,
}


def test_the_digest_names_every_field() -> None:
    plain = Recipe("plain", epochs=1)
    changed = [dataclasses.replace(plain, **{field: value}) for field, value in CHANGES.items()]
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(Recipe)}
    assert len({one.digest for one in [plain, *changed]}) == len(changed) + 1
    assert Recipe("plain", epochs=1).digest == plain.digest


def test_the_built_in_recipes_are_found_by_name() -> None:
    assert [recipe(name).name for name in ("smoke", "quick", "standard")] == list(RECIPES)


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"--recipe: 'fast' .* one of smoke, quick, standard"):
        recipe("fast")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch", 0),
        ("images_per_epoch", 0),
        ("resolution", -1),
        ("shift", -1),
        ("weight_decay", float("nan")),
        ("warm_up", 1.1),
        ("label_smoothing", -0.1),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
    ],
)
def test_what_cannot_be_trained_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"recipe {field}"):
        dataclasses.replace(Recipe("plain", epochs=1), **{field: value})


@given(st.integers(1, 500), st.floats(1e-4, 10), st.floats(0, 1))
def test_the_rate_climbs_once_and_falls_once(steps: int, peak: float, warm_up: float) -> None:
    rates = [one_cycle(step, steps, peak, warm_up) for step in range(steps)]
    top = rates.index(max(rates))
    assert min(rates) > 0
    assert max(rates) <= peak * (1 + 1e-9)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
