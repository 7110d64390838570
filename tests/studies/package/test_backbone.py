"""An exported network as the backbone of torchvision's detectors."""

from pathlib import Path

import pytest
import torch
from packages import TINY, data_in, write_winner
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.feature_extraction import create_feature_extractor

import nas_sv2
from nas_sv2.space.runtimes.standalone_network import ShuffleNet

MAPS = {"stage2": "0", "stage3": "1", "stage4": "2"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "winner"
    write_winner(out, data_in(tmp_path_factory.mktemp("data")))
    return out


def backbone_in(package: Path) -> ShuffleNet:
    network = nas_sv2.load(package)
    assert isinstance(network, ShuffleNet)
    return network


def test_maps_by_name_have_the_strides_and_widths_that_are_said(package: Path) -> None:
    backbone = backbone_in(package)
    assert backbone.strides == {"stem": 4, "stage2": 8, "stage3": 16, "stage4": 32}
    image = torch.zeros(2, 3, 96, 64)  # of any size: the maps follow
    maps = backbone.features(image)
    for name, width in zip(maps, (TINY.stem[-1], 16, 32, 48), strict=True):
        stride = backbone.strides[name]
        assert maps[name].shape == (2, width, 96 // stride, 64 // stride)
        assert backbone.widths[name] == width


def test_torchvisions_extractors_find_the_same_maps(package: Path) -> None:
    backbone, image = backbone_in(package), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        maps = backbone.features(image)
        for extracted in (
            IntermediateLayerGetter(backbone, {name: name for name in maps})(image),
            create_feature_extractor(backbone, list(maps))(image),
        ):
            assert list(extracted) == list(maps)
            assert all(torch.equal(extracted[name], maps[name]) for name in maps)


@pytest.mark.parametrize("detector", [RetinaNet, FasterRCNN])
def test_a_detector_trains_on_it_and_detects(
    detector: type[torch.nn.Module], package: Path
) -> None:
    backbone = backbone_in(package)
    widths = [backbone.widths[name] for name in MAPS]
    pyramid = BackboneWithFPN(backbone, MAPS, widths, out_channels=16)
    levels = len(MAPS) + 1  # the pyramid adds a pool
    sizes = tuple((8 * 2**level,) for level in range(levels))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * levels)
    key = "rpn_anchor_generator" if detector is FasterRCNN else "anchor_generator"
    model = detector(pyramid, num_classes=4, min_size=64, max_size=64, **{key: anchors})
    images = [torch.rand(3, 64, 64), torch.rand(3, 48, 64)]
    box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    losses = model.train()(images, [box, box])
    sum(losses.values()).backward()
    gradient = backbone.get_parameter("stem.0.conv.weight").grad
    assert gradient is not None and gradient.abs().sum() > 0
    with torch.no_grad():
        found = model.eval()(images)
    assert [set(one) for one in found] == [{"boxes", "labels", "scores"}] * 2
