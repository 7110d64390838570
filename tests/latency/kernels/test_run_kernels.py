"""What nodes are in the network: hand-written ones, and all that onnxruntime runs here."""

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import pytest

from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.local import CPU_PLAN, local_device
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.kernels.kernel import live_ops
from nas_sv2.latency.kernels.run_kernels import RunKernel, kernels_run, kind_of
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.latency.measurements.plan import Lowering, Precision
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.units.architecture import Architecture, Stage

STAGES = (
    Stage(2, 24, Fraction(1, 2), se=True),
    Stage(3, 48, Fraction(1, 2), residual=True),
    Stage(2, 100, Fraction(1, 2)),
)
MIXED = Architecture((8,), STAGES, head=64, resolution=64, classes=10)
RUNS_AS = {
    "conv": {"Conv", "FusedConv", "QLinearConv"},
    "depthwise": {"Conv", "FusedConv", "QLinearConv"},
    "element-wise": {
        *("Relu", "Add", "Mul", "Sigmoid", "QuickGelu", "BatchNormalization"),
        *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "Conv"),  # of the norm that became one
    },
    "shuffle": {"Reshape", "Transpose", "Split", "Concat", "Gather", "Pad", "QLinearConcat"},
    "data": {"ReorderInput", "ReorderOutput", "Transpose", "QuantizeLinear", "DequantizeLinear"},
    "other": {
        *("MaxPool", "NhwcMaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Gemm"),
        *("QLinearAveragePool", "QLinearGlobalAveragePool", "QGemm"),
        *("Conv", "FusedConv", "QLinearConv"),  # gates
    },
}
"""What may run a kernel of a kind, in onnxruntime's words."""


@pytest.fixture(scope="module")
def local() -> Iterator[AgentDevice]:
    with local_device("here") as device:
        yield device


@pytest.mark.parametrize(
    ("network", "lowering", "precision"),
    [
        (MIXED, "shuffle_free", "fp32"),
        (MIXED, "plain", "fp32"),
        (MIXED, "shuffle_free", "int8"),
        (PaperNetwork("shufflenet_v1_g3_x0_5", 64), "plain", "fp32"),
        (PaperNetwork("mobilenet_v2_x0_4", 64), "plain", "fp32"),
        (PaperNetwork("light_densenet_x0_5", 64), "plain", "fp32"),
        (PaperNetwork("condensenet_74_g8", 64), "plain", "fp32"),
    ],
)
def test_every_node_that_onnxruntime_runs_lands_somewhere(
    local: AgentDevice, network: Network, lowering: Lowering, precision: Precision
) -> None:
    plan = dataclasses.replace(CPU_PLAN, lowering=lowering, precision=precision)
    graph = lower(network)
    if lowering == "shuffle_free":
        graph, _ = without_shuffles(graph, {})
    nodes = local.profile(payload_of(network, plan), plan, plan.timeout_s)
    kernels = kernels_run(graph, nodes)
    assert sum(k.us for k in kernels) == pytest.approx(sum(node.us for node in nodes))
    assert len(kernels) == len(nodes)
    for kernel in kernels:
        assert kernel.runs_as in RUNS_AS[kernel.kind], kernel
        assert (kernel.ops == ()) == (kernel.kind == "data")
    carried = [kernel.ops for kernel in kernels if kernel.ops]
    assert sorted({op for ops in carried for op in ops}) == sorted(o.name for o in live_ops(graph))
    # Of no operator two kernels claim that it ran inside them, but for those that are several.
    assert sum(len(ops) for ops in set(carried)) == len(live_ops(graph))
    assert {kernel.block for kernel in kernels} <= {op.block for op in graph.ops}
    assert any("relu" in op for ops in carried for op in ops[1:])


def _residual() -> Graph:
    build = GraphBuilder()
    image = Value("image", 8, 16, 16)
    branch = build.conv("stage2.0.expand", image, 8, activation="relu")
    branch = build.conv("stage2.0.project", branch, 8)
    value = build.add("stage2.0.add", image, branch)
    value = build.activation("stage2.0.relu", value, "relu")
    value = build.conv("head.depthwise", value, 8, 3, depthwise=True)
    return Graph(image, value, tuple(build.ops))


EXPAND, PROJECT = "stage2.0.expand", "stage2.0.project"
ADD, RELU, LAST = "stage2.0.add", "stage2.0.relu", "head.depthwise"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (
            ((EXPAND, "FusedConv"), (PROJECT, "FusedConv"), (LAST, "Conv")),
            (
                ((EXPAND, f"{EXPAND}.relu"), "conv"),
                ((PROJECT, ADD, RELU), "conv"),
                ((LAST,), "depthwise"),
            ),
        ),
        (
            (
                *((f"{EXPAND}.relu_nchwc", "Conv"), (f"{PROJECT}_token_3_nchwc", "Conv")),
                *((f"{ADD}_quant", "Add"), (RELU, "Relu"), (LAST, "Conv")),
            ),
            (
                ((EXPAND, f"{EXPAND}.relu"), "conv"),
                *(((PROJECT,), "conv"), ((ADD,), "element-wise")),
                *(((RELU,), "element-wise"), ((LAST,), "depthwise")),
            ),
        ),
        (
            ((EXPAND, "Conv"), (PROJECT, "Conv"), (ADD, "QLinearAdd"), (LAST, "Conv")),
            (
                ((EXPAND, f"{EXPAND}.relu"), "conv"),
                *(((PROJECT,), "conv"), ((ADD, RELU), "element-wise")),
                ((LAST,), "depthwise"),
            ),
        ),
        (
            ((EXPAND, "Conv"), (RELU, "Conv"), (LAST, "Conv")),
            (
                ((EXPAND, f"{EXPAND}.relu"), "conv"),
                ((PROJECT, ADD, RELU), "conv"),
                ((LAST,), "depthwise"),
            ),
        ),
    ],
)
def test_an_operator_without_a_node_ran_inside_its_kernel(
    nodes: tuple[tuple[str, str], ...], expected: tuple[tuple[tuple[str, ...], str], ...]
) -> None:
    kernels = kernels_run(_residual(), [NodeTime(name, what, 1.0) for name, what in nodes])
    assert tuple((kernel.ops, kernel.kind) for kernel in kernels) == expected
    assert [kernel.name for kernel in kernels] == [ops[0] for ops, _ in expected]


def test_what_the_runtime_inserts_is_data_in_the_block_that_it_serves() -> None:
    nodes = [
        NodeTime("ReorderInput", "ReorderInput", 1.0),
        NodeTime(EXPAND, "Conv", 10.0),
        NodeTime(PROJECT, "Conv", 10.0),
        NodeTime("ReorderOutput_token_7", "ReorderOutput", 2.0),
        NodeTime("ReorderInput_token_8", "ReorderInput", 3.0),
        NodeTime(LAST, "Conv", 10.0),
        NodeTime("Transpose_token_9", "Transpose", 4.0),
        NodeTime("whatever", "Surprise", 5.0),
    ]
    kernels = kernels_run(_residual(), nodes)
    inserted = sorted((k.name, k.block, k.kind, k.us) for k in kernels if not k.ops)
    assert inserted == [
        ("ReorderInput", "stage2.0", "data", 1.0),
        ("ReorderInput_token_8", "head", "data", 3.0),
        ("ReorderOutput_token_7", "stage2.0", "data", 2.0),
        ("Transpose_token_9", "head", "data", 4.0),
        ("whatever", "head", "other", 5.0),
    ]


def test_parts_of_an_operator_are_kernels_of_it() -> None:
    build = GraphBuilder()
    image = Value("image", 8, 16, 16)
    value = build.shuffle("stage2.0.shuffle", image)
    one, other = build.split("stage2.0.split", value, (4, 4))
    value = build.multiply("stage2.0.scale", one, other)
    graph = Graph(image, value, tuple(build.ops))
    names = ("stage2.0.shuffle.grouped", "stage2.0.shuffle.swapped", "stage2.0.shuffle")
    nodes = [NodeTime(name, "Reshape", 1.0) for name in (*names, "stage2.0.split:0")]
    assert kernels_run(graph, nodes)[:3] == (
        RunKernel(
            "stage2.0.shuffle", "Reshape", ("stage2.0.shuffle",), "stage2.0", "shuffle", 1.0
        ),
    ) * 3  # fmt: skip
    assert kernels_run(graph, nodes)[3].ops == ("stage2.0.split", "stage2.0.scale")


def test_kinds_of_operators() -> None:
    build = GraphBuilder()
    image = Value("image", 8, 16, 16)
    build.conv("dense", image, 16)
    build.conv("grouped", image, 16, 3, groups=4)
    build.conv("deep", image, 8, 3, depthwise=True, activation="relu6")
    build.norm("norm", image)
    build.max_pool("largest", image)
    build.average_pool("mean", image, 3, stride=2)
    mean = build.global_average_pool("squeeze", image)
    gates = build.activation("sigmoid", build.gate("gate", mean, 8), "sigmoid")
    build.multiply("scale", image, gates)
    build.add("sum", image, image)
    build.shift("shift", image)
    build.select("select", image, (1, 0))
    build.concat("concat", image, *build.split("split", image, (4, 4)))
    build.shuffle("shuffle", image)
    build.linear("classifier", mean, 10)
    found: dict[str, set[str]] = {}
    for op in build.ops:
        found.setdefault(kind_of(op), set()).add(op.name)
    assert found == {
        "conv": {"dense", "grouped"},
        "depthwise": {"deep"},
        "element-wise": {"deep.relu6", "norm", "sigmoid", "scale", "sum"},
        "shuffle": {"shift", "select", "concat", "split", "shuffle"},
        "other": {"largest", "mean", "squeeze", "gate", "classifier"},
    }
