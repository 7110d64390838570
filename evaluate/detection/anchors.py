"""The anchors of a detector, and how well they fit the boxes of its data.

A box is learnt from the anchors whose overlap with it reaches the head's threshold. A box without
one learns from its nearest anchor alone, as in torchvision. Anchors are a stride apart at every
size of the images, so small images have few that fit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from nas_sv2.evaluate.detection.detector import Detector
from nas_sv2.evaluate.detection.scenes import Scenes
from nas_sv2.space.graph.operators import Value

LOOKED_AT = 200  # images: they have 350 boxes or so, whose share has an error below 3 points


@dataclass(frozen=True, slots=True)
class AnchorFit:
    """How many anchors the boxes of some images have.

    Attributes:
        boxes: Number of boxes.
        overlap: The intersection over union from which an anchor is positive.
        anchors_per_box: Mean number of such anchors of a box.
        boxes_without: Share of the boxes that have none, 0 to 1.
    """

    boxes: int
    overlap: float
    anchors_per_box: float
    boxes_without: float

    def describe(self) -> str:
        """Return the fit in one line."""
        return (
            f"anchors: {self.anchors_per_box:.1f} a box overlap it by {self.overlap:g} or more; "
            f"{self.boxes_without:.0%} of the boxes have none and learn from the nearest alone"
        )


def predicting_maps(detector: Detector, module: nn.Module) -> list[Tensor]:
    """Return empty maps (1, C, H, W) of the shapes on which the first stage predicts."""
    model: Any = module
    middle, last = (_empty(part.output) for part in (detector.trunk.body, detector.trunk.tail))
    if detector.head == "light-head":
        return [middle]
    maps = [middle, last]
    with torch.no_grad():
        for block in model.backbone.extra:
            maps.append(block(maps[-1]))
    return maps


def anchors_of(detector: Detector, module: nn.Module) -> Tensor:
    """Return the anchors of a module in evaluation, x1, y1, x2, y2 in pixels, (A, 4)."""
    model: Any = module
    size = (detector.height, detector.width)
    generator = (model.rpn.rpn if detector.head == "light-head" else model).anchor_generator
    blank = ImageList(torch.zeros(1, 3, *size), [size])
    (anchors,) = generator(blank, predicting_maps(detector, module))
    found: Tensor = anchors
    return found


def anchor_fit(detector: Detector, module: nn.Module, part: Scenes) -> AnchorFit:
    """Compare the anchors of a module in evaluation with the boxes of up to `LOOKED_AT` images.

    The images are evenly spaced. Crowds are not trained on and do not count.
    """
    model: Any = module
    first = model.rpn.rpn if detector.head == "light-head" else model
    overlap = float(first.proposal_matcher.high_threshold)
    anchors = anchors_of(detector, module)
    counts: list[Tensor] = []
    for index in np.unique(np.linspace(0, len(part) - 1, LOOKED_AT, dtype=int)):
        scene = part.scenes[index]
        scale = scene.scale_into(detector.height, detector.width)
        boxes = torch.from_numpy(scene.boxes[~scene.crowds]) * scale
        counts.append((box_iou(boxes, anchors) >= overlap).sum(1))
    every = torch.cat(counts).double()
    return AnchorFit(len(every), overlap, float(every.mean()), float((every == 0).double().mean()))


def _empty(value: Value) -> Tensor:
    return torch.zeros(1, value.channels, value.height, value.width)
