"""How the anchors of a detector fit boxes: against anchors and boxes that are known."""

import dataclasses

import numpy as np
import pytest

from nas_sv2.evaluate.detection.anchors import AnchorFit, anchor_fit, anchors_of, predicting_maps
from nas_sv2.evaluate.detection.detector import HEADS, Detector, build_detector
from nas_sv2.evaluate.detection.scenes import Scene, SceneData, Scenes
from nas_sv2.space.families.published import published_network

HEIGHT, WIDTH = 96, 128


def detector(head: str, height: int = HEIGHT, width: int = WIDTH) -> Detector:
    return Detector(published_network("shufflenet_v2_x0_5"), head, height, width, 10)


def scene_of(boxes: np.ndarray, crowds: np.ndarray, factor: int = 1) -> Scenes:
    """One image, `factor` times as large as that of the detector."""
    count = len(boxes)
    scene = Scene(
        0,
        HEIGHT * factor,
        WIDTH * factor,
        boxes.astype(np.float32) * factor,
        np.zeros(count, np.int64),
        crowds,
        np.ones(count, np.float32),
    )
    return Scenes([scene], lambda index: np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("factor", [1, 2])
def test_a_box_that_is_an_anchor_has_one_and_a_tiny_box_has_none(head: str, factor: int) -> None:
    form = detector(head)
    module = build_detector(form).eval()
    anchors = anchors_of(form, module).numpy()
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2:] <= (WIDTH, HEIGHT)).all(1)
    exact = anchors[inside][0]
    boxes = np.array([exact, [3, 3, 4, 4], exact])
    fit = anchor_fit(form, module, scene_of(boxes, np.array([False, False, True]), factor))
    assert fit.overlap == (0.7 if head == "light-head" else 0.5)
    assert (fit.boxes, fit.boxes_without) == (2, 0.5)  # a crowd is not trained on
    assert fit.anchors_per_box >= 0.5


@pytest.mark.parametrize("head", HEADS)
def test_there_is_an_anchor_for_each_prediction(head: str) -> None:
    form = detector(head)
    module = build_detector(form).eval()
    places = sum(one.shape[2] * one.shape[3] for one in predicting_maps(form, module))
    a_place = 15 if head == "light-head" else 6
    assert anchors_of(form, module).shape == (places * a_place, 4)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (100, 140), (97, 161), (800, 1333)])
def test_anchors_of_light_head_are_a_stride_apart_at_any_size(height: int, width: int) -> None:
    """A network of stride 16 sees pixel 16·i at place i of its map."""
    form = detector("light-head", height, width)
    anchors = anchors_of(form, build_detector(form).eval())
    centres = ((anchors[:, :2] + anchors[:, 2:]) / 2).round().tolist()
    places = [
        (16.0 * x, 16.0 * y) for y in range(-(-height // 16)) for x in range(-(-width // 16))
    ]
    assert form.trunk.middle_stride == 16
    assert [tuple(centre) for centre in centres] == [each for each in places for _ in range(15)]


@pytest.mark.parametrize("head", HEADS)
def test_larger_images_have_more_anchors_for_the_same_boxes(
    head: str, few_drawn: SceneData
) -> None:
    def fit(factor: int) -> AnchorFit:
        form = detector(head, factor * HEIGHT, factor * WIDTH)
        return anchor_fit(form, build_detector(form).eval(), few_drawn.train)

    small, large = fit(1), fit(2)
    assert small.boxes == large.boxes == sum(len(one.boxes) for one in few_drawn.train.scenes)
    assert small.anchors_per_box < large.anchors_per_box
    assert small.boxes_without > large.boxes_without


def test_it_is_said_in_one_line() -> None:
    fit = AnchorFit(9, 0.5, 1.4, 0.37)
    assert fit.describe() == (
        "anchors: 1.4 a box overlap it by 0.5 or more; "
        "37% of the boxes have none and learn from the nearest alone"
    )
    assert "0.0 a box" in dataclasses.replace(fit, anchors_per_box=0.0).describe()
