"""A detector as one ONNX file: an image in; boxes, scores and classes out.

The trunk is written by `onnx_lowering`, the rest here, with torchvision's rules of decoding and
suppression. ONNX has no position-sensitive pooling, in which each bin of a region reads channels
of its own. So the bins become images of a batch, and `RoiAlign` pools each bin from its image. The
numbers are the same, and so is the work.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from nas_sv2.evaluate.detection import light_head as light
from nas_sv2.evaluate.detection import ssdlite
from nas_sv2.evaluate.detection.anchors import anchors_of, predicting_maps
from nas_sv2.evaluate.detection.detector import Detector, build_detector
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.onnx_models.nodes import Tensor
from nas_sv2.space.runtimes.onnx_lowering import INPUT, OUTPUT, build_onnx
from nas_sv2.space.runtimes.torch_lowering import weights_of
from nas_sv2.space.runtimes.weights import flush

OPSET = 16  # the first whose RoiAlign reads between pixels as torchvision does
IMAGES = "images"
OUTPUTS = ("boxes", "scores", "classes")
CODER = {"proposals": (1.0, 1.0, 1.0, 1.0), "detections": (10.0, 10.0, 5.0, 5.0)}
"""Weights of torchvision's `BoxCoder`, for a first box and for a refined one."""
LONGEST = float(np.log(1000 / 16))
"""Limit of the logarithm by which a box grows, as torchvision's `BoxCoder` has it."""
LEAST_PROPOSAL, LEAST_BOX = 1e-3, 1e-2
"""Sides below which torchvision drops a box, in pixels."""
NEVER = -1.0
"""Score of a box that is dropped."""
SEED = 0
"""Of the weights of a model that is timed before it is trained."""


@dataclass
class Nodes:
    """The nodes of a model that grows, and the tensors that they read."""

    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)

    def constant(self, array: object) -> str:
        """Add a tensor and return its name; weights next to 0 become 0."""
        held = np.asarray(array)
        if held.dtype == np.float64:
            held = held.astype(np.float32)
        if held.dtype == np.float32:
            held = flush(held)
        name = f"detector.constant{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(held, name))
        return name

    def add(self, kind: str, *inputs: object, **attributes: Any) -> str:
        """Add a node and return its only output; inputs that are not names become constants."""
        return self.add_many(kind, 1, *inputs, **attributes)[0]

    def add_many(self, kind: str, count: int, *inputs: object, **attributes: Any) -> list[str]:
        """Add a node of several outputs."""
        name = f"detector.{kind.lower()}{len(self.nodes)}"
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        outputs = [name if index == 0 else f"{name}.{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, names, outputs, name, **attributes))
        return outputs

    def shaped(self, value: str, *shape: int) -> str:
        """Add a reshape; 0 keeps a size, -1 is what is left."""
        return self.add("Reshape", value, np.array(shape, np.int64))

    def turned(self, value: str, *axes: int) -> str:
        """Add a transposition."""
        return self.add("Transpose", value, perm=list(axes))

    def column(self, value: str, start: int, end: int) -> str:
        """Add a slice of the last axis."""
        ends = (np.array([one], np.int64) for one in (start, end, -1))
        return self.add("Slice", value, *ends)

    def layers(self, value: str, layers: Iterable[nn.Module]) -> str:
        """Add convolutions, with the norm behind each folded in, and ReLUs."""
        found = [one for layer in layers for one in layer.modules() if not list(one.children())]
        for index, layer in enumerate(found):
            if isinstance(layer, nn.Conv2d):
                following = found[index + 1] if index + 1 < len(found) else None
                norm = following if isinstance(following, nn.BatchNorm2d) else None
                value = self._convolution(value, layer, norm)
            elif isinstance(layer, nn.ReLU6):
                value = self.add("Clip", value, np.float32(0), np.float32(6))
            elif isinstance(layer, nn.ReLU):
                value = self.add("Relu", value)
            elif not isinstance(layer, nn.BatchNorm2d):
                raise TypeError(f"{type(layer).__name__} cannot be written")
        return value

    def linear(self, value: str, layer: nn.Linear) -> str:
        """Add a fully connected layer."""
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        return self.add("Gemm", value, weight, bias, transB=1)

    def _convolution(self, value: str, layer: nn.Conv2d, norm: nn.BatchNorm2d | None) -> str:
        kernel = layer.weight.detach()
        bias = torch.zeros(len(kernel)) if layer.bias is None else layer.bias.detach()
        if norm is not None:
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
            kernel = kernel * scale[:, None, None, None]
            bias = norm.bias.detach() + (bias - norm.running_mean) * scale
        assert not isinstance(layer.padding, str)
        return self.add(
            "Conv",
            value,
            kernel.numpy(),
            bias.numpy(),
            group=layer.groups,
            pads=[*layer.padding, *layer.padding],
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
        )


def export_detector(
    detector: Detector, module: nn.Module, metadata: dict[str, str] | None = None
) -> bytes:
    """The serialised model of a detector in evaluation.

    It takes `images` (1, 3, H, W) float32, RGB levels from 0 to 255. It gives `boxes` (D, 4) as
    x1, y1, x2, y2 in pixels, `scores` (D,), and `classes` (D,), which count from 0.

    Args:
        detector: The description of the module.
        module: The module of `detector`, with its weights, on the CPU.
        metadata: Facts that runtimes show.
    """
    model: Any = module
    inner = model.backbone.backbone
    weights = {**weights_of(inner.body), **weights_of(inner.tail)}
    trunk = onnx.load_model_from_string(build_onnx(detector.trunk.graph, weights, 1, OPSET))
    nodes = Nodes()
    middle = [255 * np.array(light.MEAN, np.float32).reshape(1, 3, 1, 1)]
    spread = 255 * np.array(light.DEVIATION, np.float32).reshape(1, 3, 1, 1)
    nodes.add("Div", nodes.add("Sub", IMAGES, *middle), spread)
    nodes.nodes[-1].output[0] = INPUT
    nodes.nodes.extend(trunk.graph.node)
    nodes.tensors.extend(trunk.graph.initializer)
    write = _light_head if detector.head == "light-head" else _ssdlite
    found = write(nodes, detector, model)
    for name, output in zip(found, OUTPUTS, strict=True):
        nodes.add("Identity", name)
        nodes.nodes[-1].output[0] = output
    return _serialised(nodes, detector, metadata or {})


def untrained_model(detector: Detector, name: str) -> OnnxModel:
    """Return the whole detector with random weights as a network to be timed.

    Suppression compares candidates with the boxes that it keeps, so the time depends on the
    weights by a few percent.

    Args:
        detector: The detector.
        name: Its name in errors.
    """
    body = export_detector(detector, build_detector(detector, SEED).eval())
    return OnnxModel(name, body, (Tensor(IMAGES, (1, 3, detector.height, detector.width)),))


def _serialised(nodes: Nodes, detector: Detector, metadata: dict[str, str]) -> bytes:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64)
    shapes: tuple[list[str | int], ...] = (["detections", 4], ["detections"], ["detections"])
    image = [1, 3, detector.height, detector.width]
    graph = helper.make_graph(
        nodes.nodes,
        "detector",
        [helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, image)],
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in zip(OUTPUTS, kinds, shapes, strict=True)
        ],
        nodes.tensors,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="nas-sv2",
    )
    helper.set_model_props(model, metadata)
    serialised: bytes = model.SerializeToString()
    return serialised


def _light_head(nodes: Nodes, detector: Detector, model: Any) -> tuple[str, str, str]:
    regions = _proposals(nodes, detector, model)
    separable = model.backbone.thin
    branches = (separable.first, separable.second)
    thin = nodes.add("Add", *(nodes.layers(OUTPUT, branch) for branch in branches))
    pooled = _pooled(nodes, detector, thin, regions)
    heads = model.roi_heads
    connected = nodes.add("Relu", nodes.linear(pooled, heads.box_head[1]))
    predictor = heads.box_predictor
    scores = nodes.add("Softmax", nodes.linear(connected, predictor.scores), axis=1)
    moved = nodes.linear(connected, predictor.box)
    boxes = _clipped(nodes, detector, _decoded(nodes, regions, moved, CODER["detections"]))
    large = nodes.add("Unsqueeze", _at_least(nodes, boxes, LEAST_BOX), np.array([1], np.int64))
    scores = nodes.column(scores, 1, detector.classes + 1)
    scores = nodes.turned(nodes.add("Where", large, scores, np.float32(NEVER)), 1, 0)
    most = heads.detections_per_img
    return _suppressed(nodes, boxes, scores, most, heads.nms_thresh, heads.score_thresh)


def _proposals(nodes: Nodes, detector: Detector, model: Any) -> str:
    """Regions (R, 4), as `RegionProposalNetwork` filters them in evaluation."""
    rpn = model.rpn.rpn
    value = detector.trunk.body.output
    shared = nodes.add("Relu", nodes.layers(value.name, [rpn.head.shared]))
    places = value.area * len(light.ANCHORS) * len(light.RATIOS)
    objectness = nodes.layers(shared, [rpn.head.objectness])
    objectness = nodes.shaped(nodes.turned(objectness, 0, 2, 3, 1), -1)
    moved = _by_place(nodes, nodes.layers(shared, [rpn.head.boxes]), 4, value.height, value.width)
    count = min(places, light.BEFORE["testing"])
    best, order = nodes.add_many("TopK", 2, objectness, np.array([count], np.int64))
    anchors = anchors_of(detector, model).numpy()
    chosen = nodes.add("Gather", nodes.constant(anchors), order)
    boxes = _decoded(nodes, chosen, nodes.add("Gather", moved, order), CODER["proposals"])
    boxes = _clipped(nodes, detector, boxes)
    large = _at_least(nodes, boxes, LEAST_PROPOSAL)
    scores = nodes.add("Where", large, nodes.add("Sigmoid", best), np.float32(NEVER))
    limits = (light.AFTER["testing"], light.PROPOSAL_NMS, NEVER / 2)
    kept = _kept(nodes, boxes, nodes.shaped(scores, 1, -1), *limits)
    return nodes.add("Gather", boxes, nodes.shaped(nodes.column(kept, 2, 3), -1))


def _pooled(nodes: Nodes, detector: Detector, thin: str, regions: str) -> str:
    """Position-sensitive RoI pooling of the thin map: (R, 490)."""
    bins, value = light.BINS**2, detector.trunk.tail.output
    images = nodes.shaped(thin, light.BIN_CHANNELS, bins, value.height, value.width)
    images = nodes.turned(images, 1, 0, 2, 3)
    across, down = np.meshgrid(np.arange(light.BINS), np.arange(light.BINS))
    places = np.stack([across, down], -1).reshape(1, bins, 2).astype(np.float32)
    corners = nodes.shaped(regions, -1, 1, 4)
    start = nodes.column(corners, 0, 2)
    size = nodes.add("Sub", nodes.column(corners, 2, 4), start)
    side = nodes.add("Div", size, np.float32(light.BINS))
    low = nodes.add("Add", start, nodes.add("Mul", side, places))
    parts = nodes.add("Concat", low, nodes.add("Add", low, side), axis=-1)
    count = nodes.add("Shape", regions, start=0, end=1)
    shape = nodes.add("Concat", count, np.array([bins], np.int64), axis=0)
    numbers = nodes.add("Expand", np.arange(bins, dtype=np.int64), shape)
    pooled = nodes.add(
        "RoiAlign",
        images,
        nodes.shaped(parts, -1, 4),
        nodes.shaped(numbers, -1),
        coordinate_transformation_mode="half_pixel",
        output_height=1,
        output_width=1,
        sampling_ratio=light.SAMPLES,
        spatial_scale=1 / detector.trunk.stride,
    )
    pooled = nodes.turned(nodes.shaped(pooled, -1, bins, light.BIN_CHANNELS), 0, 2, 1)
    return nodes.shaped(pooled, -1, light.THIN)


def _ssdlite(nodes: Nodes, detector: Detector, model: Any) -> tuple[str, str, str]:
    maps = [detector.trunk.body.output.name, OUTPUT]
    for block in model.backbone.extra:
        maps.append(nodes.layers(maps[-1], [block]))
    moved, logits = [], []
    shapes = predicting_maps(detector, model)
    for index, (value, like) in enumerate(zip(maps, shapes, strict=True)):
        height, width = like.shape[2:]
        boxes = nodes.layers(value, [model.head.regression_head.module_list[index]])
        moved.append(_by_place(nodes, boxes, 4, height, width))
        scores = nodes.layers(value, [model.head.classification_head.module_list[index]])
        logits.append(_by_place(nodes, scores, detector.classes + 1, height, width))
    anchors = anchors_of(detector, model)
    together = nodes.add("Concat", *moved, axis=0)
    boxes = _decoded(nodes, nodes.constant(anchors.numpy()), together, CODER["detections"])
    boxes = _clipped(nodes, detector, boxes)
    scores = nodes.add("Softmax", nodes.add("Concat", *logits, axis=0), axis=1)
    scores = nodes.turned(nodes.column(scores, 1, detector.classes + 1), 1, 0)
    count = min(len(anchors), ssdlite.CANDIDATES)
    best, _ = nodes.add_many("TopK", 2, scores, np.array([count], np.int64))
    among = nodes.add("GreaterOrEqual", scores, nodes.column(best, count - 1, count))
    scores = nodes.add("Where", among, scores, np.float32(NEVER))
    limits = (ssdlite.DETECTIONS, ssdlite.NMS, ssdlite.LEAST_SCORE)
    return _suppressed(nodes, boxes, scores, *limits)


def _by_place(nodes: Nodes, value: str, numbers: int, height: int, width: int) -> str:
    """(1, A·n, H, W) to (H·W·A, n), in the order of the anchors."""
    apart = nodes.shaped(value, 1, -1, numbers, height, width)
    return nodes.shaped(nodes.turned(apart, 0, 3, 4, 1, 2), -1, numbers)


def _decoded(nodes: Nodes, boxes: str, moved: str, weights: Sequence[float]) -> str:
    """Boxes (M, 4), moved and scaled as `BoxCoder` does."""
    low, high = nodes.column(boxes, 0, 2), nodes.column(boxes, 2, 4)
    size = nodes.add("Sub", high, low)
    middle = nodes.add("Add", low, nodes.add("Mul", size, np.float32(0.5)))
    moved = nodes.add("Div", moved, np.array(weights, np.float32))
    grown = nodes.add("Min", nodes.column(moved, 2, 4), np.float32(LONGEST))
    half = nodes.add("Mul", nodes.add("Mul", nodes.add("Exp", grown), size), np.float32(0.5))
    middle = nodes.add("Add", nodes.add("Mul", nodes.column(moved, 0, 2), size), middle)
    ends = (nodes.add("Sub", middle, half), nodes.add("Add", middle, half))
    return nodes.add("Concat", *ends, axis=-1)


def _clipped(nodes: Nodes, detector: Detector, boxes: str) -> str:
    """The boxes within the image."""
    most = np.array([detector.width, detector.height] * 2, np.float32)
    return nodes.add("Min", nodes.add("Max", boxes, np.float32(0)), most)


def _at_least(nodes: Nodes, boxes: str, side: float) -> str:
    """Whether both sides of a box are so long: (M,)."""
    size = nodes.add("Sub", nodes.column(boxes, 2, 4), nodes.column(boxes, 0, 2))
    shorter = nodes.add("ReduceMin", size, axes=[1], keepdims=0)
    return nodes.add("GreaterOrEqual", shorter, np.float32(side))


def _kept(nodes: Nodes, boxes: str, scores: str, most: int, overlap: float, least: float) -> str:
    """Rows (0, class, box) of the boxes (M, 4) that suppression keeps by scores (classes, M)."""
    return nodes.add(
        "NonMaxSuppression",
        nodes.add("Unsqueeze", boxes, np.array([0], np.int64)),
        nodes.add("Unsqueeze", scores, np.array([0], np.int64)),
        np.array([most], np.int64),
        np.array([overlap], np.float32),
        np.array([least], np.float32),
    )


def _suppressed(
    nodes: Nodes, boxes: str, scores: str, most: int, overlap: float, least: float
) -> tuple[str, str, str]:
    """The best boxes (D, 4), scores and classes, by suppression within each class."""
    kept = _kept(nodes, boxes, scores, most, overlap, least)
    values = nodes.add("GatherND", scores, nodes.column(kept, 1, 3))
    found = nodes.add("Shape", values, start=0, end=1)
    count = nodes.add("Min", found, np.array([most], np.int64))
    best, order = nodes.add_many("TopK", 2, values, count)
    rows = nodes.add("Gather", kept, order)
    classes, places = (nodes.shaped(nodes.column(rows, start, start + 1), -1) for start in (1, 2))
    return nodes.add("Gather", boxes, places), best, classes
