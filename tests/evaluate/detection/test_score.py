"""COCO's average precision, by pycocotools."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas_sv2.evaluate.detection.scenes import SceneData, Scenes
from nas_sv2.evaluate.detection.score import score


class Oracle(nn.Module):
    """Finds the true boxes of images that come in order, each moved and scored alike."""

    def __init__(self, part: Scenes, scale: float, moved: float = 0.0, classes: int = 0) -> None:
        super().__init__()
        self.scenes, self.scale = iter(part.scenes), scale
        self.moved, self.classes = moved, classes

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for scene in (next(self.scenes) for _ in images):
            sizes = np.tile(scene.boxes[:, 2:] - scene.boxes[:, :2], 2)
            boxes = torch.from_numpy(scene.boxes + self.moved * sizes) * self.scale
            labels = torch.from_numpy((scene.classes + self.classes) % 10 + 1)
            found.append(
                {"boxes": boxes, "labels": labels, "scores": torch.full((len(boxes),), 0.9)}
            )
        return found


def test_true_boxes_are_100_and_moved_ones_fail_where_overlap_is_asked_for(
    few_drawn: SceneData,
) -> None:
    part = few_drawn.train
    perfect = score(Oracle(part, 0.5), part, 10, 48, 64)
    assert perfect.mmap_percent == pytest.approx(100)
    assert (perfect.images, perfect.large_percent) == (12, None)  # none is so large
    moved = score(Oracle(part, 0.5, moved=0.1), part, 10, 48, 64)  # an overlap of 0.68
    assert moved.ap50_percent == pytest.approx(100)
    assert moved.ap75_percent == 0
    assert moved.mmap_percent == pytest.approx(40)
    assert score(Oracle(part, 0.5, classes=1), part, 10, 48, 64).mmap_percent == pytest.approx(
        0, abs=5
    )


def test_a_crowd_counts_neither_way(few_drawn: SceneData) -> None:
    crowded = [
        dataclasses.replace(one, crowds=np.arange(len(one.boxes)) == 0)
        for one in few_drawn.train.scenes
    ]
    part = Scenes(crowded, few_drawn.train.read)
    assert score(Oracle(part, 1.0), part, 10, 96, 128).mmap_percent == pytest.approx(100)


def test_no_box_found_is_0(few_drawn: SceneData) -> None:
    class Blind(nn.Module):
        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
            return [none for _ in images]

    found = score(Blind(), few_drawn.val, 10, 96, 128)
    assert found.mmap_percent == found.medium_percent == 0
    assert found.small_percent is found.large_percent is None  # there is no such box
