"""The cost of an ONNX model on paper, in the definitions of `graph.cost`, for one run.

Multiply-adds are of convolutions and matrix products, products of two activations included.
Parameters are constants with at least one axis: floats, or quantised numbers. The mean and
variance of a batch norm and the scales of quantisation do not count. Memory access counts the
values that every node reads and writes, and weights of two axes or more. Views move nothing. The
graph is taken as written, so that quantisation nodes count which a runtime would fuse.

A model that we wrote has our own count (`cost_of`) in each figure but parameters. A batch norm
that is folded has one number for each channel, and two before.
"""

import math
from collections.abc import Callable, Mapping

from nas_sv2.errors import ConfigError
from nas_sv2.plain_data import printable
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.graph.peak_memory import PeakMemory, Step, most_alive
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.onnx_models.nodes import MOST_NAME, QUANTISING, ModelNode, Tensor

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
ACTIVATIONS = frozenset((
    "Celu", "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish",
    "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh",
    "ThresholdedRelu",
))  # fmt: skip
ARITHMETIC = frozenset((
    "Abs", "Add", "And", "Cast", "Ceil", "Div", "Equal", "Exp", "Floor", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg",
    "Not", "Or", "Pow", "Reciprocal", "Round", "Sign", "Sqrt", "Sub", "Sum", "Where", "Xor",
))  # fmt: skip
NORMS = frozenset((
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
    "RMSNormalization",
))  # fmt: skip
ELEMENTWISE = ACTIVATIONS | ARITHMETIC | NORMS | set(QUANTISING)
UNCOUNTED = frozenset((
    "Attention", "DeformConv", "Einsum", "GRU", "LSTM", "RNN", "DFT", "STFT",
))  # fmt: skip
"""Operators with multiply-adds that we do not count."""
WEIGHT_OF: Mapping[str, int] = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Where a convolution has its kernel."""
NO_WEIGHT: Mapping[str, frozenset[int]] = {
    "BatchNormalization": frozenset({3, 4}),
    **dict.fromkeys(QUANTISING, frozenset({1, 2})),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMatMul": frozenset({1, 2, 4, 5, 6, 7}),
    **dict.fromkeys(("Reshape", "Resize", "Upsample", "Clip", "Pad"), frozenset(range(1, 5))),
}
"""Inputs whose numbers are not learnt."""
INDICES = ("int64", "uint64", "uint32", "bool")
"""Kinds of constants that are shapes, indices or masks."""


def model_cost(model: OnnxModel) -> Cost:
    """The cost of one run of a model.

    Raises:
        ConfigError: A shape cannot be inferred, or an operator is not counted; names the node.
    """
    graph = model.graph
    weights = {
        tensor.name: tensor.elements
        for node in graph.nodes
        for place, tensor in enumerate(node.inputs)
        if tensor is not None and place not in NO_WEIGHT.get(node.operator, ())
        if tensor.name in node.constants and _is_weight(tensor)
    }
    whole = sum((_node_cost(model.file, node) for node in graph.nodes), Cost())
    return whole + Cost(params=sum(weights.values()))


def model_memory(model: OnnxModel) -> PeakMemory:
    """The most memory that one run of a model needs at once; see `graph.peak_memory`.

    In place are the operators of `ELEMENTWISE` without norms and quantisation, and Softmax.

    Raises:
        ConfigError: A shape cannot be inferred; names the node.
    """
    graph = model.graph
    values = [*graph.inputs, *(one for node in graph.nodes for one in node.outputs)]
    steps = [
        Step(
            node.name,
            [tensor.name for tensor in node.reads],
            [tensor.name for tensor in node.outputs],
            in_place=node.operator in IN_PLACE,
            view=node.operator in VIEWS and bool(node.reads),
        )
        for node in graph.nodes
    ]
    inputs, outputs = ([one.name for one in ends] for ends in (graph.inputs, graph.outputs))
    sizes = {tensor.name: tensor.bytes for tensor in values}
    outputs = [name for name in outputs if name in sizes]
    held = {one.name: one for node in graph.nodes for one in node.held if _is_weight(one)}
    activations, at = most_alive(steps, sizes, inputs, outputs)
    return PeakMemory(sum(tensor.bytes for tensor in held.values()), activations, at)


IN_PLACE = (ACTIVATIONS | ARITHMETIC | {"Softmax"}) - {"Cast"}


def _node_cost(file: str, node: ModelNode) -> Cost:
    if node.operator in UNCOUNTED:
        where = f"{file}: node {printable(node.name, MOST_NAME)}"
        raise ConfigError(where, node.operator, "must be an operator whose cost is counted")
    if node.operator in VIEWS:
        return Cost()
    moved = sum(tensor.bytes for tensor in (*node.reads, *node.outputs))
    access = moved + sum(tensor.bytes for tensor in node.held if len(tensor.shape) > 1)
    count = MULTIPLY_ADDS.get(node.operator)
    return Cost(
        flops=0 if count is None else count(node),
        memory_access_bytes=access,
        elementwise_bytes=access if node.operator in ELEMENTWISE or is_depthwise(node) else 0,
        kernel_count=0 if node.operator in ACTIVATIONS else 1,
    )


def is_depthwise(node: ModelNode) -> bool:
    """Whether a node is a convolution with one group a channel."""
    groups = node.attributes.get("group", 1)
    return node.operator in WEIGHT_OF and groups == node.input(0).shape[1] > 1


def _is_weight(tensor: Tensor) -> bool:
    """Whether a constant has learnt numbers, and is not one number, a shape, indices or a mask."""
    return bool(tensor.shape) and tensor.kind not in INDICES


def _convolution(node: ModelNode) -> int:
    kernel = node.input(WEIGHT_OF[node.operator])
    map_ = node.input(0) if node.operator == "ConvTranspose" else node.output
    return kernel.elements * math.prod(map_.shape[2:]) * map_.shape[0]


def _product(node: ModelNode) -> int:
    shape = node.input(0).shape
    return node.output.elements * shape[0 if node.attributes.get("transA") else -1]


MULTIPLY_ADDS: Mapping[str, Callable[[ModelNode], int]] = {
    **dict.fromkeys(WEIGHT_OF, _convolution),
    **dict.fromkeys(("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"), _product),
}
