import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.course import one_cycle
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe, Schedule
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.evaluate.recipes.teacher import Teacher

CHANGES: dict[str, Any] = {
    "name": "other",
    "epochs": 7,
    "train_images": 77,
    "classes": 7,
    "subset_seed": 7,
    "images_per_epoch": 77,
    "validation_images": 77,
    "validate_each_epoch": True,
    "width_factor": 0.7,
    "stem_stride": 1,
    "stem_pool": True,
    "resolution": 20,
    "batch": 7,
    "learning_rate": 0.7,
    "warm_up": 0.7,
    "schedule": "cosine",
    "optimiser": "adamw",
    "momentum": 0.7,
    "nesterov": False,
    "weight_decay": 0.7,
    "label_smoothing": 0.7,
    "flip": False,
    "shift": 7,
    "crop_area": 0.7,
    "colour": 0.7,
    "precision": "bf16",
    "norm_images": 7,
    "hopeless_after": 0.7,
    "score": "cross_entropy",
    "seeds": 7,
    "full_training": FullTraining(7),
    "teacher": Teacher("a.onnx"),
    "class_weights": "balanced",
    "score_form": "int8",
}


def test_the_digest_names_every_field() -> None:
    plain = Recipe("plain", epochs=1)
    changed = [dataclasses.replace(plain, **{field: value}) for field, value in CHANGES.items()]
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(Recipe)}
    assert len({one.digest for one in [plain, *changed]}) == len(changed) + 1
    assert Recipe("plain", epochs=1).digest == plain.digest


def test_the_speed_of_a_training_is_of_no_form() -> None:
    with pytest.raises(ConfigError, match=r"score_form must be fp32 .* got 'int8'"):
        Recipe("r", 1, score="training_speed", score_form="int8")


def test_a_recipe_without_later_fields_keeps_the_digest_of_before() -> None:
    assert RECIPES["quick"].digest == "dabbca8732f93395"


def test_of_a_teacher_the_digest_names_all_but_its_place() -> None:
    plain = Recipe("plain", 1, teacher=Teacher("a.onnx", digest="0" * 16))
    assert plain.teacher is not None
    changes: dict[str, Any] = {"temperature": 7, "share": 0.7, "input": "unit", "digest": "1" * 16}
    changed = [
        dataclasses.replace(plain, teacher=dataclasses.replace(plain.teacher, **{field: value}))
        for field, value in changes.items()
    ]
    fields = {field.name for field in dataclasses.fields(Teacher)}
    assert {*changes, "model"} == fields
    assert len({one.digest for one in [plain, *changed]}) == len(changed) + 1
    moved = dataclasses.replace(
        plain, teacher=dataclasses.replace(plain.teacher, model="b/a.onnx")
    )
    assert moved.digest == plain.digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 3),
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch", 0),
        ("seeds", 0),
        ("images_per_epoch", 0),
        ("train_images", 0),
        ("classes", 1),
        ("resolution", -1),
        ("resolution", 5000),
        ("shift", -1),
        ("shift", 0.5),
        ("weight_decay", float("nan")),
        ("momentum", 1.0),
        ("warm_up", 1.1),
        ("label_smoothing", -0.1),
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("width_factor", 0),
        ("width_factor", 1.5),
        ("crop_area", 0),
        ("colour", 2),
        ("flip", "yes"),
        ("stem_stride", 3),
        ("schedule", "step"),
        ("optimiser", "lion"),
        ("score", "f1"),
        ("score", ":f1"),
        ("score", "lab:"),
        ("score", "lab:a b"),
        ("score", None),
        ("precision", "fp8"),
        ("score", "luck"),
        ("full_training", {"ema": True}),
    ],
)
def test_what_cannot_be_trained_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field} must "):
        dataclasses.replace(Recipe("plain", epochs=1), **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("validation_resize", 0), ("mixup", -1), ("random_erase", 2), ("ema", 1), ("norm_steps", -1)],
)
def test_a_full_training_that_cannot_be_meant_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field} must "):
        dataclasses.replace(FullTraining(256), **{field: value})


def test_the_published_recipes_say_what_their_sources_say() -> None:
    for name in ("paper", "megvii", "torchvision-new"):
        assert (RECIPES[name].batch, RECIPES[name].learning_rate) == (1024, 0.5)
    paper, megvii, new = (RECIPES[name] for name in ("paper", "megvii", "torchvision-new"))
    steps = 1_281_167 // 1024 * paper.epochs
    assert steps == pytest.approx(300_000, rel=0.001)
    assert (paper.weight_decay, paper.schedule, paper.warm_up) == (4e-5, "linear", 0)
    assert megvii.full_training is not None and megvii.full_training.norm_steps == 1250
    assert (new.epochs, new.epochs * new.warm_up, new.schedule) == (600, 5, "cosine")


@given(
    st.integers(1, 500),
    st.floats(1e-4, 10),
    st.floats(0, 1),
    st.sampled_from(["linear", "cosine"]),
)
def test_the_rate_climbs_once_and_falls_once(
    steps: int, peak: float, warm_up: float, schedule: Schedule
) -> None:
    rates = [one_cycle(step, steps, peak, warm_up, schedule) for step in range(steps)]
    top = rates.index(max(rates))
    assert min(rates) >= 0
    assert max(rates) <= peak * (1 + 1e-9)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_half_way_down_the_cosine_is_at_half_the_peak_and_above_the_line_before() -> None:
    assert one_cycle(49, 99, 1.0, 0.0, "cosine") == pytest.approx(0.5)
    assert one_cycle(24, 99, 1.0, 0.0, "cosine") > one_cycle(24, 99, 1.0, 0.0, "linear")


def test_no_change_has_a_sign_of_its_own() -> None:
    assert facts_of("accuracy").signed(-0.00001) == "+0.00"
    assert facts_of("my.lab:metric").signed(-0.00001) == "+0.0000"
    assert facts_of("accuracy").signed(-0.012) == "-1.20"
