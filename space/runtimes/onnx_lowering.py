"""Operators are written as ONNX directly: no torch, no tracing.

Batch norms are folded. Opset 13 with IR version 7 is the lowest that has each of our operators in
this form, int8 weights with a scale for each channel included. Newer opsets change nothing that we
use: onnxruntime runs the same optimised graph, to the same bits. So the lowest is the default. Old
runtimes on boards read it, and so do the converters of many chips, which stop at 12 to 15.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from nas_sv2.errors import ConfigError
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
    Pool,
    Rearrangement,
    Select,
    Shift,
    Shuffle,
    Split,
)
from nas_sv2.space.runtimes.weights import (
    BATCH_NORM_EPSILON,
    NORM_PARTS,
    Weights,
    flush,
    fold_batch_norm,
)

OPSET = 13
OPSETS = range(OPSET, 18)
"""Opsets in which a model can be written."""
INPUT, OUTPUT = "input", "logits"


def build_onnx(graph: Graph, weights: Weights, batch: int | None = 1, opset: int = OPSET) -> bytes:
    """The serialised model: `input` (N, C, H, W) float32 to `logits` (N, classes).

    If the graph ends in a map, `logits` is that map, (N, C', H', W').

    Args:
        graph: The network.
        weights: Its numbers, named as `weight_shapes` names them.
        batch: N, or None for a model that takes any batch.
        opset: Version of ONNX's operators, one of `OPSETS`.

    Raises:
        ConfigError: The opset is not one of `OPSETS`.
    """
    check_opset(opset)
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    for op in graph.ops:
        _append(_Writer(op, weights, nodes, tensors))
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
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=helper.find_min_ir_version_for([helper.make_opsetid("", opset)]),
        producer_name="nas-sv2",
    )
    serialised: bytes = model.SerializeToString()
    return serialised


def check_opset(opset: int) -> None:
    """Refuse an opset in which no model can be written.

    Raises:
        ConfigError: It is not one of `OPSETS`.
    """
    if opset not in OPSETS:
        raise ConfigError("opset", opset, f"must be from {OPSETS[0]} to {OPSETS[-1]}")


def opset_of(model: bytes) -> int:
    """The opset of a serialised model; 0 if it names none."""
    opsets = onnx.load_model_from_string(model).opset_import
    return next((int(each.version) for each in opsets if not each.domain), 0)


def with_metadata(model: bytes, metadata: Mapping[str, str]) -> bytes:
    """The serialised model with these `metadata_props`, which runtimes show, and no others."""
    loaded = onnx.load_model_from_string(model)
    helper.set_model_props(loaded, dict(metadata))
    serialised: bytes = loaded.SerializeToString()
    return serialised


def metadata_of(model: bytes) -> dict[str, str]:
    """The `metadata_props` of a serialised model."""
    props = onnx.load_model_from_string(model).metadata_props
    return {each.key: each.value for each in props}


def _described(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@dataclass(frozen=True)
class _Writer:
    """Adds the nodes of one operator to a model, and the tensors they hold."""

    op: Op
    weights: Weights
    nodes: list[NodeProto]
    tensors: list[TensorProto]

    def constant(self, part: str, array: np.ndarray | np.float32) -> str:
        """Add a tensor of the operator and return its name; weights next to 0 become 0."""
        name = f"{self.op.name}.{part}"
        array = np.asarray(array)
        held = flush(array) if array.dtype == np.float32 else array
        self.tensors.append(numpy_helper.from_array(held, name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Add a node, named after its first output."""
        self.nodes.append(helper.make_node(kind, inputs, outputs, outputs[0], **attributes))

    def only_node(self, kind: str, *constants: str, **attributes: Any) -> None:
        """Add the node that is the whole operator: it also reads `constants`."""
        inputs, outputs = [v.name for v in self.op.inputs], [v.name for v in self.op.outputs]
        self.node(kind, [*inputs, *constants], outputs, **attributes)


def _append(writer: _Writer) -> None:
    """Add the nodes of one operator, and the tensors they hold."""
    kind = writer.op.kind
    match kind:
        case Conv() | Norm() | Linear():
            _append_layer(kind, writer)
        case MaxPool() | AveragePool() | GlobalAveragePool():
            _append_pool(kind, writer)
        case Shift() | Select() | Split() | Concat() | Shuffle():
            _append_rearrangement(kind, writer)
        case Activation(function="relu6"):
            ends = ("least", np.float32(0)), ("most", np.float32(6))
            writer.only_node("Clip", *(writer.constant(*end) for end in ends))
        case Activation(function=function):
            writer.only_node({"relu": "Relu", "sigmoid": "Sigmoid"}[function])
        case Add():
            writer.only_node("Add")
        case Multiply():
            writer.only_node("Mul")
        case _:
            assert_never(kind)


def _append_layer(kind: Conv | Norm | Linear, writer: _Writer) -> None:
    """Add an operator that has weights."""
    op, weights = writer.op, writer.weights
    match kind:
        case Conv():
            kernel, bias = fold_batch_norm(op, weights)
            held = [writer.constant("weight", kernel), writer.constant("bias", bias)]
            window = _window(kind.kernel, kind.stride, kind.padding)
            writer.only_node("Conv", *held, group=kind.groups, **window)
        case Norm():
            held = [
                writer.constant(part, weights[f"{op.name}.norm.{part}"]) for part in NORM_PARTS
            ]
            writer.only_node("BatchNormalization", *held, epsilon=BATCH_NORM_EPSILON)
        case Linear():
            held = [
                writer.constant(part, weights[f"{op.name}.{part}"]) for part in ("weight", "bias")
            ]
            flat = f"{op.name}.flat"
            writer.node("Flatten", [op.source.name], [flat])
            writer.node("Gemm", [flat, *held], [op.output.name], transB=1)
        case _:
            assert_never(kind)


def _append_pool(kind: Pool, writer: _Writer) -> None:
    match kind:
        case MaxPool(kernel=side, stride=stride):
            writer.only_node("MaxPool", **_window(side, stride, side // 2))
        case AveragePool(kernel=side, stride=stride):
            writer.only_node("AveragePool", **_window(side, stride, kind.padding))
        case GlobalAveragePool():
            writer.only_node("GlobalAveragePool")
        case _:
            assert_never(kind)


def _append_rearrangement(kind: Rearrangement, writer: _Writer) -> None:
    """Add an operator that moves values or channels and computes nothing."""
    match kind:
        case Shift():
            moved = np.array([0, 0, -1, -1, 0, 0, 1, 1], np.int64)
            writer.only_node("Pad", writer.constant("moved", moved))
        case Select(channels=channels):
            chosen = writer.constant("channels", np.array(channels, np.int64))
            writer.only_node("Gather", chosen, axis=1)
        case Split(sizes=sizes):
            parts = writer.constant("sizes", np.array(sizes, np.int64))
            writer.only_node("Split", parts, axis=1)
        case Concat():
            writer.only_node("Concat", axis=1)
        case Shuffle(groups=groups):
            _append_shuffle(groups, writer)
        case _:
            assert_never(kind)


def _append_shuffle(groups: int, writer: _Writer) -> None:
    op, value = writer.op, writer.op.source
    rest = [value.height, value.width]
    apart = np.array([0, groups, value.channels // groups, *rest], np.int64)
    together = np.array([0, value.channels, *rest], np.int64)
    grouped, swapped = f"{op.name}.grouped", f"{op.name}.swapped"
    writer.node("Reshape", [value.name, writer.constant("apart", apart)], [grouped])
    writer.node("Transpose", [grouped], [swapped], perm=[0, 2, 1, 3, 4])
    end = writer.constant("together", together)
    writer.node("Reshape", [swapped, end], [op.output.name])


def _window(side: int, stride: int, padding: int) -> dict[str, list[int]]:
    return {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
