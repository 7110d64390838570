"""An ONNX model as a graph of our operators, so that an emulated core can price it.

Each node must be one of our operators, as our own ONNX files and torch's exporters write them. A
batch norm behind a convolution that nobody else reads is folded into it, as runtimes do. Reshapes
that move nothing disappear, and a reshape, a transpose and a reshape are a channel shuffle. Any
other node is refused by its name and its operator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.plain_data import printable
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    Kind,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Select,
    Shuffle,
    Split,
    Value,
)
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.onnx_models.model_cost import VIEWS
from nas_sv2.space.onnx_models.nodes import MOST_NAME, QUANTISING, ModelGraph, ModelNode, Tensor

FLOAT32 = "be float32 (its int8 form is priced with --precision int8)"
CHANNELS = 1
"""The axis of the channels."""


def as_graph(model: OnnxModel) -> Graph:
    """The operators of a model, for one image in float32.

    Raises:
        ConfigError: A node differs from our operators; names it.
    """
    found = model.graph
    for what, ends in (("inputs", found.inputs), ("outputs", found.outputs)):
        if len(ends) != 1:
            raise _refused(model.file, what, ", ".join(one.name for one in ends), "be one")
    if not found.nodes:
        raise _refused(model.file, "output", found.outputs[0].name, "depend on the input")
    (image,) = found.inputs
    reader = _Reader(model.file, found)
    value = _value(image)
    if value is None or image.kind != "float32":
        text = f"{image.sizes} of {image.kind}"
        raise _refused(model.file, image.name, text, "be one image in float32, as 1x3x224x224")
    reader.values[image.name] = value
    for node in found.nodes:
        reader.read(node)
    (logits,) = found.outputs
    return Graph(value, reader.value_of(logits, found.nodes[-1]), tuple(reader.ops))


def _refused(file: str, name: str, got: str, allowed: str) -> ConfigError:
    where = f"{file}: {printable(name, MOST_NAME)}"
    return ConfigError(where, printable(got, MOST_NAME), f"must {allowed} to be emulated")


def _value(tensor: Tensor) -> Value | None:
    """A tensor (1, C, H, W) or (1, C) as a value; None if it is neither."""
    if len(tensor.shape) not in (2, 4) or tensor.shape[0] != 1:
        return None
    return Value(tensor.name, *(*tensor.shape[1:], 1, 1)[:3])


@dataclass
class _Reader:
    """Turns nodes into operators, one by one.

    Attributes:
        file: The file, for errors.
        graph: The nodes of the model.
        values: The values of the graph, by the name of the tensor.
        shuffled: Tensors within a shuffle: the value that is shuffled, groups, if transposed.
        ops: The operators so far.
    """

    file: str
    graph: ModelGraph
    values: dict[str, Value] = field(default_factory=dict)
    shuffled: dict[str, tuple[Value, int, bool]] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def read(self, node: ModelNode) -> None:
        """Add the operator of a node."""
        if node.operator in VIEWS or node.operator == "Transpose":
            return self._move(node)
        if node.operator == "Add" and self._is_bias(node):
            return self._alias(node)
        if node.operator == "BatchNormalization" and self._folds(node):
            return None
        kind = KINDS.get(node.operator, lambda reader, node: None)(self, node)
        if kind is None:
            if node.operator in QUANTISING:
                raise _refused(self.file, "precision", node.operator, FLOAT32)
            covered = ", ".join(sorted({*KINDS, "Reshape", "Transpose"}))
            what = f"node {node.name}"
            raise _refused(self.file, what, node.operator, f"be one of {covered}")
        if len(node.outputs) > 1 and not isinstance(kind, Split):
            raise self.refuse(node, f"{len(node.outputs)} outputs", "have one output")
        outputs = tuple(self._new_value(tensor, node) for tensor in node.outputs)
        inputs = tuple(self.value_of(tensor, node) for tensor in _in_order(node))
        self.ops.append(Op(node.name, kind, inputs, outputs))
        return None

    def refuse(self, node: ModelNode, got: object, allowed: str) -> ConfigError:
        """The error that a node does not work as our operator does."""
        return _refused(self.file, f"{node.operator} of node {node.name}", str(got), allowed)

    def value_of(self, tensor: Tensor, node: ModelNode) -> Value:
        """The value that a node reads."""
        if tensor.name not in self.values:
            raise self.refuse(node, tensor.sizes, "read maps 1×C×H×W or numbers 1×C")
        return self.values[tensor.name]

    def constant(self, node: ModelNode, place: int, attribute: str = "") -> list[Any]:
        """The numbers of a constant input or, of older opsets, of an attribute."""
        if attribute in node.attributes:
            return list(node.attributes[attribute])
        tensor = node.inputs[place] if place < len(node.inputs) else None
        array = None if tensor is None else self.graph.value(tensor)
        return [] if array is None else array.ravel().tolist()

    def _new_value(self, tensor: Tensor, node: ModelNode) -> Value:
        value = _value(tensor)
        if value is None:
            raise self.refuse(node, tensor.sizes, "write maps 1×C×H×W or numbers 1×C")
        self.values[tensor.name] = value
        return value

    def _alias(self, node: ModelNode) -> None:
        """The output is the input under another name, perhaps flat."""
        before, after = self.value_of(node.reads[0], node), _value(node.output)
        if after is None or not (replace(after, name=before.name) == before or after.area == 1):
            raise self.refuse(node, node.output.sizes, "keep the channels or flatten the map")
        self.values[node.output.name] = replace(after, name=before.name)

    def _move(self, node: ModelNode) -> None:
        """Read a reshape or transpose: a part of a shuffle, or nothing that moves."""
        source, target = node.reads[0], node.output
        if len(target.shape) == 5 and node.operator == "Reshape":
            value = self.value_of(source, node)
            if (value.channels, value.height, value.width) != (
                target.shape[1] * target.shape[2],
                *target.shape[3:],
            ):
                raise self.refuse(node, target.sizes, "divide the channels alone into groups")
            self.shuffled[target.name] = (value, target.shape[1], False)
        elif node.operator == "Transpose":
            found = self.shuffled.get(source.name)
            if found is None or found[2] or node.attributes.get("perm") != [0, 2, 1, 3, 4]:
                raise self.refuse(node, target.sizes, "be that of a channel shuffle")
            self.shuffled[target.name] = (*found[:2], True)
        elif source.name in self.shuffled:
            value, groups, done = self.shuffled[source.name]
            output = self._new_value(target, node)
            if not done or replace(output, name=value.name) != value:
                raise self.refuse(node, target.sizes, "end a channel shuffle with the map's shape")
            self.ops.append(Op(node.name, Shuffle(groups), (value,), (output,)))
        else:
            self._alias(node)

    def _is_bias(self, node: ModelNode) -> bool:
        """Whether a sum adds the bias to a matrix product, which runtimes fuse."""
        made = self.ops[-1] if self.ops else None
        follows = made is not None and [one.name for one in node.reads] == [made.output.name]
        return follows and made is not None and isinstance(made.kind, Linear)

    def _folds(self, node: ModelNode) -> bool:
        """Fold a batch norm into the convolution before it, if nobody else reads that."""
        source = node.reads[0].name
        reads = chain.from_iterable(each.reads for each in self.graph.nodes)
        once = sum(tensor.name == source for tensor in reads) == 1
        for place, op in enumerate(self.ops):
            if op.output.name == source and isinstance(op.kind, Conv) and once:
                kind = replace(op.kind, batch_norm=True, bias=False)
                output = replace(op.output, name=node.output.name)
                self.ops[place] = replace(op, kind=kind, outputs=(output,))
                self.values[node.output.name] = output
                return True
        return False


def _window(reader: _Reader, node: ModelNode) -> tuple[int, int]:
    """Stride and padding of a square window that is padded alike on all sides."""
    given = node.attributes
    strides = list(given.get("strides", [1, 1]))
    pads = list(given.get("pads", [0, 0, 0, 0]))
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise reader.refuse(node, given["auto_pad"].decode(), "have its padding as pads")
    if len(set(strides)) > 1 or len(set(pads)) > 1:
        raise reader.refuse(node, f"strides {strides}, pads {pads}", "have one stride and one pad")
    if set(given.get("dilations", [1])) != {1} or given.get("ceil_mode"):
        raise reader.refuse(node, "dilations or ceil_mode", "have neither dilations nor ceil_mode")
    return strides[0], pads[0]


def _square(reader: _Reader, node: ModelNode, sides: tuple[int, ...]) -> int:
    if len(sides) != 2 or sides[0] != sides[1]:
        raise reader.refuse(node, "x".join(map(str, sides)), "have a square kernel")
    return int(sides[0])


def _conv(reader: _Reader, node: ModelNode) -> Kind:
    if len(node.reads) > 1:
        raise reader.refuse(node, "a computed kernel", "have a constant kernel")
    side = _square(reader, node, node.input(1).shape[2:])
    stride, padding = _window(reader, node)
    if padding not in (0, side // 2):
        raise reader.refuse(node, padding, f"be padded by 0 or {side // 2}")
    kind = Conv(side, stride, node.attributes.get("group", 1), batch_norm=False)
    return replace(kind, bias=len(node.inputs) > 2, padded=padding == side // 2)


def _max_pool(reader: _Reader, node: ModelNode) -> Kind:
    side = _square(reader, node, tuple(node.attributes["kernel_shape"]))
    stride, padding = _window(reader, node)
    if padding != side // 2:
        raise reader.refuse(node, padding, f"be padded by {side // 2}")
    return MaxPool(side, stride)


def _average_pool(reader: _Reader, node: ModelNode) -> Kind:
    side = _square(reader, node, tuple(node.attributes["kernel_shape"]))
    stride, padding = _window(reader, node)
    source = reader.value_of(node.reads[0], node)
    if (side, side, 0) == (source.height, source.width, padding):
        return GlobalAveragePool()
    kind = AveragePool(side, stride)
    if padding != kind.padding or (padding and node.attributes.get("count_include_pad")):
        raise reader.refuse(node, padding, f"be padded by {kind.padding}, which does not count")
    return kind


def _mean(reader: _Reader, node: ModelNode) -> Kind:
    axes = sorted(axis % 4 for axis in reader.constant(node, 1, "axes"))
    if len(node.input(0).shape) != 4 or axes != [2, 3]:
        raise reader.refuse(node, axes, "be over height and width")
    return GlobalAveragePool()


def _clip(reader: _Reader, node: ModelNode) -> Kind:
    given = node.attributes
    ends = [given[name] for name in ("min", "max") if name in given]
    ends = ends or [*reader.constant(node, 1), *reader.constant(node, 2)]
    if ends != [0, 6]:
        raise reader.refuse(node, ends, "be from 0 to 6")
    return Activation("relu6")


def _linear(reader: _Reader, node: ModelNode) -> Kind:
    given = node.attributes
    plain = not given.get("transA") and (given.get("alpha", 1), given.get("beta", 1)) == (1, 1)
    if node.reads != [node.input(0)] or len(node.input(0).shape) != 2 or not plain:
        raise reader.refuse(node, node.input(0).sizes, "be of N×C numbers and a constant matrix")
    return Linear()


def _add(reader: _Reader, node: ModelNode) -> Kind:
    if [one.shape for one in node.reads] != [node.output.shape] * 2:
        raise reader.refuse(node, node.output.sizes, "add two maps of one shape")
    return Add()


def _multiply(reader: _Reader, node: ModelNode) -> Kind:
    shapes = [one.shape for one in _in_order(node)]
    if shapes != [node.output.shape, (*node.output.shape[:2], 1, 1)]:
        raise reader.refuse(node, node.output.sizes, "multiply N×C×H×W by N×C×1×1")
    return Multiply()


def _in_order(node: ModelNode) -> list[Tensor]:
    """The inputs that are computed, the gates of a product last: files have either order."""
    if node.operator != "Mul":
        return node.reads
    return sorted(node.reads, key=lambda tensor: -tensor.elements)


def _concat(reader: _Reader, node: ModelNode) -> Kind:
    _check_axis(reader, node, node.attributes.get("axis", CHANNELS))
    if node.constants:
        raise reader.refuse(node, "a constant", "join maps that are computed")
    return Concat()


def _split(reader: _Reader, node: ModelNode) -> Kind:
    _check_axis(reader, node, node.attributes.get("axis", 0))
    return Split(tuple(tensor.shape[CHANNELS] for tensor in node.outputs))


def _select(reader: _Reader, node: ModelNode) -> Kind:
    _check_axis(reader, node, node.attributes.get("axis", 0))
    chosen = reader.constant(node, 1)
    if len(chosen) != node.output.shape[CHANNELS]:
        raise reader.refuse(node, node.output.sizes, "choose channels by constant numbers")
    return Select(tuple(map(int, chosen)))


def _check_axis(reader: _Reader, node: ModelNode, axis: int) -> None:
    if axis % len(node.output.shape) != CHANNELS:
        raise reader.refuse(node, f"axis {axis}", "be along the channels")


KINDS: Mapping[str, Callable[[_Reader, ModelNode], Kind]] = {
    "Conv": _conv,
    "Relu": lambda reader, node: Activation("relu"),
    "Sigmoid": lambda reader, node: Activation("sigmoid"),
    "Clip": _clip,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda reader, node: GlobalAveragePool(),
    "ReduceMean": _mean,
    "BatchNormalization": lambda reader, node: Norm(),
    "Gemm": _linear,
    "MatMul": _linear,
    "Add": _add,
    "Mul": _multiply,
    "Concat": _concat,
    "Split": _split,
    "Gather": _select,
}
"""How each operator is read."""
