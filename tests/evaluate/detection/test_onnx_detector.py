"""A detector's ONNX file gives the boxes of torch."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from nas_sv2.evaluate.detection.detector import HEADS, Detector, build_detector
from nas_sv2.evaluate.detection.onnx_detector import export_detector
from nas_sv2.evaluate.detection.ssdlite import CANDIDATES, LEAST_SCORE
from nas_sv2.space.families.published import published_network

HEIGHT, WIDTH = 70, 100  # of no whole number of strides


def spread(module: nn.Module, seed: int) -> None:
    """Give a new detector numbers by which its scores differ, as those of a trained one do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm.weight" in name:
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter, generator=generator)
                if "box" in name or "regression" in name:
                    parameter.mul_(0.1)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean of the images that follow
        images = torch.rand(4, 3, HEIGHT, WIDTH, generator=generator)
        target = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
        module.train()(list(images), [target] * 4)
    module.eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["shufflenet_v2_star_x0_5", "mobilenet_v2_x0_15"])
def test_the_file_finds_the_boxes_of_torch(name: str, head: str) -> None:
    detector = Detector(published_network(name), head, HEIGHT, WIDTH, 3)
    module = build_detector(detector)
    spread(module, 5)
    body = export_detector(detector, module, {"categories": "a, b, c"})
    model = onnx.load_model_from_string(body)
    onnx.checker.check_model(model, full_check=True)
    assert {one.key: one.value for one in model.metadata_props} == {"categories": "a, b, c"}
    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        image = torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=generator).float()
        boxes, scores, classes = session.run(None, {"images": image[None].numpy()})
        with torch.no_grad():
            (found,) = module([image / 255])
        assert len(scores) == len(found["scores"]) > 50
        assert np.allclose(scores, found["scores"], atol=1e-3)
        assert np.all(np.diff(scores) <= 0)
        # Equal scores may change places, so boxes are compared as sets.
        ours = np.column_stack([boxes, classes])
        theirs = np.column_stack([found["boxes"], found["labels"] - 1])
        distance = np.abs(ours[:, None] - theirs[None]).max(-1)
        tied = np.isclose(scores, scores[-1], atol=1e-3)
        assert np.all((distance.min(1) < 0.05) | tied)


@pytest.mark.parametrize(
    ("head", "size"), [("light-head", 64), ("light-head", 320), ("ssdlite", 96)]
)
@pytest.mark.parametrize("name", ["shufflenet_v2_star_x0_5", "mobilenet_v2_x0_15"])
def test_the_flops_of_a_detector_are_those_of_its_file(name: str, head: str, size: int) -> None:
    detector = Detector(published_network(name), head, size, size + 16, 7)
    body = export_detector(detector, build_detector(detector).eval())
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(body))
    weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
    shapes = {one.name: one.type.tensor_type.shape.dim for one in model.graph.value_info}
    regions = min(1000, 15 * detector.trunk.body.output.area)
    counted = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            height, width = (one.dim_value for one in shapes[node.output[0]][2:])
            counted += math.prod(weights[node.input[1]]) * height * width
        elif node.op_type == "Gemm":  # of as many rows as there are regions
            counted += math.prod(weights[node.input[1]]) * regions
    assert counted == detector.flops
    assert 0 < detector.head_flops < detector.flops


def test_suppression_of_ssdlite_has_equal_work_with_any_weights() -> None:
    """It compares each candidate with every box that it keeps, and candidates are few."""
    detector = Detector(published_network("shufflenet_v2_x0_5"), "ssdlite", 128, 160, 5)
    candidates = []
    for seed in (None, 5):  # fresh weights, and those of scores that differ
        module = build_detector(detector).eval()
        if seed is not None:
            spread(module, seed)
        model = onnx.load_model_from_string(export_detector(detector, module))
        (suppression,) = (one for one in model.graph.node if one.op_type == "NonMaxSuppression")
        model.graph.output.append(onnx.ValueInfoProto(name=suppression.input[1]))
        session = onnxruntime.InferenceSession(model.SerializeToString())
        image = np.random.default_rng(0).integers(0, 256, (1, 3, 128, 160)).astype(np.float32)
        (scores,) = session.run([suppression.input[1]], {"images": image})
        candidates.append((scores[0] > LEAST_SCORE).sum(1))
    assert candidates[0].tolist() == candidates[1].tolist() == [CANDIDATES] * 5


def test_an_image_of_one_grey_gives_a_file_that_runs() -> None:
    """All scores are alike and nothing is found."""
    detector = Detector(published_network("shufflenet_v2_x0_5"), "light-head", 64, 64, 30)
    body = export_detector(detector, build_detector(detector).eval())
    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    grey = np.full((1, 3, 64, 64), 128, np.float32)
    boxes, scores, classes = session.run(None, {"images": grey})
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))
