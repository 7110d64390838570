"""An ONNX file of the user's as a network: read within bounds, every input of a fixed shape.

Nothing of the file is run here. The model that is measured has the file's external data inside,
inputs of the shapes that were asked for, and a name for every node. The digest is of those bytes,
so two files share a measurement only if a device would run the same.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_sv2.errors import ConfigError
from nas_sv2.files import open_regular, read_bounded
from nas_sv2.plain_data import printable
from nas_sv2.resolution import Resolution, resolution_of
from nas_sv2.space.onnx_models.nodes import MOST_NAME, ModelGraph, Tensor, graph_of, kind_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

ENDING = ".onnx"
MOST_MODEL_BYTES = (1 << 31) - 1
"""The limit of a model with its external data, which is that of a protobuf."""
MOST_NUMBERS = 1 << 28
"""The limit of an input: 1 GiB in float32."""
FED = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
"""Kinds of numbers that an input may have: numpy on a device has them all."""
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""The domains of operators that onnxruntime's CPU package runs."""

Shapes = Mapping[str, Sequence[int]]
"""The shape of each input by its name; the name `""` stands for the only input."""


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file as a network; equal models have equal `digest`s.

    Attributes:
        file: The path, as the user gave it.
        body: The serialised model.
        inputs: Its inputs, in order.
        batch_taken: Whether the file leaves the batch open, and 1 was taken.
    """

    file: str
    body: bytes = field(repr=False)
    inputs: tuple[Tensor, ...]
    batch_taken: bool = False

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content."""
        return hashlib.sha256(self.body).hexdigest()[:16]

    @property
    def batch(self) -> int:
        """Images a run: the first size of the first input that has more than one."""
        return next((one.shape[0] for one in self.inputs if len(one.shape) > 1), 1)

    @property
    def channels(self) -> int:
        """Channels of the image that enters."""
        return self._image[1]

    @property
    def resolution(self) -> Resolution:
        """Side of the image that enters, or its height and width."""
        return resolution_of(*self._image[2:])

    @property
    def _image(self) -> tuple[int, ...]:
        """The shape of the only input, an image, which networks of ours have.

        Raises:
            ConfigError: The model has other inputs.
        """
        shape = self.inputs[0].shape if len(self.inputs) == 1 else ()
        if len(shape) != 4:
            got = ", ".join(one.sizes for one in self.inputs)
            raise ConfigError(f"{self.file}: input", got, "must be one image, N×C×H×W, here")
        return shape

    @cached_property
    def graph(self) -> ModelGraph:
        """Its nodes, with the shapes that they read and write.

        Raises:
            ConfigError: A shape cannot be inferred; names the node.
        """
        return graph_of(self.file, self.body)


def load_model(path: Path | str, shapes: Shapes | None = None) -> OnnxModel:
    """Read an ONNX file as a network.

    Args:
        path: The file.
        shapes: Shapes of inputs, needed where the file leaves a size open. If none are given, and
            only the batch is open, which is axis 0 of an input of several axes, it is 1.

    Raises:
        ConfigError: The file does not hold an ONNX model, its external data are not in its folder,
            or its inputs do not have these shapes; names the fault.
    """
    file, place = str(path), Path(path)
    model = _parsed(file, place)
    _embed_external_data(file, model, place.parent)
    own = {function.domain for function in model.functions}
    for node in _nodes_of(model.graph):
        _check_domain(file, node, own)
    _check(file, model)
    model = _without_functions(file, model)
    constants = {tensor.name for tensor in model.graph.initializer}
    found = [value for value in model.graph.input if value.name not in constants]
    asked = list(_asked(file, found, shapes or {}))
    taken = not shapes and _leaves_batch_open(found)
    if taken:
        for value in found:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    inputs = tuple(_fixed(file, value, shape) for value, shape in asked)
    _name_nodes(model.graph.node)
    body: bytes = model.SerializeToString()
    return OnnxModel(file, body, inputs, taken)


def _leaves_batch_open(inputs: "Sequence[ValueInfoProto]") -> bool:
    """Whether every input has several axes, and axis 0, and no other, is open."""
    shapes = [list(map(_size, value.type.tensor_type.shape.dim)) for value in inputs]
    return bool(shapes) and all(
        len(shape) > 1 and not shape[0] and all(shape[1:]) for shape in shapes
    )


def _parsed(file: str, path: Path) -> "ModelProto":
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = read_bounded(path, MOST_MODEL_BYTES)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError("network", file, f"must be a readable ONNX file ({reason})") from None
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        model = onnx.ModelProto()
    if not model.graph.node:
        raise ConfigError("network", file, "must be an ONNX model with nodes; it is none, or cut")
    return model


def _check(file: str, model: "ModelProto") -> None:
    """Refuse a model that is not valid, by onnx's own checker.

    It asks for the shapes of inputs and outputs, without which runtimes do.
    """
    import onnx

    ends = [
        value.type.tensor_type
        for value in (*model.graph.input, *model.graph.output)
        if value.type.HasField("tensor_type")
    ]
    unknown = [kind for kind in ends if not kind.HasField("shape")]
    for kind in unknown:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, UnicodeDecodeError) as error:
        reason = printable(" ".join(str(error).split()), 200)
        raise ConfigError("network", file, f"must be a valid ONNX model ({reason})") from None
    for kind in unknown:
        kind.ClearField("shape")


def _without_functions(file: str, model: "ModelProto") -> "ModelProto":
    """Put the nodes of the model's own functions in place of their calls, as runtimes do."""
    if not model.functions:
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except RuntimeError as error:
        reason = printable(" ".join(str(error).split()), 200)
        raise ConfigError(
            "network", file, f"must have functions that can be inlined ({reason})"
        ) from None


def _nodes_of(graph: "GraphProto") -> "Iterator[NodeProto]":
    """The nodes of a graph and of the graphs in their attributes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes_of(inner)


def _check_domain(file: str, node: "NodeProto", own: Collection[str]) -> None:
    """Refuse an operator of a domain that neither onnxruntime has nor the model defines."""
    if node.domain in (*DOMAINS, *own):
        return
    sentence = f"must be of a domain that onnxruntime has: {', '.join(filter(None, DOMAINS))}"
    name = printable(node.name or next(iter(node.output), ""), MOST_NAME)
    where = f"{file}: operator {printable(node.op_type, MOST_NAME)} of node {name}"
    raise ConfigError(where, printable(node.domain, MOST_NAME), sentence)


def _embed_external_data(file: str, model: "ModelProto", folder: Path) -> None:
    """Read the tensors that are kept in other files, of the model's own folder alone."""
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    root, left = folder.resolve(), MOST_MODEL_BYTES
    for tensor in _tensors_of(model):
        if not uses_external_data(tensor):
            continue
        stated = {entry.key: entry.value for entry in tensor.external_data}
        place = stated.get("location", "")
        field = f"{file}: external data of {printable(tensor.name, MOST_NAME)}"
        try:
            inside = (root / place).resolve().is_relative_to(root)
            if not place or os.path.isabs(place) or not inside:
                raise ConfigError(field, place, "must be in the folder of the file")
            with open_regular(root / place) as found:
                size = os.fstat(found.fileno()).st_size
            left -= int(stated.get("length") or size)
            if left < 0:
                raise ConfigError(field, place, "must have less than 2 GiB with the whole model")
            load_external_data_for_tensor(tensor, str(root))
        except ConfigError:
            raise
        except Exception as error:  # onnx raises many kinds, all about the file
            reason = printable(
                getattr(error, "strerror", None) or " ".join(str(error).split()), 200
            )
            raise ConfigError(field, place, f"must be readable ({reason})") from None
        tensor.data_location = type(tensor).DEFAULT
        del tensor.external_data[:]


def _tensors_of(model: "ModelProto") -> "Iterator[TensorProto]":
    """Every tensor that a model holds, in its graphs and functions."""
    graphs: list[Any] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _asked(
    file: str, inputs: "Sequence[ValueInfoProto]", shapes: Shapes
) -> "Iterable[tuple[ValueInfoProto, Sequence[int] | None]]":
    """Pair every input with the shape that was asked for, or with None."""
    names = [value.name for value in inputs]
    known = ", ".join(printable(name, MOST_NAME) for name in names)
    if "" in shapes and len(names) != 1:
        sentence = f"must be given as NAME=SHAPE: {file} has the inputs {known or 'none'}"
        raise ConfigError("input", "x".join(map(str, shapes[""])), sentence)
    for name in shapes:
        if name and name not in names:
            raise ConfigError("input", name, f"must name an input of {file}: {known or 'none'}")
    return [(value, shapes.get(value.name, shapes.get(""))) for value in inputs]


def _fixed(file: str, value: "ValueInfoProto", shape: Sequence[int] | None) -> Tensor:
    """Give an input the shape that was asked for, in the model too."""
    name = printable(value.name, MOST_NAME)
    field = f"{file}: input {name}"
    if not value.type.HasField("tensor_type"):
        raise ConfigError(field, value.type.WhichOneof("value"), "must be a tensor")
    sizes = value.type.tensor_type.shape.dim
    stated = "x".join(str(_size(size) or size.dim_param or "?") for size in sizes)
    if shape is not None:
        _check_shape(field, sizes, stated, shape, value.type.tensor_type.HasField("shape"))
        del sizes[:]
        for number in shape:
            sizes.add().dim_value = number
    elif not value.type.tensor_type.HasField("shape"):
        raise ConfigError(
            field, "no shape", f"must have one; give it as --input {name}=1x3x224x224"
        )
    for axis, size in enumerate(sizes):
        if not _size(size):
            sentence = (
                f"leaves axis {axis} open; give all sizes as --input {name}={stated} in numbers"
            )
            raise ConfigError(field, size.dim_param or "?", sentence)
    return _checked_tensor(field, value)


def _size(size: Any) -> int:
    """The size of an axis; 0 if it is open."""
    return max(0, int(size.dim_value)) if size.HasField("dim_value") else 0


def _check_shape(
    field: str, sizes: Sequence[Any], stated: str, shape: Sequence[int], has_rank: bool
) -> None:
    got = "x".join(map(str, shape))
    if has_rank and len(shape) != len(sizes):
        raise ConfigError(field, got, f"must have {len(sizes)} axes, as {stated}")
    if min(shape, default=1) < 1:
        raise ConfigError(field, got, "must have sizes of at least 1")
    for axis, (size, number) in enumerate(zip(sizes, shape, strict=False)):
        if _size(size) not in (0, number):
            raise ConfigError(
                field, got, f"must have {_size(size)} on axis {axis}, as the file has"
            )


def _checked_tensor(field: str, value: "ValueInfoProto") -> Tensor:
    shape = tuple(_size(size) for size in value.type.tensor_type.shape.dim)
    tensor = Tensor(value.name, shape, kind_of(value.type.tensor_type.elem_type))
    if tensor.kind not in FED:
        raise ConfigError(field, tensor.kind, "must be of numbers: " + ", ".join(FED))
    if tensor.elements > MOST_NUMBERS:
        raise ConfigError(field, tensor.sizes, f"must have at most {MOST_NUMBERS:,} numbers")
    return tensor


def _name_nodes(nodes: "Iterable[NodeProto]") -> None:
    """Give every node a name of its own, by which its time is found again."""
    taken: set[str] = set()
    for node in nodes:
        base = node.name or next(filter(None, node.output), node.op_type)
        name, number = base, 1
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        node.name = name
        taken.add(name)
