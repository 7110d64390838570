"""Every field of a recipe that chooses among trainings, held to what it does."""

import dataclasses
import statistics
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Colour, RandomCrop, augmentation
from nas_sv2.evaluate.fitting.course import Step
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.fitting.learners import NetworkLearner, balanced_weights, make_optimiser
from nas_sv2.evaluate.fitting.subset import choose_subset
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.units.architecture import Architecture, Stage, scale_width
from nas_sv2.space.units.reference import reference

SHORT = Recipe("short", epochs=2, batch=20, learning_rate=0.05)
SMALL = Architecture(
    stem=(8,), stages=(Stage(1, 16),), head=32, resolution=8, channels=1, stem_pool=False
)
one_thread = partial(ProxyTraining, threads=1)


def with_(**fields: Any) -> Recipe:
    return dataclasses.replace(SHORT, **fields)


@pytest.fixture(scope="module")
def many() -> ImageData:
    """Eight classes, told by the grey level of all pixels, which is the number of the image."""
    numbers = torch.arange(240)
    images = numbers.to(torch.uint8)[:, None, None, None].expand(240, 1, 8, 8).contiguous()
    part = Part(images, numbers % 8)
    return ImageData("many", "k", tuple("abcdefgh"), part, part)


def test_a_subset_is_the_same_each_time_and_another_with_another_seed(many: ImageData) -> None:
    first, again, other = (
        choose_subset(many, with_(train_images=50, subset_seed=seed)).among for seed in (0, 0, 1)
    )
    assert first is not None and again is not None and other is not None
    assert len(set(first.tolist())) == 50
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert choose_subset(many, with_(train_images=240)).among is None


def test_only_the_subset_is_trained_on(many: ImageData) -> None:
    training = one_thread(with_(train_images=50, classes=3, flip=False, shift=0), many)
    chosen = training.subset
    assert chosen.among is not None
    seen = {
        round(float(image * many.train.images.double().std() + many.train.images.double().mean()))
        for images, _ in training.batches.one_pass(torch.Generator())
        for image in images[:, 0, 0, 0]
    }
    assert seen <= set(chosen.among.tolist())
    assert len(seen) == 40


def test_classes_are_left_out_whole_and_numbered_anew(many: ImageData) -> None:
    chosen = choose_subset(many, with_(classes=3))
    assert chosen.among is not None
    kept = set((chosen.among % 8).tolist())
    assert len(kept) == chosen.classes == 3
    assert len(chosen.among) == len(chosen.val) == 90
    assert set(chosen.train.labels[chosen.among].tolist()) == {0, 1, 2}
    assert {int(image.flatten()[0]) % 8 for image in chosen.val.images} == kept
    everything = choose_subset(many, with_(classes=9))
    assert (everything.classes, everything.among) == (8, None)


def test_balanced_weights_make_every_class_count_alike() -> None:
    labels = torch.tensor([0] * 30 + [2] * 6 + [3] * 4)
    weights = balanced_weights(labels)
    sums = weights * torch.bincount(labels)
    assert weights[1] == 0
    torch.testing.assert_close(sums[[0, 2, 3]], torch.full((3,), len(labels) / 3))
    assert float(weights[labels].mean()) == pytest.approx(1)


def test_the_loss_of_a_step_weighs_the_classes(many: ImageData) -> None:
    """Classes 0 to 3 have three times the images of 4 to 7."""
    rare = many.train.labels >= 4
    kept = (~rare | (torch.arange(240) % 3 == 0)).nonzero()[:, 0]
    part = Part(many.train.images[kept], many.train.labels[kept])
    data, network = dataclasses.replace(many, train=part), dataclasses.replace(SMALL, classes=8)
    losses = {}
    for weights in ("none", "balanced"):
        recipe = with_(class_weights=weights, label_smoothing=0.0)
        training = one_thread(recipe, data)
        module = build_module(lower(network), torch.Generator().manual_seed(1))
        learner = NetworkLearner.of(module, training.batches, recipe)
        inputs, labels = next(training.batches.one_pass(torch.Generator().manual_seed(2)))
        with torch.no_grad():
            each = -module.train()(inputs).log_softmax(1)[torch.arange(len(labels)), labels]
        losses[weights] = learner.learn(Step(0, 9, 0.0), inputs, labels)[0]
        weight = 1 + 2.0 * (labels >= 4) if weights == "balanced" else torch.ones(len(labels))
        assert losses[weights] == pytest.approx(
            float((weight * each).sum() / weight.sum()), rel=1e-4
        )
    assert losses["none"] != losses["balanced"]


def test_candidates_are_compared_by_balanced_accuracy(many: ImageData) -> None:
    found = one_thread(with_(score="balanced_accuracy"), many).train(SMALL).evaluation
    assert found.scored_by == "balanced_accuracy"
    assert found.scores == (found.balanced_accuracy,)


def test_candidates_are_compared_by_macro_f1(many: ImageData) -> None:
    found = one_thread(with_(score="macro_f1"), many).train(SMALL).evaluation
    assert found.scored_by == "macro_f1" and 0 <= found.score <= 1
    plain = one_thread(with_(), many).train(SMALL).evaluation
    assert found.accuracy == plain.accuracy


def test_classes_without_images_are_refused(many: ImageData) -> None:
    few = dataclasses.replace(many, val=Part(many.val.images[:1], many.val.labels[:1] * 0 + 7))
    missing = next(
        seed
        for seed in range(99)
        if 7 % 8 not in choose_subset(many, with_(classes=2, subset_seed=seed)).val.images % 8
    )
    with pytest.raises(ConfigError, match=r"recipe\.classes"):
        choose_subset(few, with_(classes=2, subset_seed=missing))


def test_a_network_of_few_classes_has_so_many_outputs(many: ImageData, tiny: Architecture) -> None:
    small = dataclasses.replace(tiny, stages=tiny.stages[:2])
    trained = one_thread(with_(classes=3), many).train(small)
    assert trained.architecture.classes == 3
    assert trained.evaluation.val_images == 90


@given(
    st.sampled_from(
        ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_se_x1_0", "shufflenet_v2_50"]
    ),
    st.floats(0.01, 1),
)
def test_every_share_of_the_widths_can_be_built(name: str, factor: float) -> None:
    whole = reference(name)
    narrow = scale_width(whole, factor)
    lower(narrow)
    for ours, theirs in zip(narrow.stages, whole.stages, strict=True):
        assert dataclasses.replace(ours, width=0) == dataclasses.replace(theirs, width=0)
        assert ours.width <= theirs.width
    assert scale_width(whole, 1.0) is whole


def test_half_the_widths_are_half_where_that_can_be_built() -> None:
    stages = (Stage(2, 48, Fraction(1, 4)), Stage(2, 100, Fraction(3, 4)))
    whole = Architecture((16,), stages, head=64)
    half = scale_width(whole, 0.5)
    assert (half.stem, [stage.width for stage in half.stages], half.head) == ((8,), [24, 48], 32)
    assert [stage.width for stage in scale_width(whole, 0.01).stages] == [4, 8]


def test_the_narrow_form_is_what_is_trained(blobs: ImageData, tiny: Architecture) -> None:
    form = one_thread(with_(width_factor=0.5), blobs).train(tiny).architecture
    assert [stage.width for stage in form.stages] == [8, 16, 32]


def test_optimisers_are_those_named() -> None:
    layer = nn.Linear(2, 2)
    sgd = make_optimiser(layer, with_(nesterov=False)).param_groups[0]
    assert (sgd["momentum"], sgd["nesterov"]) == (0.9, False)
    assert make_optimiser(layer, SHORT).param_groups[0]["nesterov"]
    adamw = make_optimiser(layer, with_(optimiser="adamw", momentum=0.8))
    assert isinstance(adamw, torch.optim.AdamW)
    assert [group["weight_decay"] for group in adamw.param_groups] == [5e-4, 0]
    assert adamw.param_groups[0]["betas"] == (0.8, 0.999)


@pytest.mark.parametrize(
    "fields",
    [
        {"optimiser": "adamw", "learning_rate": 0.005},
        {"schedule": "cosine"},
        {"precision": "bf16"},
        {"crop_area": 0.5},
        {"colour": 0.4},
        {"nesterov": False},
    ],
)
def test_each_way_trains_and_is_another_training(
    fields: dict[str, Any], blobs: ImageData, tiny: Architecture
) -> None:
    plain = one_thread(SHORT, blobs).evaluate(tiny)
    other = one_thread(with_(**fields), blobs).evaluate(tiny)
    assert other.figure.value > 0.8
    assert other.loss != plain.loss


def test_bf16_is_of_the_forward_passes_alone(blobs: ImageData, tiny: Architecture) -> None:
    trained = one_thread(with_(precision="bf16"), blobs).train(tiny)
    assert all(array.dtype == "float32" for array in trained.weights.values())


def test_each_score_is_what_it_says(blobs: ImageData, tiny: Architecture) -> None:
    accuracy, entropy, speed = (
        one_thread(with_(score=score), blobs).evaluate(tiny)
        for score in ("accuracy", "cross_entropy", "training_speed")
    )
    assert accuracy.score == accuracy.accuracy == entropy.accuracy == speed.accuracy
    assert entropy.loss is not None and entropy.score == -entropy.loss
    assert speed.score == pytest.approx(-sum(each.train_loss for each in speed.history) / 2)
    assert (entropy.scored_by, speed.scored_by) == ("cross_entropy", "training_speed")


def test_seeds_are_averaged_and_their_spread_is_told(blobs: ImageData, tiny: Architecture) -> None:
    steps: list[tuple[int, int]] = []
    three = with_(seeds=3, score="cross_entropy")
    mean = one_thread(three, blobs, 1, progress=lambda *s: steps.append(s)).train(tiny).evaluation
    single = [one_thread(SHORT, blobs, seed).evaluate(tiny) for seed in (3, 4, 5)]
    losses = [each.loss or 0.0 for each in single]
    assert mean.scores == tuple(-loss for loss in losses)
    assert mean.loss == statistics.fmean(losses)
    assert mean.spread == statistics.stdev(losses)
    assert mean.score == statistics.fmean(mean.scores)
    assert steps == [(step, 60) for step in range(1, 61)]
    assert single[0].spread is None
    assert Evaluation.from_json(mean.to_json()) == mean


def test_no_two_studies_share_a_training(many: ImageData) -> None:
    used = [ProxyTraining(with_(seeds=3), many, seed).seeds for seed in range(4)]
    assert [seed for seeds in used for seed in seeds] == list(range(12))


def gradient(count: int, channels: int = 3) -> torch.Tensor:
    """Images whose red is the row and green the column, 0 to 252."""
    level = torch.arange(64) * 4
    rows, columns = torch.meshgrid(level, level, indexing="ij")
    image = torch.stack([rows, columns, 0 * rows])[:channels].to(torch.uint8)
    return image.expand(count, channels, 64, 64)


def test_a_crop_shows_a_part_of_the_asked_size_magnified() -> None:
    images = gradient(400)
    cropped = RandomCrop(0.25)(images, torch.Generator().manual_seed(0))
    assert cropped.shape == images.shape
    # What is seen of rows and columns, as shares of 64, from the slopes in the middle.
    high = (cropped[:, 0, 40, 32] - cropped[:, 0, 24, 32]) / 64
    wide = (cropped[:, 1, 32, 40] - cropped[:, 1, 32, 24]) / 64
    area, ratio = high * wide, wide / high
    assert 0.24 < float(area.min()) < 0.28 and 0.9 < float(area.max()) < 1.01
    assert float(area.mean()) == pytest.approx(0.62, abs=0.03)
    assert float(ratio.min()) > 0.74 and float(ratio.max()) < 1.35
    corners = cropped[:, 0, 0, 0]
    assert float(corners.min()) < 4 and float(corners.max()) > 80


def test_a_crop_of_everything_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    whole = RandomCrop(1.0)(gradient(50), generator)
    # The sides still vary from 3:4 to 4:3, and neither goes beyond the image.
    assert float(whole.max()) <= 252 and float(whole.min()) >= 0


def test_colours_vary_by_their_strength_and_stay_in_range() -> None:
    images = torch.full((500, 3, 4, 4), 100, dtype=torch.uint8)
    changed = Colour(0.4)(images, torch.Generator().manual_seed(0))
    assert 60 <= float(changed.min()) < 65 and 135 < float(changed.max()) <= 140.01
    bright = Colour(1.0)(gradient(100), torch.Generator().manual_seed(0))
    assert float(bright.min()) >= 0 and float(bright.max()) <= 255
    grey = Colour(0.4)(gradient(5, channels=1), torch.Generator().manual_seed(0))
    assert grey.shape == (5, 1, 64, 64)


def test_what_a_recipe_has_not_draws_nothing() -> None:
    plain, more = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    augmentation(SHORT)(gradient(4), plain)
    augmentation(with_(crop_area=0.5, colour=0.1))(gradient(4), more)
    after = torch.Generator().manual_seed(0)
    torch.randint(5, (2, 4, 1), generator=after)
    torch.rand(4, 1, generator=after)
    assert torch.equal(plain.get_state(), after.get_state())
    assert not torch.equal(more.get_state(), after.get_state())
