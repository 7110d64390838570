import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.fitting.evaluator import Evaluator
from nas_sv2.evaluate.fitting.learners import ChanceCheck
from nas_sv2.evaluate.fitting.validation import refresh_norms
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import built_in_recipe as recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.weights import check_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

one_thread = partial(ProxyTraining, threads=1)  # two would spin if the cores are shared
SHORT = Recipe("short", epochs=2, batch=20, learning_rate=0.05)


def same_figures(left: Evaluation, right: Evaluation) -> bool:
    timeless = (dataclasses.replace(one, seconds=0, images_per_second=0) for one in (left, right))
    return next(timeless) == next(timeless)


def test_the_same_seed_gives_the_same_figures(blobs: ImageData, tiny: Architecture) -> None:
    first, again = (one_thread(SHORT, blobs, 7).train(tiny) for _ in range(2))
    assert same_figures(first.evaluation, again.evaluation)
    assert all(np.array_equal(first.weights[name], again.weights[name]) for name in first.weights)
    other = one_thread(SHORT, blobs, 8).evaluate(tiny)
    assert other.loss != first.evaluation.loss


def test_in_int8_the_same_training_is_compared_by_another_form(
    blobs: ImageData, tiny: Architecture
) -> None:
    short = dataclasses.replace(SHORT, seeds=2, score="cross_entropy")
    plain = one_thread(short, blobs).train(tiny)
    int8 = one_thread(dataclasses.replace(short, score_form="int8"), blobs).train(tiny)
    assert all(np.array_equal(plain.weights[name], int8.weights[name]) for name in plain.weights)
    assert plain.evaluation.float_accuracy is None
    assert int8.evaluation.float_accuracy == plain.evaluation.accuracy
    assert int8.evaluation.loss != plain.evaluation.loss
    assert int8.evaluation.score == pytest.approx(-(int8.evaluation.loss or 0))
    assert int8.evaluation.history == plain.evaluation.history
    assert Evaluation.from_json(int8.evaluation.to_json()) == int8.evaluation
    assert "in int8 (float32 " in int8.evaluation.describe_figure()


@pytest.mark.parametrize("field", ["batch", "images_per_epoch", "train_images"])
def test_a_step_of_one_image_is_refused_where_a_map_has_one_pixel(
    blobs: ImageData, tiny: Architecture, field: str
) -> None:
    changes: dict[str, Any] = {field: 1}
    single, shallow = (
        dataclasses.replace(SHORT, **changes),
        dataclasses.replace(tiny, stages=tiny.stages[:2]),
    )
    with pytest.raises(ConfigError, match=rf"recipe\.{field} must be 2 or more .*; got 1"):
        one_thread(single, blobs).adapt(tiny)
    one_thread(single, blobs).adapt(shallow)


def test_global_seed_and_threads_are_left_alone(blobs: ImageData, tiny: Architecture) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    two_steps = dataclasses.replace(SHORT, epochs=1, images_per_epoch=40, validation_images=20)
    one_thread(two_steps, blobs, threads=threads + 1).evaluate(tiny)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_smoke_beats_chance_on_animals(animals: ImageData) -> None:
    evaluator: Evaluator = one_thread(recipe("smoke"), animals)
    evaluation = evaluator.evaluate(reference("shufflenet_v2_x0_5"))
    assert evaluation.stopped is None
    assert evaluation.figure.value > 0.2
    assert evaluation.val_images == recipe("smoke").validation_images
    assert evaluation.data == f"animals@{animals.key}"
    assert evaluation.recipe_digest == recipe("smoke").digest


def test_the_trained_form_is_that_of_data_and_recipe(blobs: ImageData, tiny: Architecture) -> None:
    trained = one_thread(SHORT, blobs).train(tiny)
    form = trained.architecture
    assert (form.resolution, form.channels, form.classes) == (16, 1, 2)
    assert (form.stem_stride, form.stem_pool) == (2, False)
    assert (form.stages, form.head) == (tiny.stages, tiny.head)
    check_weights(lower(form), trained.weights)
    assert trained.evaluation.figure.value > 0.9


def test_a_recipe_may_keep_the_stem_of_the_network(blobs: ImageData, tiny: Architecture) -> None:
    kept = dataclasses.replace(SHORT, stem_stride=None, stem_pool=None)
    for stride, pool in ((1, False), (2, False), (1, True)):
        own = dataclasses.replace(tiny, stem_stride=stride, stem_pool=pool)
        form = one_thread(kept, blobs).adapt(own)
        assert (form.stem_stride, form.stem_pool) == (stride, pool)


def test_the_history_tells_every_pass(blobs: ImageData, tiny: Architecture) -> None:
    steps: list[tuple[int, int]] = []
    training = one_thread(SHORT, blobs, progress=lambda *step: steps.append(step))
    history = training.evaluate(tiny).history
    assert steps == [(step, 20) for step in range(1, 21)]
    assert history[0].accuracy is None
    assert history[1].accuracy is not None
    each = dataclasses.replace(SHORT, validate_each_epoch=True)
    evaluation = one_thread(each, blobs).evaluate(tiny)
    assert all(epoch.loss is not None for epoch in evaluation.history)
    assert evaluation.history[-1].loss == evaluation.loss
    assert evaluation.train_images == 400


def test_a_loss_that_is_not_finite_names_step_and_rate(
    blobs: ImageData, tiny: Architecture
) -> None:
    wild = dataclasses.replace(SHORT, learning_rate=1e30, hopeless_after=1.0)
    with pytest.raises(
        EvaluationError, match=r"loss is (nan|inf) at step \d+ of 20 \(learning rate"
    ):
        one_thread(wild, blobs).evaluate(tiny)


def test_a_network_at_chance_is_given_up_and_says_so(blobs: ImageData, tiny: Architecture) -> None:
    timid = dataclasses.replace(SHORT, epochs=10, learning_rate=1e-30)
    labels = torch.arange(len(blobs.train)) // 2 % 2  # unrelated to the images
    data = dataclasses.replace(blobs, train=Part(blobs.train.images, labels))
    evaluation = one_thread(timid, data).evaluate(tiny)
    assert evaluation.stopped is not None
    assert "no better than chance after 50 steps" in evaluation.stopped
    assert evaluation.epochs == 5
    assert evaluation.history[-1].accuracy == evaluation.accuracy
    brief = one_thread(dataclasses.replace(timid, epochs=2), data).evaluate(tiny)
    assert brief.stopped is None


def test_lopsided_data_are_no_reason_to_give_up() -> None:
    labels = (torch.arange(400) % 20 == 0).long()  # 95 % are of class 0
    always_zero = torch.tensor([5.0, 0.0]).expand(400, 2)
    for loss, hope in ((0.1, True), (0.7, False)):
        check = ChanceCheck.of(labels, SHORT, steps=100)
        verdicts = [check.judge(step, loss, always_zero, labels) for step in range(100)]
        assert [step for step, verdict in enumerate(verdicts) if verdict] == ([] if hope else [49])


def test_settled_norms_know_the_images_and_leave_the_weights_alone(blobs: ImageData) -> None:
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
    before = {name: value.clone() for name, value in module.named_parameters()}
    batches = one_thread(dataclasses.replace(SHORT, shift=0), blobs).batches
    refresh_norms(module, batches, len(blobs.train), torch.Generator())
    norm = module[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    assert abs(float(norm.running_mean)) < 1e-4
    assert abs(float(norm.running_var) - 1) < 0.02
    assert norm.momentum == 0.1
    assert all(torch.equal(before[name], value) for name, value in module.named_parameters())


def test_an_interrupt_passes_through_and_threads_come_back(
    blobs: ImageData, tiny: Architecture
) -> None:
    def interrupt(step: int, steps: int) -> None:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        one_thread(SHORT, blobs, threads=threads + 1, progress=interrupt).evaluate(tiny)
    assert torch.get_num_threads() == threads


def test_images_smaller_than_the_stride_are_refused(tiny: Architecture, blobs: ImageData) -> None:
    small = dataclasses.replace(
        blobs,
        train=Part(blobs.train.images[..., :8, :8].contiguous(), blobs.train.labels),
        val=Part(blobs.val.images[..., :8, :8].contiguous(), blobs.val.labels),
    )
    with pytest.raises(ConfigError, match="total stride"):
        one_thread(SHORT, small).evaluate(tiny)


def test_memory_mapped_images_train_to_the_same_figures(
    blobs: ImageData, tiny: Architecture, tmp_path: Path
) -> None:
    np.save(tmp_path / "train.npy", blobs.train.images.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "train.npy", mmap_mode="c"))
    data = dataclasses.replace(blobs, train=Part(mapped, blobs.train.labels))
    left, right = (one_thread(SHORT, one).evaluate(tiny) for one in (blobs, data))
    assert same_figures(left, right)


def test_candidates_see_the_same_images_in_the_same_order(blobs: ImageData) -> None:
    first, again = (
        [images for images, _ in one_thread(SHORT, blobs).batches.one_pass(generator)]
        for generator in (torch.Generator().manual_seed(1), torch.Generator().manual_seed(1))
    )
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("fault", ["dtype", "shape", "labels", "none", "one class"])
def test_data_that_do_not_fit_together_are_refused(blobs: ImageData, fault: str) -> None:
    images, labels = blobs.val.images, blobs.val.labels
    part = {
        "dtype": Part(images.float(), labels),
        "shape": Part(images[..., :8], labels),
        "labels": Part(images, labels + 1),
        "none": Part(images[:0], labels[:0]),
        "one class": blobs.val,
    }[fault]
    names = ("only",) if fault == "one class" else blobs.class_names
    with pytest.raises(ConfigError):
        dataclasses.replace(blobs, val=part, class_names=names)
