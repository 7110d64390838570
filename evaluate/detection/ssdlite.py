"""torchvision's SSDLite (Sandler et al. 2018, section 6.2) on a trunk: the light alternative.

As in torchvision's `ssdlite320_mobilenet_v3_large`, four more maps follow the trunk's two, each of
half the side, and depthwise-separable convolutions predict on all six. There the first map is that
of an expansion within a unit; here it is the map before the last stage.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import Conv2dNormActivation

from nas_sv2.evaluate.detection.light_head import DEVIATION, MEAN
from nas_sv2.space.networks.trunk import Trunk

EXTRA = (512, 256, 256, 128)
"""Channels of the further maps."""
NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
ANCHORS_A_PLACE = 6
CANDIDATES = 100
"""Boxes of a class before suppression, as many as COCO's metric takes of an image.

torchvision has 300. Suppression compares each with every box that it keeps, so 300 took a fifth to
two fifths of the time of a small detector, by how far its boxes overlap. On the drawn demo data,
100 changed neither mmAP nor AP50 by 0.01 points."""
DETECTIONS, LEAST_SCORE, NMS = 300, 0.001, 0.55
"""Of `ssdlite320_mobilenet_v3_large`: boxes after suppression, and its limits."""


class SixMaps(nn.Module):
    """A backbone and the maps that follow its own."""

    def __init__(self, backbone: nn.Module, channels: int) -> None:
        """Hold the backbone and the further blocks."""
        super().__init__()
        self.backbone = backbone
        blocks = []
        for width in EXTRA:
            blocks.append(_shrinking(channels, width))
            channels = width
        self.extra = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to six maps, the largest first."""
        maps = list(self.backbone(images).values())
        for block in self.extra:
            maps.append(block(maps[-1]))
        return {str(number): value for number, value in enumerate(maps)}


def run_layers(module: Any, maps: dict[str, Tensor]) -> None:
    """Run the layers of a detector whose backbone gives its input back."""
    module.head(list(module.backbone(maps).values()))


def _shrinking(channels: int, width: int) -> nn.Sequential:
    """A block of torchvision's SSDLite that halves the sides of a map."""
    middle, layer = width // 2, partial(Conv2dNormActivation, norm_layer=NORM)
    relu = nn.ReLU6
    return nn.Sequential(
        layer(channels, middle, 1, activation_layer=relu),
        layer(middle, middle, 3, 2, groups=middle, activation_layer=relu),
        layer(middle, width, 1, activation_layer=relu),
    )


def ssdlite(backbone: nn.Module, trunk: Trunk, classes: int) -> nn.Module:
    """The detector on `backbone`, for `classes` categories and the background."""
    widths = [trunk.body.output.channels, trunk.tail.output.channels, *EXTRA]
    detector: nn.Module = SSD(
        SixMaps(backbone, trunk.tail.output.channels),
        DefaultBoxGenerator([[2, 3]] * len(widths), min_ratio=0.2, max_ratio=0.95),
        (trunk.width, trunk.height),
        classes + 1,
        head=SSDLiteHead(widths, [ANCHORS_A_PLACE] * len(widths), classes + 1, NORM),
        image_mean=list(MEAN),
        image_std=list(DEVIATION),
        score_thresh=LEAST_SCORE,
        nms_thresh=NMS,
        topk_candidates=CANDIDATES,
        detections_per_img=DETECTIONS,
    )
    return detector
