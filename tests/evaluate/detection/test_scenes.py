"""Images with boxes as batches, and the demo data."""

import numpy as np
import pytest
import torch

from nas_sv2.evaluate.detection import drawn
from nas_sv2.evaluate.detection.scenes import NO_BOX, SceneBatches, SceneData, as_targets


def test_the_demo_data_repeat_and_their_boxes_are_around_ink(few_drawn: SceneData) -> None:
    drawn._made.cache_clear()
    again = drawn.open_drawn()
    assert (again.key, len(again.train), len(again.val)) == (few_drawn.key, 12, 3)
    for one, other in ((few_drawn.train, again.train), (few_drawn.val, again.val)):
        for index, scene in enumerate(one.scenes):
            assert np.array_equal(scene.boxes, other.scenes[index].boxes)
            assert np.array_equal(one.read(index), other.read(index))
            assert 1 <= len(scene.boxes) <= drawn.MOST_ANIMALS
            assert scene.boxes.min() >= 0
            assert np.all(scene.boxes[:, 2] <= 128) and np.all(scene.boxes[:, 3] <= 96)
    scene, pixels = few_drawn.train.scenes[0], few_drawn.train.read(0)
    left, top, right, bottom = scene.boxes[-1].astype(int)  # nothing is drawn over the last
    colours = pixels[top:bottom, left:right].reshape(-1, 3)
    ink, count = np.unique(colours, axis=0, return_counts=True)
    drawing = (pixels[top:bottom, left:right] == ink[count.argmax()]).all(-1)
    assert drawing[0].any() and drawing[-1].any()
    assert drawing[:, 0].any() and drawing[:, -1].any()


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(96, 128, 1.0), (64, 64, 0.5), (48, 200, 0.5)]
)
def test_boxes_follow_their_images(
    few_drawn: SceneData, height: int, width: int, scale: float
) -> None:
    """Mirrored or not, a box of the batch shows the pixels of its box in the image."""
    batches = SceneBatches(few_drawn.train, height, width, 12, flip=True)
    generator = torch.Generator().manual_seed(0)
    order = batches.order(generator)
    assert sorted(order.tolist()) == list(range(12)) and len(batches) == 1
    images, rows = batches.take(order, 0, generator)
    assert images.shape == (12, 3, height, width) and rows.shape[::2] == (12, 5)
    mirrored = 0
    for image, each, target, index in zip(
        images, rows, as_targets(rows), order.tolist(), strict=True
    ):
        scene = few_drawn.train.scenes[index]
        pixels, factor = few_drawn.train.fitted(index, height, width)
        assert factor == scale
        expected = torch.from_numpy(pixels) / 255
        boxes = torch.from_numpy(scene.boxes) * scale
        if not torch.equal(image, expected):
            mirrored += 1
            assert torch.equal(image, expected.flip(2))
            left, right = width - boxes[:, 2], width - boxes[:, 0]
            boxes = torch.stack([left, boxes[:, 1], right, boxes[:, 3]], 1)
        assert torch.allclose(target["boxes"], boxes)
        assert target["labels"].tolist() == (scene.classes + 1).tolist()
        assert (each[:, 0] == NO_BOX).sum() == len(each) - len(boxes)
    assert 0 < mirrored < 12


def test_a_pass_may_be_a_part(few_drawn: SceneData) -> None:
    batches = SceneBatches(few_drawn.train, 64, 64, 4, flip=False, limit=9)
    assert len(batches) == 2
    assert len(batches.order(torch.Generator().manual_seed(0))) == 9
