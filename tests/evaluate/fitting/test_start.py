"""A training that starts from given weights: what is taken, frozen, and slower."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.learners import FACTOR, make_optimiser
from nas_sv2.evaluate.fitting.start import Start, take
from nas_sv2.evaluate.full import training as full_training
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module, weights_of
from nas_sv2.space.runtimes.weights import Array, random_weights, weight_shapes
from nas_sv2.space.units.architecture import Architecture, Stage

STAGES = (Stage(1, 16), Stage(2, 32, residual=True))
NETWORK = Architecture(
    stem=(8,), stages=STAGES, head=64, resolution=16, channels=1, classes=2, stem_pool=False
)
GRAPH = lower(NETWORK)
RECIPE = Recipe("r", 2, batch=20, images_per_epoch=100, learning_rate=0.05, norm_images=40)


def given_weights(network: Architecture = NETWORK) -> dict[str, Array]:
    """Weights and statistics that no initialisation gives."""
    weights = random_weights(lower(network), seed=7)
    return {name: array + np.float32(0.01) for name, array in weights.items()}


@given(st.sets(st.sampled_from(sorted(weight_shapes(GRAPH)))))
@settings(max_examples=30)
def test_those_of_its_name_and_shape_are_taken_and_no_other(changed: set[str]) -> None:
    weights = given_weights()
    for number, name in enumerate(sorted(changed)):
        array = weights.pop(name)
        if number % 2:
            weights[name] = np.zeros((*array.shape, 1), np.float32)
    taken = take(GRAPH, {**weights, "of.another": np.zeros(3, np.float32)})
    assert set(taken.fresh) == changed
    assert set(taken.names) == weight_shapes(GRAPH).keys() - changed
    assert 0 <= taken.share <= 1 and (taken.share == 1) >= (not changed)
    assert f"{taken.count - len(changed)} of {taken.count} taken" in taken.describe("w")
    assert ("fresh" in taken.describe("w")) == bool(changed)


def test_another_number_of_classes_starts_with_a_classifier_of_its_own() -> None:
    start = Start(given_weights(dataclasses.replace(NETWORK, classes=9)), "nine")
    module = build_module(GRAPH)
    fresh = weights_of(module)
    taken = start.apply(module, GRAPH)
    assert list(taken.fresh) == ["head.classifier.weight", "head.classifier.bias"]
    assert "head.classifier.bias ((9,) there, (2,) here)" in taken.describe("nine")
    for name, array in weights_of(module).items():
        source = fresh if name in taken.fresh else start.weights
        assert (array == source[name]).all(), name


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({"source": "w", "weights": {}}, "weights", "0% of its parameters"),
        ({"frozen": ("stem",), "source": ""}, "freeze", "without weights"),
        (
            {"frozen": ("stem", "body")},
            "freeze",
            "part of the network: stem, stage2, stage3, head",
        ),
        ({"frozen": ("st",)}, "freeze", "part of the network"),
        ({"rates": {"stage9": 0.1}}, "rates", "part of the network"),
        ({"frozen": ("stage2",), "rates": {"stage2.0": 0.1}}, "rates", "not frozen"),
        ({"frozen": ("stem", "stage2", "stage3", "head")}, "freeze", "a part that learns"),
    ],
)
def test_a_start_that_cannot_be_meant_is_refused(
    options: dict[str, object], field: str, said: str
) -> None:
    start = dataclasses.replace(Start(given_weights(), "w"), **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said) as caught:
        start.check(GRAPH)
    assert caught.value.field == field


def test_weights_of_another_network_are_refused_and_what_is_fresh_is_not_frozen() -> None:
    wider = dataclasses.replace(NETWORK, stages=(Stage(1, 24), Stage(2, 48, residual=True)))
    with pytest.raises(ConfigError, match="must be weights of this network"):
        Start(given_weights(wider), "wider").check(GRAPH)
    weights = given_weights()
    del weights["stage2.0.main.expand.norm.running_var"]
    Start(weights, "w", ("stem",)).check(GRAPH)
    with pytest.raises(ConfigError, match=r"stage2.*running_var is not \(not there\)"):
        Start(weights, "w", ("stem", "stage2")).check(GRAPH)


@pytest.mark.parametrize("ema", [False, True])
def test_frozen_parts_come_out_bit_by_bit_their_statistics_too(
    ema: bool, blobs: ImageData, tmp_path: Path
) -> None:
    full = FullTraining(validation_resize=16, norm_steps=3, ema=ema)
    recipe = dataclasses.replace(RECIPE, full_training=full, resolution=16)
    start, told = Start(given_weights(), "w", ("stem", "stage3.0")), list[str]()
    run = FullRun(recipe, blobs, tmp_path, notify=told.append, start=start)
    found = run.train(NETWORK).weights
    assert found.keys() == start.weights.keys()
    for name, array in found.items():
        kept = name.startswith(("stem.", "stage3.0."))
        assert (array == start.weights[name]).all() == kept, name
    assert any("w: 77 of 77 taken" in line for line in told), told


def test_a_step_of_one_image_is_refused_unless_the_norms_of_one_pixel_are_frozen(
    blobs: ImageData, tmp_path: Path
) -> None:
    network = dataclasses.replace(NETWORK, stages=(*STAGES, Stage(1, 64)))
    recipe = dataclasses.replace(RECIPE, epochs=1, batch=1, images_per_epoch=3, norm_images=0)
    frozen = ("stem", "stage4", "head.conv")
    for parts, fault in ((frozen[:2], "2 or more for each process"), (frozen, None)):
        run = FullRun(recipe, blobs, tmp_path, start=Start(given_weights(network), "w", parts))
        if fault:
            with pytest.raises(ConfigError, match=fault):
                run.train(network)
        else:
            assert len(run.train(network).passes) == 1


def test_rates_are_factors_and_the_longest_name_counts() -> None:
    module = build_module(GRAPH)
    plain = make_optimiser(module, RECIPE).param_groups
    assert [group[FACTOR] for group in plain] == [1, 1]
    rates = {"stage3": 0.5, "stage3.1": 0.25, "stem": 0.1}
    groups = make_optimiser(module, RECIPE, rates).param_groups
    factor_of = {id(one): group[FACTOR] for group in groups for one in group["params"]}
    for name, parameter in module.named_parameters():
        part = ".".join(name.split(".")[:2])
        wanted = rates.get(part, rates.get(name.split(".")[0], 1.0))
        assert factor_of[id(parameter)] == wanted, name


def test_a_small_rate_moves_a_part_less(blobs: ImageData, tmp_path: Path) -> None:
    weights = given_weights()
    for number, rates in enumerate(({}, {"stage2": 1e-6})):
        start = Start(weights, "w", rates=rates)
        run = FullRun(RECIPE, blobs, tmp_path / str(number), start=start)
        run.out.mkdir()
        found = run.train(NETWORK).weights
        name = "stage2.0.main.expand.conv.weight"
        moved = float(np.abs(found[name] - weights[name]).max())
        assert moved < 1e-5 if rates else moved > 1e-3


def test_killed_and_taken_up_with_the_same_start_alone(
    blobs: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_training, "CHECKPOINT_SECONDS", 0.0)
    start = Start(given_weights(), "w", ("stem",), {"stage2": 0.3})
    (tmp_path / "whole").mkdir()
    whole = FullRun(RECIPE, blobs, tmp_path / "whole", start=start).train(NETWORK)

    def interrupt(done: int, steps: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FullRun(RECIPE, blobs, tmp_path, start=start, progress=interrupt).train(NETWORK)
    for other in (None, dataclasses.replace(start, frozen=("stem", "stage2"), rates={})):
        with pytest.raises(StoreError, match="is of another training: start"):
            FullRun(RECIPE, blobs, tmp_path, start=other).train(NETWORK)
    told: list[str] = []
    again = FullRun(RECIPE, blobs, tmp_path, start=start, notify=told.append).train(NETWORK)
    assert any("step 7 of 10" in line for line in told)
    for name, array in whole.weights.items():
        assert (again.weights[name] == array).all(), name


def test_a_start_has_its_own_digest() -> None:
    start = Start(given_weights(), "w", ("stem",), {"stage2": 0.1})
    changed = given_weights()
    changed["stem.0.norm.bias"] = changed["stem.0.norm.bias"] + np.float32(1e-6)
    others = [
        dataclasses.replace(start, weights=changed),
        dataclasses.replace(start, frozen=()),
        dataclasses.replace(start, rates={"stage2": 0.2}),
    ]
    assert len({one.digest for one in (start, *others)}) == 4
    assert dataclasses.replace(start, source="moved").digest == start.digest
