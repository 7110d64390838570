"""Detectors as torch modules: their parts, their numbers, their losses."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.detection import light_head
from nas_sv2.evaluate.detection.detector import HEADS, Detector, build_detector
from nas_sv2.space.families.published import published_network

BACKBONES = (
    *("shufflenet_v2_x0_5", "shufflenet_v2_star_x0_5", "shufflenet_v1_g3_x0_5"),
    *("mobilenet_v2_x0_15", "light_xception_x0_5"),
)
TARGET = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 70.0]]), "labels": torch.tensor([1])}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", BACKBONES)
def test_every_part_learns(name: str, head: str) -> None:
    module = build_detector(Detector(published_network(name), head, 96, 128, 4))
    images = [torch.rand(3, 96, 128) for _ in range(2)]
    losses = module.train()(images, [TARGET, TARGET])
    torch.autograd.backward(sum(losses.values()))
    untouched = [name for name, one in module.named_parameters() if one.grad is None]
    assert not untouched
    with torch.no_grad():
        (found,) = module.eval()(images[:1])
    assert found["boxes"].shape[1] == 4
    assert set(found["labels"].tolist()) <= {1, 2, 3, 4}


@pytest.mark.parametrize("head", HEADS)
def test_the_numbers_follow_from_the_seed_and_leave_torch_s_generator_alone(head: str) -> None:
    detector = Detector(published_network("shufflenet_v2_x0_5"), head, 64, 96, 4)
    before = torch.get_rng_state()
    one, other, third = (build_detector(detector, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], third[name]) for name in one)


def test_the_head_has_the_published_sizes() -> None:
    detector = Detector(published_network("shufflenet_v2_x1_0"), "light-head", 800, 1200, 80)
    module: Any = build_detector(detector)
    assert light_head.anchor_sides(800, 1200) == (32, 64, 128, 256, 512)
    first = module.backbone.thin.first
    assert [tuple(layer.weight.shape) for layer in first] == [(64, 464, 15, 1), (490, 64, 1, 15)]
    heads = module.roi_heads
    assert tuple(heads.box_head[1].weight.shape) == (2048, 490)
    assert tuple(heads.box_predictor.scores.weight.shape) == (81, 2048)
    assert tuple(heads.box_predictor.box.weight.shape) == (4, 2048)  # all classes share it
    assert module.rpn.rpn.head.objectness.out_channels == 15
    assert module.rpn.rpn._post_nms_top_n == {"training": 2000, "testing": 1000}


def test_a_bin_reads_its_own_channels() -> None:
    """Of channels that hold their own number, bin b of group c reads 49·c + b."""
    numbers = torch.arange(490.0).reshape(1, 490, 1, 1).expand(1, 490, 6, 6)
    pool = light_head.PositionSensitivePool(16)
    found = pool({"thin": numbers}, [torch.tensor([[20.0, 20.0, 70.0, 60.0]])], [(96, 96)])
    assert torch.allclose(found.flatten(), torch.arange(490.0))


def test_impossible_detectors_are_refused() -> None:
    v2 = published_network("shufflenet_v2_x0_5")
    with pytest.raises(ConfigError, match=r"head must be one of light-head, ssdlite; got 'yolo'"):
        Detector(v2, "yolo", 96, 128, 4)
    with pytest.raises(ConfigError, match=r"channels must be 3"):
        Detector(replace(v2, channels=1), "ssdlite", 96, 128, 4)
    with pytest.raises(ConfigError, match=r"classes must be a whole number.*got 0"):
        Detector(v2, "ssdlite", 96, 128, 0)
