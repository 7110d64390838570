"""Which kernels a quantised network has: held against what onnxruntime makes of it here."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.quantization import quantize
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.reference import reference

SIDE = 64
NODES = {  # by the first word of a kind
    "pointwise": ("QLinearConv",),
    "depthwise": ("QLinearConv",),
    "conv": ("QLinearConv",),
    "to": ("Transpose",),
    "shuffle": ("Reshape", "Transpose", "Reshape"),
    "split": ("Split",),
    "concat": ("QLinearConcat",),
    "add": ("QLinearAdd",),
    "multiply": ("QLinearMul",),
    "average": ("QLinearGlobalAveragePool",),
    "max": ("NhwcMaxPool",),
    "sigmoid": ("QLinearSigmoid",),
    "linear": ("Flatten", "QGemm"),
    "quantize": ("QuantizeLinear",),
    "dequantize": ("DequantizeLinear",),
}


def int8_model(graph: Graph) -> bytes:
    image = graph.input
    shape = (1, image.channels, image.height, image.width)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return quantize(build_onnx(graph, random_weights(graph, seed=0)), images)


def nodes_run(graph: Graph, folder: Path) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(int8_model(graph), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def nodes_foreseen(graph: Graph) -> Counter[str]:
    kinds = [kernel.kind.partition(" ")[0] for kernel in kernels_of(graph, "int8")]
    return Counter(node for kind in kinds for node in NODES[kind])


@dataclass(frozen=True)
class Drawn:
    generator: random.Random

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self.generator.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.generator.choice(choices)


@pytest.mark.parametrize("shuffle_free", [False, True])
@pytest.mark.parametrize("name", ["x0_5", "se_x0_5", "residual_x0_5", "star_x0_5"])
def test_references_run_the_kernels_that_are_foreseen(
    name: str, shuffle_free: bool, tmp_path: Path
) -> None:
    whole = reference(f"shufflenet_v2_{name}")
    stages = tuple(replace(stage, depth=3) for stage in whole.stages)
    graph = lower(replace(whole, stages=stages, resolution=SIDE))
    if shuffle_free:
        graph, _ = without_shuffles(graph, {})
    assert nodes_foreseen(graph) == nodes_run(graph, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_random_networks_run_the_kernels_that_are_foreseen(seed: int, tmp_path: Path) -> None:
    space = LEVELS[("40M", "140M", "300M", "500M")[seed % 4]]
    architecture = replace(space.sample(Drawn(random.Random(seed))), resolution=SIDE)
    plain = lower(architecture)
    for graph in (plain, without_shuffles(plain, {})[0]):
        assert nodes_foreseen(graph) == nodes_run(graph, tmp_path)


def kinds(build: GraphBuilder, source: Value) -> list[str]:
    graph = Graph(source, build.ops[-1].output, tuple(build.ops))
    return [kernel.kind for kernel in kernels_of(graph, "int8")]


def test_a_unit_with_a_shuffle_is_transposed_twice() -> None:
    build, source = GraphBuilder(), Value("input", 16, 28, 28)
    keep, convolved = build.split("split", source, (8, 8))
    value = build.conv("conv", convolved, 8, activation="relu")
    build.shuffle("shuffle", build.concat("concat", keep, value))
    assert kinds(build, source) == [
        "quantize",
        "split planes",
        "to pixels",
        "pointwise",
        "to planes",
        "concat planes",
        "shuffle g2 planes",
        "dequantize",
    ]


def test_gates_work_on_pixels_before_a_convolution_and_else_on_planes() -> None:
    for shuffled in (False, True):
        build, source = GraphBuilder(), Value("input", 16, 28, 28)
        value = build.conv("conv", source, 16)
        gates = build.activation("sigmoid", build.global_average_pool("pool", value), "sigmoid")
        value = build.multiply("multiply", value, gates)
        if shuffled:
            value = build.shuffle("shuffle", value)
        build.conv("end", value, 8)
        assert ("multiply planes" in kinds(build, source)) == shuffled
        assert ("sigmoid planes" in kinds(build, source)) == shuffled


@pytest.mark.parametrize(("channels", "ragged"), [(8, False), (12, True), (24, False), (58, True)])
def test_a_depthwise_convolution_off_the_lanes_is_ragged(channels: int, ragged: bool) -> None:
    build, source = GraphBuilder(), Value("input", channels, 28, 28)
    build.conv("conv", source, channels, 3, depthwise=True)
    assert ("depthwise 3x3 s1 ragged" in kinds(build, source)) == ragged


def test_quantising_keeps_the_outputs_nearly(recwarn: pytest.WarningsRecorder) -> None:
    graph = lower(replace(reference("shufflenet_v2_x0_5"), resolution=SIDE))
    model = build_onnx(graph, random_weights(graph, seed=0))
    image = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)

    # As written, in float32: the int8 sums of an x86 without VNNI saturate, those of ARM do not.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def run(body: bytes) -> np.ndarray:
        session = onnxruntime.InferenceSession(body, options, providers=["CPUExecutionProvider"])
        output: np.ndarray = session.run(None, {"input": image})[0]
        return output.ravel()

    assert np.corrcoef(run(model), run(int8_model(graph)))[0, 1] > 0.99


def test_a_model_of_several_images_is_quantised_with_fewer() -> None:
    graph = lower(replace(reference("shufflenet_v2_x0_5"), resolution=32))
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    body = quantize(build_onnx(graph, random_weights(graph, seed=0), batch=8), images)
    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[0] == 8
