"""COCO's average precision of a detector, by pycocotools."""

import contextlib
import importlib.util
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.detection.scenes import Scenes

BATCH = 8  # images at once; it changes no score


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """Average precisions over all categories, in %; None without a box of that kind.

    Attributes:
        images: Number of images.
        mmap_percent: The mean over overlaps from 0.5 to 0.95, COCO's main figure.
        ap50_percent: At an overlap of 0.5.
        ap75_percent: At an overlap of 0.75.
        small_percent: As the mean, for objects below 32² pixels.
        medium_percent: The same for objects between.
        large_percent: The same for objects above 96² pixels.
    """

    images: int
    mmap_percent: float | None
    ap50_percent: float | None
    ap75_percent: float | None
    small_percent: float | None
    medium_percent: float | None
    large_percent: float | None


def check_scorer() -> None:
    """Refuse to begin without pycocotools.

    Raises:
        EvaluationError: It is not installed.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise EvaluationError("pycocotools is not installed; pip install 'nas-sv2[detection]'")


def score(
    module: nn.Module, part: Scenes, categories: int, height: int, width: int, device: str = "cpu"
) -> DetectionScore:
    """Score a detector on all images of `part`, in the images' own pixels.

    Args:
        module: The detector.
        part: The images.
        categories: Number of categories.
        height: Height of the detector's images.
        width: Width of the detector's images.
        device: Torch device of the module.
    """
    module.eval()
    found: list[dict[str, Any]] = []
    for start in range(0, len(part), BATCH):
        chosen = range(start, min(start + BATCH, len(part)))
        fitted = [part.fitted(index, height, width) for index in chosen]
        images = [torch.from_numpy(pixels).to(device) / 255 for pixels, _ in fitted]
        with torch.no_grad():
            outputs = module(images)
        for index, (_, scale), output in zip(chosen, fitted, outputs, strict=True):
            boxes = output["boxes"].cpu().double().numpy() / scale
            classes, scores = output["labels"].tolist(), output["scores"].tolist()
            number = part.scenes[index].number
            found += _entries(number, boxes, [one - 1 for one in classes], scores)
    return average_precision(part, categories, found)


def _entries(
    number: int, boxes: np.ndarray, classes: Sequence[int], scores: Sequence[float]
) -> list[dict[str, Any]]:
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return [
        {"image_id": number, "category_id": place, "bbox": box, "score": value}
        for box, place, value in zip(boxes.tolist(), classes, scores, strict=True)
    ]


def average_precision(
    part: Scenes, categories: int, found: Sequence[dict[str, Any]]
) -> DetectionScore:
    """Compare found boxes with those of `part`; entries are as COCO's results."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = COCO()
        truth.dataset = _dataset(part, categories)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(list(found) or [_miss(part)]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    shares = [float(value) for value in evaluation.stats[:6]]
    percents = [None if math.isnan(one) or one < 0 else 100 * one for one in shares]
    return DetectionScore(len(part), *percents)


def _miss(part: Scenes) -> dict[str, Any]:
    """A box that finds nothing: pycocotools takes no empty list."""
    number = part.scenes[0].number
    return {"image_id": number, "category_id": 0, "bbox": [0.0] * 4, "score": 0.0}


def _dataset(part: Scenes, categories: int) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for scene in part.scenes:
        sizes = scene.boxes[:, 2:] - scene.boxes[:, :2]
        for box, size, place, crowd, area in zip(
            scene.boxes, sizes, scene.classes, scene.crowds, scene.areas, strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 would count as no match
                    "image_id": scene.number,
                    "category_id": int(place),
                    "bbox": [float(one) for one in (*box[:2], *size)],
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    return {
        "info": {},
        "images": [
            {"id": one.number, "height": one.height, "width": one.width} for one in part.scenes
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in range(categories)],
    }
