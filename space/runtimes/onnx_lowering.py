"""From operators to ONNX, written directly: no torch, no tracing.

Batch norms are folded. Opset 17 and IR version 8 are read by every onnxruntime since 1.12, so that
an old runtime on a board can still measure what a new one on a desktop built.
"""

from typing import Any, assert_never

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Select,
    Shift,
    Shuffle,
    Split,
)
from nas_sv2.space.runtimes.weights import BATCH_NORM_EPSILON, NORM_PARTS, Weights, folded

OPSET = 17
IR_VERSION = 8
INPUT, OUTPUT = "input", "logits"


def build_onnx(graph: Graph, weights: Weights, batch: int | None = 1) -> bytes:
    """The serialised model: `input` (N, C, H, W) float32 to `logits` (N, classes).

    Of a graph that ends in a map, `logits` is that map, (N, C', H', W').

    Args:
        graph: What to build.
        weights: Its numbers, named as `weight_shapes` names them.
        batch: N, or None for a model that takes any batch.
    """
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    for op in graph.ops:
        _append(op, weights, nodes, tensors)
    nodes[-1].output[0] = OUTPUT
    count = "N" if batch is None else batch
    image, last = graph.input, graph.output
    ends_in_map = not isinstance(graph.ops[-1].kind, Linear)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "network",
            [_described(INPUT, [count, image.channels, image.height, image.width])],
            [
                _described(
                    OUTPUT,
                    [count, last.channels, *([last.height, last.width] if ends_in_map else [])],
                )
            ],
            tensors,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nas-sv2",
    )
    serialised: bytes = model.SerializeToString()
    return serialised


def _described(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _append(op: Op, weights: Weights, nodes: list[NodeProto], tensors: list[TensorProto]) -> None:
    """Add the nodes of one operator, and the tensors they hold."""

    def constant(part: str, array: np.ndarray | np.float32) -> str:
        name = f"{op.name}.{part}"
        tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        nodes.append(helper.make_node(kind, inputs, outputs, outputs[0], **attributes))

    inputs, outputs = [v.name for v in op.inputs], [v.name for v in op.outputs]
    match op.kind:
        case Conv(kernel=side, stride=stride, groups=groups):
            kernel, bias = folded(op, weights)
            held = [constant("weight", kernel), constant("bias", bias)]
            window = _window(side, stride, op.kind.padding)
            node("Conv", inputs + held, outputs, group=groups, **window)
        case Activation(function=function):
            if function == "relu6":
                ends = [constant(end, np.float32(at)) for end, at in (("least", 0), ("most", 6))]
                node("Clip", inputs + ends, outputs)
            else:
                node({"relu": "Relu", "sigmoid": "Sigmoid"}[function], inputs, outputs)
        case MaxPool(kernel=side, stride=stride):
            node("MaxPool", inputs, outputs, **_window(side, stride, side // 2))
        case AveragePool(kernel=side, stride=stride):
            window = _window(side, stride, op.kind.padding)
            node("AveragePool", inputs, outputs, **window)
        case GlobalAveragePool():
            node("GlobalAveragePool", inputs, outputs)
        case Norm():
            held = [constant(part, weights[f"{op.name}.norm.{part}"]) for part in NORM_PARTS]
            node("BatchNormalization", inputs + held, outputs, epsilon=BATCH_NORM_EPSILON)
        case Shift():
            moved = np.array([0, 0, -1, -1, 0, 0, 1, 1], np.int64)
            node("Pad", [*inputs, constant("moved", moved)], outputs)
        case Select(channels=channels):
            held = [constant("channels", np.array(channels, np.int64))]
            node("Gather", inputs + held, outputs, axis=1)
        case Split(sizes=sizes):
            held = [constant("sizes", np.array(sizes, np.int64))]
            node("Split", inputs + held, outputs, axis=1)
        case Concat():
            node("Concat", inputs, outputs, axis=1)
        case Shuffle(groups=groups):
            value = op.source
            rest = [value.height, value.width]
            apart = np.array([0, groups, value.channels // groups, *rest], np.int64)
            together = np.array([0, value.channels, *rest], np.int64)
            grouped, swapped = f"{op.name}.grouped", f"{op.name}.swapped"
            node("Reshape", [*inputs, constant("apart", apart)], [grouped])
            node("Transpose", [grouped], [swapped], perm=[0, 2, 1, 3, 4])
            node("Reshape", [swapped, constant("together", together)], outputs)
        case Add():
            node("Add", inputs, outputs)
        case Multiply():
            node("Mul", inputs, outputs)
        case Linear():
            held = [constant(part, weights[f"{op.name}.{part}"]) for part in ("weight", "bias")]
            flat = f"{op.name}.flat"
            node("Flatten", inputs, [flat])
            node("Gemm", [flat, *held], outputs, transB=1)
        case _:
            assert_never(op.kind)


def _window(side: int, stride: int, padding: int) -> dict[str, list[int]]:
    return {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
