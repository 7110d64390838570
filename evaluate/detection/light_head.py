"""Light-Head R-CNN (Li et al. 2017), the detector of the paper's Table 7.

Anchors, box coding, sampling, losses, RoI pooling and suppression are torchvision's. This file has
the parts of the head that torchvision lacks. The released code (zengarden/light_head_rcnn) and
section 3 of that paper give:

- a large separable convolution of kernel 15 and 64 channels within (the small setting), which
  gives a thin map of 10·7·7 = 490 channels; position-sensitive RoI pooling of 7×7,
- one fully connected layer of 2048, and four box coordinates that all classes share,
- anchors of 32 to 512 pixels in three ratios, for a short side of 800,
- 12000 boxes before and 2000 after suppression in training, 6000 and 1000 in evaluation.

The sources leave open, for small backbones, and here was chosen:

- The released code has ResNet-101 alone, with a dilated last stage. Here no stage is dilated:
  regions are proposed on the map of stride 16 and pooled from the map of stride 32.
- The region proposal has 256 channels; the released code has 512.
- The backbone ends with its last stage; conv5 is left out.
- Anchors scale with the short side, so that a small input has anchors that fit it.
- Regions are pooled without rounding (`ps_roi_align`).
- torchvision samples regions at random; the released code takes the hardest of an image (OHEM).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import ps_roi_align

from nas_sv2.space.networks.trunk import Trunk

KERNEL, MIDDLE = 15, 64
BINS, BIN_CHANNELS = 7, 10
THIN = BIN_CHANNELS * BINS * BINS
CONNECTED = 2048
PROPOSAL_CHANNELS = 256
ANCHORS = (32, 64, 128, 256, 512)
"""Sides of the anchors in pixels, for a short side of `SHORT_SIDE`."""
RATIOS = (0.5, 1.0, 2.0)
SHORT_SIDE = 800
SAMPLES = 2
"""Points a side of a bin at which `ps_roi_align` reads the map."""
BEFORE = {"training": 12_000, "testing": 6_000}
AFTER = {"training": 2_000, "testing": 1_000}
PROPOSAL_NMS, NMS = 0.7, 0.5
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's levels from 0 to 1, as torchvision's detectors have them."""


class LargeSeparable(nn.Module):
    """15×1 then 1×15, and 1×15 then 15×1, added: a large field for few multiply-adds."""

    def __init__(self, channels: int) -> None:
        """Hold the two branches."""
        super().__init__()
        high, wide = (KERNEL, 1), (1, KERNEL)
        self.first = nn.Sequential(_conv(channels, MIDDLE, high), _conv(MIDDLE, THIN, wide))
        self.second = nn.Sequential(_conv(channels, MIDDLE, wide), _conv(MIDDLE, THIN, high))
        for layer in (*self.first, *self.second):
            # Of deviation 0.01, as elsewhere in the head, a thin map carries next to nothing.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")

    def forward(self, value: Tensor) -> Tensor:
        """(N, C, H, W) to the thin map (N, 490, H, W)."""
        added: Tensor = self.first(value) + self.second(value)
        return added


class ThinBackbone(nn.Module):
    """A backbone whose maps are that for the proposals and the thin one."""

    def __init__(self, backbone: nn.Module, channels: int) -> None:
        """Hold the backbone and the large separable convolution behind it."""
        super().__init__()
        self.backbone = backbone
        self.thin = LargeSeparable(channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to both maps."""
        maps = self.backbone(images)
        return {"proposals": maps["middle"], "thin": self.thin(maps["last"])}


class ProposalHead(nn.Module):
    """torchvision's `RPNHead`, whose inner width is not that of the map."""

    def __init__(self, channels: int, anchors: int) -> None:
        """Hold the shared convolution and the two 1×1 ones."""
        super().__init__()
        self.shared = _conv(channels, PROPOSAL_CHANNELS, (3, 3))
        self.objectness = _conv(PROPOSAL_CHANNELS, anchors, (1, 1))
        self.boxes = _conv(PROPOSAL_CHANNELS, 4 * anchors, (1, 1))

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (N, C, H, W) to objectness (N, A, H, W) and box regressions (N, 4A, H, W)."""
        shared = [torch.relu(self.shared(value)) for value in maps]
        return [self.objectness(each) for each in shared], [self.boxes(each) for each in shared]


class StridedAnchors(nn.Module):
    """torchvision's anchors, as far apart as the backbone's stride.

    torchvision divides the side of the images by that of the map and rounds down. 1333 pixels and
    a map of 84 give 15 in place of 16, so the last anchors would be 83 pixels off.
    """

    def __init__(self, anchors: AnchorGenerator, stride: int) -> None:
        """Hold the generator."""
        super().__init__()
        self.anchors = anchors
        self.stride = stride

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        """Anchors (A, 4) of each image."""
        sides = [side * self.stride for side in maps[0].shape[-2:]]
        whole = ImageList(torch.empty(1, 1, *sides, device="meta"), images.image_sizes)
        found: list[Tensor] = self.anchors(whole, maps)
        return found


class Proposals(nn.Module):
    """torchvision's region proposal network on one of the two maps."""

    def __init__(self, rpn: RegionProposalNetwork) -> None:
        """Hold the network."""
        super().__init__()
        self.rpn = rpn

    def forward(
        self, images: ImageList, maps: dict[str, Tensor], targets: Any = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Regions (R, 4) of each image, and the losses in training."""
        found: tuple[list[Tensor], dict[str, Tensor]] = self.rpn(
            images, {"proposals": maps["proposals"]}, targets
        )
        return found


class PositionSensitivePool(nn.Module):
    """Each bin of a region reads channels of its own of the thin map."""

    def __init__(self, stride: int) -> None:
        """Remember by how much the map is smaller than the image."""
        super().__init__()
        self.stride = stride

    def forward(
        self, maps: dict[str, Tensor], regions: list[Tensor], sizes: list[tuple[int, int]]
    ) -> Tensor:
        """Regions (R, 4) of each image to (R, 10, 7, 7)."""
        pooled: Tensor = ps_roi_align(maps["thin"], regions, BINS, 1 / self.stride, SAMPLES)
        return pooled


class SharedBoxPredictor(nn.Module):
    """Scores of the classes, and one box for all of them."""

    def __init__(self, classes: int) -> None:
        """Hold the layers; `classes` has the background among them."""
        super().__init__()
        self.classes = classes
        self.scores = nn.Linear(CONNECTED, classes)
        self.box = nn.Linear(CONNECTED, 4)

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """(R, 2048) to scores (R, classes) and boxes (R, 4·classes), which are all alike."""
        return self.scores(value), self.box(value).repeat(1, self.classes)


def most_regions(middle: Tensor) -> int:
    """Return how many regions an image has at most, given the map for the proposals."""
    height, width = middle.shape[2:]
    return min(AFTER["testing"], height * width * len(ANCHORS) * len(RATIOS))


def run_layers(module: Any, maps: dict[str, Tensor]) -> None:
    """Run the layers of a detector whose backbone gives its input back, with the most regions."""
    proposing = module.backbone(maps)["proposals"]
    module.rpn.rpn.head([proposing])
    regions = torch.empty(most_regions(proposing), BIN_CHANNELS, BINS, BINS)
    module.roi_heads.box_predictor(module.roi_heads.box_head(regions))


def anchor_sides(height: int, width: int) -> tuple[float, ...]:
    """Sides of the anchors on an image of this size, in pixels."""
    return tuple(side * min(height, width) / SHORT_SIDE for side in ANCHORS)


def light_head_rcnn(backbone: nn.Module, trunk: Trunk, classes: int) -> nn.Module:
    """The detector on `backbone`, for `classes` categories and the background."""
    height, width = trunk.height, trunk.width
    anchors = AnchorGenerator((anchor_sides(height, width),), (RATIOS,))
    rpn = RegionProposalNetwork(
        StridedAnchors(anchors, trunk.middle_stride),
        ProposalHead(trunk.body.output.channels, len(ANCHORS) * len(RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n=BEFORE,
        post_nms_top_n=AFTER,
        nms_thresh=PROPOSAL_NMS,
    )
    connected = nn.Sequential(nn.Flatten(), nn.Linear(THIN, CONNECTED), nn.ReLU())
    roi_heads = RoIHeads(
        PositionSensitivePool(trunk.stride),
        connected,
        SharedBoxPredictor(classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=256,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=NMS,
        detections_per_img=100,
    )
    transform = GeneralizedRCNNTransform(
        min(height, width),
        max(height, width),
        list(MEAN),
        list(DEVIATION),
        size_divisible=1,
        fixed_size=(width, height),
    )
    thin = ThinBackbone(backbone, trunk.tail.output.channels)
    detector: nn.Module = GeneralizedRCNN(thin, Proposals(rpn), roi_heads, transform)
    return detector


def _conv(channels: int, width: int, kernel: tuple[int, int]) -> nn.Conv2d:
    """A convolution with bias that keeps the map; its numbers are small, as in `RPNHead`."""
    layer = nn.Conv2d(channels, width, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
