import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest

from nas_sv2.errors import StoreError
from nas_sv2.space.runtimes.weights import Array
from nas_sv2.studies.package.form_checks import EQUAL, Agreement, Labels, agreements, noise


def batches(count: int = 30, labelled: bool = True) -> Iterator[tuple[Array, Labels | None]]:
    """Images whose one pixel a channel is the logit of that class."""
    generator = np.random.default_rng(1)
    for _ in range(2):
        images = generator.standard_normal((count // 2, 4, 1, 1), np.float32)
        yield images, images[:, :, 0, 0].argmax(1) if labelled else None


def flat(images: Array) -> Array:
    return images[:, :, 0, 0]


def agreed(form: "object", labelled: bool = True) -> Agreement:
    return agreements(flat, {"form": form}, batches(labelled=labelled))["form"]  # type: ignore


def test_the_same_agrees_in_everything() -> None:
    found = agreed(flat)
    assert found == Agreement(30, 0.0, 0.0, 0.0, 1.0, 1.0, ((6, 6), (7, 7), (10, 10), (7, 7)))
    found.check("form", quantised=False)
    assert agreed(flat, labelled=False).accuracy is None


def test_figures_are_those_of_all_batches() -> None:
    shifted = agreed(lambda images: flat(images) + np.array([0, 0, 0, 9], np.float32))
    assert shifted.difference == pytest.approx(9)
    largest = max(float(abs(images).max()) for images, _ in batches())
    assert shifted.relative == pytest.approx(9 / largest)
    every = np.concatenate([flat(images) for images, _ in batches()])
    assert shifted.by_class == ((6, 0), (7, 0), (10, 0), (7, 7))
    assert shifted.same == shifted.accuracy == pytest.approx((every.argmax(1) == 3).mean())
    signal = ((every - every.mean(1, keepdims=True)) ** 2).sum()
    assert shifted.error == pytest.approx(math.sqrt(30 * 81 / signal), rel=1e-5)


def test_several_labels_agree_by_their_mean_ap() -> None:
    """The spread is that of each label, as labels of one image do not compete."""
    labels = np.array([[1, 0], [0, 0], [1, 1]], np.float32)
    images = np.array([[9, 1], [5, 2], [1, 9]], np.float32)[:, :, None, None]

    def off(images: Array) -> Array:
        return flat(images) + np.array([0, 3], np.float32)

    forms = {"torch": flat, "off": off}
    found = agreements(flat, forms, iter([(images, labels)]), "labels")
    assert found["torch"].mean_ap == found["off"].mean_ap == pytest.approx((5 / 6 + 1) / 2)
    assert (found["off"].accuracy, found["off"].by_class) == (None, None)
    spread = ((flat(images) - flat(images).mean(0)) ** 2).sum()
    assert found["off"].error == pytest.approx(math.sqrt(27 / spread))


@pytest.mark.parametrize("labelled", [True, False])
def test_several_labels_are_alike_on_the_same_side_of_one_half(labelled: bool) -> None:
    """The label with the largest logit means nothing; on noise nothing else is known either."""
    images = np.array([[9, 1], [5, -2], [-1, -3]], np.float32)[:, :, None, None]
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.float32) if labelled else None

    def off(images: Array) -> Array:
        return flat(images) + np.array([0, 2.5], np.float32)

    found = agreements(flat, {"off": off}, iter([(images, labels)]), "labels")["off"]
    assert found.same is None and found.same_labels == pytest.approx(5 / 6)
    assert found.alike() == ", 83.33% of the labels alike, yes from a probability of ½"
    assert found.differs().endswith("of the largest")
    with pytest.raises(StoreError, match=r"spread, 83\.33% of the labels alike, .*; export it"):
        dataclasses.replace(found, error=2.0).check("off", quantised=True)


@pytest.mark.parametrize(
    "form",
    [
        lambda images: flat(images) * (1 + 10 * EQUAL),
        lambda images: flat(images) * np.float32("nan"),
        lambda images: flat(images)[:, ::-1],
    ],
)
def test_another_network_is_refused(form: object) -> None:
    with pytest.raises(StoreError, match="form and torch disagree"):
        agreed(form).check("form", quantised=False)


def test_int8_may_be_off_but_not_lost() -> None:
    generator = np.random.default_rng(0)

    def rough(images: Array) -> Array:
        off = flat(images) + 0.2 * generator.standard_normal(images.shape[:2]).astype(np.float32)
        return np.asarray(off, np.float32)

    agreed(rough).check("form", quantised=True)
    for lost in (lambda images: flat(images)[:, ::-1], lambda images: flat(images) * np.nan):
        with pytest.raises(StoreError, match="int8 logits"):
            agreed(lost).check("form", quantised=True)


def test_noise_is_the_same_every_time() -> None:
    (first, labels), (second, _) = next(noise(3, 8)), next(noise(3, 8))
    assert labels is None and np.array_equal(first, second)
    assert first.shape == (16, 3, 8, 8) and first.dtype == np.float32
    # Where numpy drew other numbers, int8 could not be compared with what it was elsewhere.
    assert first[0, 0, 0, [0, 2]].tolist() == pytest.approx([1.11762, -0.42657], abs=1e-4)


def test_answers_that_are_one_number_agree_by_their_range_and_error() -> None:
    """A year is never near 0, so that a share of the largest would hide a wrong weight."""
    years = np.array([2000, 2010, 2040], np.float32)
    images = years[:, None, None, None]

    def off(images: Array) -> Array:
        return flat(images) + np.float32(1)

    forms = {"torch": flat, "off": off}
    found = agreements(flat, forms, iter([(images, years + 3)]), "numbers")
    assert (found["torch"].mae, found["off"].mae) == (3.0, 2.0)
    assert (found["off"].same, found["off"].accuracy) == (None, None)
    assert found["off"].relative == pytest.approx(1 / 40)
    assert found["off"].differs() == "answers differ by 2.5e-02 of their range"
    with pytest.raises(StoreError, match=r"off and torch disagree: answers differ by 2\.5e-02"):
        found["off"].check("off", quantised=False)
    near = {"near": lambda x: flat(x) + np.float32(1e-3)}
    constant = agreements(flat, near, iter([(images[:1], None)]), "numbers")
    constant["near"].check("near", quantised=False)
    assert constant["near"].mae is None
