import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from killed_full_training import NETWORK, RECIPE
from killed_training import data as halves
from torch import Tensor

from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Normalise, augmentation
from nas_sv2.evaluate.fitting.batches import Batches, Mixed, erased, pasted
from nas_sv2.evaluate.fitting.determinism import stream
from nas_sv2.evaluate.full.distributed import Processes
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe

PLAIN = Normalise(torch.zeros(1), torch.ones(1))


def mixed(full: FullTraining, count: int = 40, size: int = 10) -> Mixed:
    """Images whose grey level is their number and their class."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 8, 8)
    part = Part(images, torch.arange(count))
    return Mixed(Batches(part, lambda images, _: images, PLAIN, size), full, count)


def first(supply: Mixed, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = stream(seed, "order")
    return supply.take(supply.order(generator), 0, generator)


@pytest.mark.parametrize(
    "full", [FullTraining(8, mixup=0.2), FullTraining(8, cutmix=1.0)], ids=["mixup", "cutmix"]
)
def test_the_target_says_how_much_of_each_class_an_image_shows(full: FullTraining) -> None:
    shown = []
    for seed in range(20):
        images, targets = first(mixed(full), seed)
        torch.testing.assert_close(targets.sum(1), torch.ones(10))
        expected = targets @ torch.arange(40.0)
        torch.testing.assert_close(images.mean((1, 2, 3)), expected, rtol=1e-4, atol=1e-4)
        shown.append(float(targets.max(1).values.mean()))
    assert len(set(shown)) > 10 and max(shown) > 0.9


def test_either_way_of_mixing_comes_up() -> None:
    full = FullTraining(8, mixup=0.2, cutmix=1.0)
    flat = [
        bool((images == images[:, :, :1, :1]).all())
        for images, _ in (first(mixed(full), seed) for seed in range(30))
    ]
    assert 5 < sum(flat) < 25


REPEATS = FullTraining(16, repeated_augmentation=4)


@pytest.mark.parametrize(
    "full",
    [dataclasses.replace(REPEATS, mixup=1.0), dataclasses.replace(REPEATS, cutmix=1.0)],
    ids=["mixup", "cutmix"],
)
def test_repeats_of_an_image_are_mixed_with_another_image(full: FullTraining) -> None:
    mixing = 0
    for seed in range(20):
        _, targets = first(mixed(full, 64, 16), seed)
        several = (targets > 0).sum(1)
        assert set(several.tolist()) in ({1}, {2})  # all rows alike: 1 if nothing was pasted
        mixing += int(several[0] == 2)
    assert mixing > 15


def test_what_is_pasted_is_the_neighbours_and_counted() -> None:
    images = torch.arange(4.0)[:, None, None, None].repeat(1, 1, 10, 10)
    for seed in range(20):
        out, kept = pasted(images, images.roll(1, 0), 0.6, stream(seed, "paste"))
        foreign = out != images
        assert float(foreign[0].double().mean()) == pytest.approx(1 - kept)
        assert (out[foreign] == images.roll(1, 0)[foreign]).all()
        assert kept > 0.55  # of so few pixels a side is rounded to a tenth


def test_rectangles_are_erased_as_often_and_as_large_as_said() -> None:
    images = torch.ones(2000, 3, 32, 32)
    out = erased(images, 0.25, stream(0, "erase"))
    gone = (out == 0).double().mean((1, 2, 3))
    hit = gone > 0
    assert float(hit.double().mean()) == pytest.approx(0.25, abs=0.03)
    assert 0.01 < float(gone[hit].min()) < float(gone[hit].max()) < 0.35
    assert float(gone[hit].mean()) == pytest.approx(0.175, abs=0.02)
    one = (out[hit.nonzero()[0, 0], 0] == 0).nonzero()
    tall, wide = (one.max(0).values - one.min(0).values + 1).tolist()
    assert tall * wide == len(one)
    assert torch.equal(erased(images, 0.0, stream(0, "erase")), images)


def test_repeated_images_come_in_a_row_and_a_pass_stays_as_long() -> None:
    supply = mixed(FullTraining(8, repeated_augmentation=4), count=42)
    order = supply.order(stream(0, "order"))
    assert len(order) == 42 and len(supply) == 4
    counts = [len(list(run)) for _, run in itertools.groupby(order.tolist())]
    assert counts == [4] * 10 + [2]


def test_two_processes_see_the_same_repeats_augmented_differently() -> None:
    run = FullRun(
        dataclasses.replace(
            RECIPE, full_training=FullTraining(16, repeated_augmentation=2), flip=False, shift=0
        ),
        halves(),
        Path("unused"),
    )
    taken = []
    for rank in range(2):
        supply = dataclasses.replace(run, processes=Processes(2, rank)).supply
        generator = stream(0, "order")
        taken.append(supply.take(supply.order(generator), 0, generator))
    assert torch.equal(taken[0][1], taken[1][1])
    assert not any(torch.equal(*pair) for pair in zip(taken[0][0], taken[1][0], strict=True))


@pytest.mark.parametrize(
    "full",
    [dataclasses.replace(REPEATS, random_erase=1.0), dataclasses.replace(REPEATS, mixup=1.0)],
    ids=["erased", "mixed"],
)
def test_two_processes_erase_and_mix_by_draws_of_their_own(full: FullTraining) -> None:
    recipe = dataclasses.replace(RECIPE, full_training=full, flip=False, shift=0)
    run = FullRun(recipe, halves(), Path("unused"))
    gone, targets = [], []
    for rank in range(2):
        supply = dataclasses.replace(run, processes=Processes(2, rank)).supply
        generator = stream(0, "order")
        images, shares = supply.take(supply.order(generator), 0, generator)
        gone.append(images == 0)
        targets.append(shares)
    if full.mixup:
        assert not torch.equal(*targets)
    else:
        assert gone[0].any() and not torch.equal(*gone)


def test_trivial_augment_repeats_and_leaves_the_global_generator_alone() -> None:
    full = FullTraining(16, trivial_augment=True)
    recipe = Recipe("r", 1, shift=0, flip=False, crop_area=0.5, full_training=full)
    images = torch.randint(0, 256, (16, 3, 20, 20), generator=stream(0, "i"), dtype=torch.uint8)
    plain = augmentation(dataclasses.replace(recipe, full_training=None), 16)
    before = torch.get_rng_state()
    once, again = (augmentation(recipe, 16)(images, stream(1, "a")) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(once, again)
    changed = (once != plain(images, stream(1, "a")).round()).flatten(1).any(1)
    assert changed.sum() > 8 and once.dtype == torch.uint8


def test_a_training_with_all_of_it_learns_and_repeats(blobs: ImageData, tmp_path: Path) -> None:
    published = RECIPES["torchvision-new"].full_training
    assert published is not None
    full = dataclasses.replace(published, validation_resize=16, train_resolution=12)
    recipe = dataclasses.replace(RECIPE, epochs=8, full_training=full, learning_rate=0.1)
    found = []
    for number in range(2):
        out = tmp_path / str(number)
        out.mkdir()
        found.append(FullRun(recipe, blobs, out, threads=1).train(NETWORK))
    assert found[0].validation == found[1].validation
    assert found[0].validation.figure.value > 0.8
    for name, array in found[0].weights.items():
        assert (array == found[1].weights[name]).all(), name
