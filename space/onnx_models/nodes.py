"""The nodes of an ONNX model with the shapes that they read and write, by onnx's shape inference.

Values that do not depend on an input are constants, as a runtime computes them when it loads the
model: initializers, and nodes that read constants or a shape alone. A quantised weight keeps its
quantised numbers. Nodes that no output depends on are left out.
"""

import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_sv2.errors import ConfigError
from nas_sv2.plain_data import printable

if TYPE_CHECKING:
    import numpy as np
    from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, TypeProto

OF_SHAPE = ("Shape", "Size")
MOST_NAME = 80
"""Characters of a name that an error shows."""
QUANTISING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of fixed shape.

    Attributes:
        name: Its name in the model.
        shape: Its sizes; none for a single number.
        kind: The kind of its numbers, as numpy names it.
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "float32"

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        bits = re.search(r"\d+", self.kind)  # of float8_e4m3fn, 8; bool has none, and 8
        return -(-self.elements * int(bits[0] if bits else 8) // 8)

    @property
    def sizes(self) -> str:
        """The shape as `--input` takes it."""
        return "x".join(map(str, self.shape))


@dataclass(frozen=True, slots=True)
class ModelNode:
    """A node of a model.

    Attributes:
        name: Its name, unique in the model.
        operator: The type of the operator, such as `Conv`.
        inputs: All inputs in order, constants too; None for one that is left out.
        constants: Names of the inputs that are constants.
        outputs: The outputs that are used or could be, in order.
        attributes: The attributes by name, as Python values.
    """

    name: str
    operator: str
    inputs: tuple[Tensor | None, ...]
    constants: frozenset[str]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any]

    @property
    def reads(self) -> list[Tensor]:
        """The inputs that are computed or fed."""
        return [one for one in self.inputs if one is not None and one.name not in self.constants]

    @property
    def held(self) -> list[Tensor]:
        """The inputs that are constants."""
        return [one for one in self.inputs if one is not None and one.name in self.constants]

    @property
    def output(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    def input(self, place: int) -> Tensor:
        """The input of that place, which the operator cannot be without."""
        found = self.inputs[place]
        assert found is not None, "onnx's checker refuses a node without it"
        return found


@dataclass(frozen=True)
class ModelGraph:
    """The nodes of a model in an order in which they can run.

    Attributes:
        inputs: The inputs of the model.
        outputs: The outputs of the model.
        nodes: The nodes that run.
        tensors: The constants that the model holds as they are, by name.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[ModelNode, ...]
    tensors: "Mapping[str, TensorProto]"

    def value(self, tensor: Tensor) -> "np.ndarray | None":
        """The numbers of a constant; None if the model computes them."""
        from onnx import numpy_helper

        found = self.tensors.get(tensor.name)
        return None if found is None else numpy_helper.to_array(found)


def kind_of(number: int) -> str:
    """The kind of numbers that ONNX has under `number`, as numpy names it."""
    from onnx import helper

    try:
        return str(helper.tensor_dtype_to_np_dtype(number).name)
    except KeyError:
        return "unknown"


def graph_of(file: str, body: bytes) -> ModelGraph:
    """Infer the shapes of a model's values, and return its nodes.

    Raises:
        ConfigError: A shape cannot be inferred; names the node.
    """
    try:
        return _graph_of(file, body)
    except ConfigError:
        folded = _folded(body)
        if folded is None:
            raise
        return _graph_of(file, folded)


def _folded(body: bytes) -> bytes | None:
    """Let onnxruntime compute the constants of a model that onnx's inference cannot follow.

    Older exporters of torch compute shapes by nodes, of which a fixed input makes constants.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(body, options, providers=["CPUExecutionProvider"])
            return Path(options.optimized_model_filepath).read_bytes()
        except Exception:  # of many kinds, all about the model, whose first fault is told
            return None


def _graph_of(file: str, body: bytes) -> ModelGraph:
    model = _inferred(file, body)
    graph = model.graph
    kinds = {value.name: value.type for value in (*graph.value_info, *graph.output, *graph.input)}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    shapes: dict[str, Tensor | None]
    shapes = {name: _of_tensor(tensor) for name, tensor in tensors.items()}
    constants = set(tensors)
    used = {name for node in graph.node for name in node.input}
    used.update(value.name for value in graph.output)
    nodes: list[ModelNode] = []
    for node in graph.node:
        _remember_constants(node, constants, shapes, tensors)
        for name in filter(None, (*node.input, *node.output)):
            shapes.setdefault(name, None)
            shapes[name] = shapes[name] or _tensor(name, kinds.get(name))
        if all(name in constants for name in node.output if name):
            continue
        nodes.append(_node(file, node, shapes, constants, used))
    outputs = tuple(_known(file, value.name, shapes) for value in graph.output)
    inputs = tuple(
        _known(file, value.name, {**shapes, value.name: _tensor(value.name, value.type)})
        for value in graph.input
        if value.name not in tensors
    )
    return ModelGraph(inputs, outputs, tuple(_live(nodes, outputs)), tensors)


def _inferred(file: str, body: bytes) -> "ModelProto":
    import onnx

    model = onnx.load_model_from_string(body)
    del model.graph.value_info[:]  # of other sizes of the input, perhaps
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        reason = printable(" ".join(str(error).split()), 300)
        raise ConfigError(
            "network", file, f"must have shapes that fit together ({reason})"
        ) from None


def _remember_constants(
    node: "NodeProto",
    constants: set[str],
    shapes: "dict[str, Tensor | None]",
    tensors: "dict[str, TensorProto]",
) -> None:
    """Add the outputs of a node that a runtime computes when it loads the model."""
    if node.op_type == "Constant" and not node.domain:
        for attribute in node.attribute:
            if (held := _held(attribute)) is not None:
                tensors[node.output[0]] = held
        constants.update(node.output)
    elif node.op_type in OF_SHAPE:
        constants.update(node.output)
        return
    is_fixed = node.input and all(name in constants for name in node.input if name)
    is_fixed = is_fixed and not _has_graph(node)  # which reads more than the inputs say
    if is_fixed and not node.op_type.startswith("Random"):
        constants.update(filter(None, node.output))
        weight = shapes.get(node.input[0])
        if node.op_type in QUANTISING and weight is not None:
            shapes[node.output[0]] = Tensor(node.output[0], weight.shape, weight.kind)


def _held(attribute: "AttributeProto") -> "TensorProto | None":
    """The numbers of a constant, which exporters write in one of five ways; None for a text."""
    import numpy as np
    from onnx import helper, numpy_helper

    if attribute.name == "value":
        return attribute.t
    kind = {"value_float": "float32", "value_int": "int64"}.get(attribute.name.removesuffix("s"))
    if kind is None:
        return None
    return numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), kind))


def _node(
    file: str,
    node: "NodeProto",
    shapes: "Mapping[str, Tensor | None]",
    constants: set[str],
    used: set[str],
) -> ModelNode:
    from onnx import helper

    where = f"{file}: node {printable(node.name, MOST_NAME)}"
    if _has_graph(node):
        raise ConfigError(where, node.op_type, "must be an operator without a graph of its own")
    for name in filter(None, (*node.input, *node.output)):
        if shapes[name] is None and name in used:
            value = printable(name, MOST_NAME)
            what = f"must have shapes that follow from the inputs; that of {value} does not"
            raise ConfigError(where, f"{node.domain}.{node.op_type}".lstrip("."), what)
    return ModelNode(
        node.name,
        node.op_type,
        tuple(shapes[name] if name else None for name in node.input),
        frozenset(name for name in node.input if name in constants),
        tuple(tensor for name in node.output if name and (tensor := shapes[name]) is not None),
        {one.name: helper.get_attribute_value(one) for one in node.attribute},
    )


def _has_graph(node: "NodeProto") -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _live(nodes: Sequence[ModelNode], outputs: Iterable[Tensor]) -> list[ModelNode]:
    needed, live = {tensor.name for tensor in outputs}, []
    for node in reversed(nodes):
        if any(tensor.name in needed for tensor in node.outputs):
            needed.update(tensor.name for tensor in node.reads)
            live.append(node)
    return live[::-1]


def _known(file: str, name: str, shapes: "Mapping[str, Tensor | None]") -> Tensor:
    found = shapes.get(name)
    if found is None:
        shown = printable(name, MOST_NAME)
        raise ConfigError(
            f"{file}: {shown}", None, "must have a shape that follows from the inputs"
        )
    return found


def _of_tensor(tensor: "TensorProto") -> Tensor:
    return Tensor(tensor.name, tuple(map(int, tensor.dims)), kind_of(tensor.data_type))


def _tensor(name: str, kind: "TypeProto | None") -> Tensor | None:
    """The tensor of a value; None if a size is not known."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    sizes = kind.tensor_type.shape.dim
    if not all(size.HasField("dim_value") for size in sizes):
        return None
    return Tensor(
        name, tuple(int(size.dim_value) for size in sizes), kind_of(kind.tensor_type.elem_type)
    )
