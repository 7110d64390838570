"""A model as our operators: what we wrote is read back, what we cannot price is refused."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper
from onnx_files import LIGHT
from strategies import architectures
from torch import nn

from nas_sv2.errors import ConfigError
from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork
from nas_sv2.space.graph.operators import Activation, GlobalAveragePool, Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.onnx_models.model import OnnxModel, load_model
from nas_sv2.space.onnx_models.nodes import Tensor
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture

Save = Callable[..., Path]


def read_back(graph: Graph) -> Graph:
    image = Tensor("input", (1, graph.input.channels, graph.input.height, graph.input.width))
    return lower(OnnxModel("m", build_onnx(graph, random_weights(graph, 0)), (image,)))


def work(graph: Graph) -> Iterator[tuple[Any, ...]]:
    """What each kernel does, whatever its operators are called."""
    for kernel in kernels_of(graph):
        yield kernel.shape, kernel.parts, kernel.fused


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures())
def test_our_own_networks_are_read_back(architecture: Architecture) -> None:
    graph = lower(architecture)
    assert list(work(read_back(graph))) == list(work(graph))


@pytest.mark.parametrize(
    "name", ["mobilenet_v1_x0_5", "mobilenet_v2_x0_4", "shufflenet_v1_g3_x0_5"]
)
def test_networks_of_papers_are_read_back(name: str) -> None:
    graph = PaperNetwork(name, STRUCTURES[name].resolution).graph
    assert list(work(read_back(graph))) == list(work(graph))


class Unit(nn.Module):
    """A stem, a unit with a shuffle, as its authors write it, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.branch = nn.Sequential(
            nn.Conv2d(4, 4, 1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU6(),
            nn.Conv2d(4, 4, 3, padding=1, groups=4),
            nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        )
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.stem(x).split(4, dim=1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        out: torch.Tensor = self.classifier(x.mean([2, 3]))
        return out


KINDS = [
    "conv 3x3 s2",
    "max pool 3x3 s2",
    "split",
    "pointwise clipped",
    "depthwise 3x3 s1",
    "average pool 3x3 s1",
    "concat",
    "shuffle g2",
    "average pool",
    "linear",
]


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")  # torch's own, of each exporter
def test_torchs_exporters_are_read(dynamo: bool, tmp_path: Path) -> None:
    module, image = Unit().eval(), torch.zeros(1, 3, 32, 32)
    path = tmp_path / "m.onnx"
    torch.onnx.export(module, (image,), path, dynamo=dynamo, verbose=False)
    kernels: list[Kernel] = list(kernels_of(lower(load_model(path))))
    assert [kernel.kind for kernel in kernels] == KINDS
    assert kernels[0].fused == ("relu",)


def test_batch_norms_are_folded_or_stand_alone(save: Save) -> None:
    norm = {n: np.ones(2, "f") for n in ("s", "b", "m", "v")}
    nodes = [
        helper.make_node("BatchNormalization", ["x", *norm], ["a"], "alone"),
        helper.make_node("Conv", ["a", "w"], ["c"], "conv"),
        helper.make_node("BatchNormalization", ["c", *norm], ["d"], "folded"),
        helper.make_node("Relu", ["d"], ["y"], "relu"),
    ]
    path = save(nodes, {"x": [1, 2, 4, 4]}, {"w": np.ones((2, 2, 1, 1), "f"), **norm})
    kernels = kernels_of(lower(load_model(path)))
    assert [kernel.ops for kernel in kernels] == [("alone",), ("conv", "relu")]


@pytest.mark.parametrize("order", [["x", "gates"], ["gates", "x"]])
def test_gates_are_read_on_either_side_of_their_product(save: Save, order: list[str]) -> None:
    """torchvision's squeeze-and-excitation has them first."""
    pool = helper.make_node("GlobalAveragePool", ["x"], ["gates"])
    path = save([pool, helper.make_node("Mul", order, ["y"], "product")], {"x": [1, 4, 8, 8]})
    (_, product) = lower(load_model(path)).ops
    assert [value.name for value in product.inputs] == ["x", "gates"]


def test_constants_in_attributes_are_read(save: Save) -> None:
    nodes = [
        helper.make_node("Constant", [], ["least"], value_float=0.0),
        helper.make_node("Constant", [], ["most"], value_float=6.0),
        helper.make_node("Clip", ["x", "least", "most"], ["clipped"]),
        helper.make_node("Constant", [], ["axes"], value_ints=[2, 3]),
        helper.make_node("ReduceMean", ["clipped", "axes"], ["y"]),
    ]
    graph = lower(load_model(save(nodes, {"x": [1, 4, 8, 8]}, opset=18)))
    assert [op.kind for op in graph.ops] == [Activation("relu6"), GlobalAveragePool()]


X = {"x": [1, 4, 8, 8]}
W = {"w": np.ones((4, 4, 3, 3), "f")}


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, ["x", *inputs], ["y"], "n", **attributes)


def test_a_file_in_int8_is_refused_with_the_way_to_its_price(save: Save) -> None:
    scale = {"scale": np.float32(0.1), "zero": np.uint8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    said = r"precision must be float32 \(its int8 form is priced with --precision int8\) to be em"
    with pytest.raises(ConfigError, match=said):
        lower(load_model(save(nodes, X, scale, opset=14)))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (node("HardSwish"), r"node n must be one of Add, .* to be emulated; got 'HardSwish'"),
        (node("Conv", "w", dilations=[2, 2]), "must have neither dilations nor ceil_mode"),
        (node("Conv", "w", pads=[0, 0, 1, 1]), "must have one stride and one pad"),
        (node("Conv", "w", pads=[3] * 4), "must be padded by 0 or 1 to be emulated; got '3'"),
        (node("Conv", "w", auto_pad="SAME_UPPER"), "must have its padding as pads"),
        (node("MaxPool", kernel_shape=[2, 3]), "must have a square kernel to be emulated"),
        (node("MaxPool", kernel_shape=[3, 3]), "must be padded by 1 to be emulated; got '0'"),
        (node("Transpose", perm=[0, 2, 3, 1]), "must be that of a channel shuffle"),
        (node("Transpose"), "must be that of a channel shuffle"),
        (node("ReduceMean", axes=[1]), "must be over height and width"),
        (node("Clip", "low", "high"), r"Clip of node n must be from 0 to 6 .*\[0.0, 1.0\]"),
        (node("Add", "low"), "must add two maps of one shape"),
        (node("Concat", "x", axis=2), "must be along the channels to be emulated; got 'axis 2'"),
        (node("Mul", "x"), "must multiply N×C×H×W by N×C×1×1"),
        (node("Flatten", axis=2), "must keep the channels or flatten the map .*; got '4x64'"),
        (node("Conv", "x"), "must have a constant kernel to be emulated"),
    ],
)
def test_a_node_that_works_otherwise_is_refused(save: Save, made: Any, message: str) -> None:
    held = {**W, "low": np.float32(0), "high": np.float32(1)}
    path = save([made], X, held, opset=14)
    with pytest.raises(ConfigError, match=message):
        lower(load_model(path))


def test_images_are_not_made_of_pixels(save: Save) -> None:
    """A product on each of 64 pixels would else be priced as one on one vector."""
    pixels = helper.make_node("Reshape", ["x", "shape"], ["rows"], "rows")
    product = helper.make_node("MatMul", ["rows", "w"], ["y"], "product")
    held = {"shape": np.array([64, 4]), "w": np.ones((4, 5), "f")}
    with pytest.raises(ConfigError, match=r"Reshape of node rows .*; got '64x4'"):
        lower(load_model(save([pixels, product], X, held)))


def test_a_pool_that_also_gives_places_is_refused(save: Save) -> None:
    pool = helper.make_node("MaxPool", ["x"], ["y", "places"], "n", kernel_shape=[1, 1])
    with pytest.raises(ConfigError, match="MaxPool of node n must have one output"):
        lower(load_model(save([pool], X)))


def test_a_product_with_the_constant_on_the_left_is_refused(save: Save) -> None:
    product = helper.make_node("MatMul", ["w", "x"], ["y"], "n")
    with pytest.raises(ConfigError, match="must be of N×C numbers and a constant matrix"):
        lower(load_model(save([product], {"x": [1, 5]}, {"w": np.ones((1, 1), "f")})))


def test_a_depthwise_convolution_that_multiplies_channels_has_no_price(save: Save) -> None:
    conv = node("Conv", "w", group=4, pads=[1] * 4)
    path = save([conv], X, {"w": np.ones((8, 1, 3, 3), "f")})
    (kernel,) = kernels_of(lower(load_model(path)))
    assert kernel.kind == "depthwise 3x3 s1 multiplied" and kernel.written == (8, 8)


def test_one_image_in_float32_is_emulated(save: Save) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    for shape, kind in itertools.product(([2, 4, 8, 8], [1, 4]), (1, TensorProto.FLOAT16)):
        if (shape, kind) != ([1, 4], 1):
            with pytest.raises(ConfigError, match="must be one image in float32"):
                lower(load_model(save([relu], {"x": shape}, kind=kind)))
    both = save([helper.make_node("Add", ["a", "b"], ["y"])], {"a": [4], "b": [4]})
    with pytest.raises(ConfigError, match=r"inputs must be one to be emulated; got 'a, b'"):
        lower(load_model(both))


def test_an_output_that_is_constant_is_no_network(save: Save) -> None:
    shape = helper.make_node("Shape", ["x"], ["s"])
    path = save([shape, helper.make_node("Cast", ["s"], ["y"], to=1)], X)
    with pytest.raises(ConfigError, match="output must depend on the input"):
        lower(load_model(path))


def test_a_light_model_is_refused_by_the_node_that_we_lack() -> None:
    with pytest.raises(ConfigError, match=r"node n14 must be one of .*; got 'Sum'"):
        lower(load_model(LIGHT / "light_resnet50.onnx"))
