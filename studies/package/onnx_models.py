"""Checks of ONNX models: that a model holds all its tensors, and that two are the same network.

Two models are compared by their operators and the inputs of each. For int8, quantising and
dequantising are skipped. Activations are skipped as well, because int8 folds most of them into the
range of the operator before them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import ConfigError

BETWEEN = ("QuantizeLinear", "DequantizeLinear")
FOLDED = ("Relu", "Clip")

Origin = tuple[object, ...]
"""Origin of a tensor: an input, a stored tensor, or an output of an operator."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a model.

    Attributes:
        name: Name of the node.
        kind: Operator type with its domain.
        attributes: Serialised attributes, sorted.
        inputs: Origins of the inputs.
    """

    name: str
    kind: str
    attributes: tuple[bytes, ...]
    inputs: tuple[Origin, ...]


def difference(ours: bytes, theirs: bytes, int8: bool = False) -> str:
    """Name the first difference of two models other than weights; empty if there is none.

    Args:
        ours: Model in float32.
        theirs: Another model, of any content that ONNX can parse.
        int8: Whether `theirs` is in int8.
    """
    import onnx

    one, other = (onnx.load_model_from_string(model) for model in (ours, theirs))
    if _opsets(one) != _opsets(other):
        return f"operator sets {_opsets(other)}, not {_opsets(one)}"
    if len(other.functions):
        return "functions of its own"
    if _ends(one) != _ends(other):
        return f"inputs and outputs {_ends(other)}, not {_ends(one)}"
    # Their order is ignored, as int8 changes it; the inputs of each operator are compared.
    wanted, found = (Counter(_operators(each.graph, int8)) for each in (one, other))
    for operator in found - wanted:
        return f"operator {operator.name!r} ({operator.kind})"
    for operator in wanted - found:
        return f"operator {operator.name!r} ({operator.kind}) is missing"
    return ""


def _opsets(model: Any) -> list[tuple[str, int]]:
    return sorted((each.domain, each.version) for each in model.opset_import)


def _ends(model: Any) -> list[tuple[str, int, tuple[object, ...]]]:
    """Return names, element types and shapes of inputs and outputs."""
    found = []
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        shape = tuple(each.dim_param or each.dim_value for each in tensor.shape.dim)
        found.append((value.name, tensor.elem_type, shape))
    return found


def _operators(graph: Any, int8: bool) -> Iterator[Operator]:
    skipped = (*BETWEEN, *FOLDED) if int8 else ()
    origins: dict[str, Origin] = {value.name: ("input", value.name) for value in graph.input}
    for tensor in graph.initializer:
        origins[tensor.name] = _held(tensor)
    for node in graph.node:
        inputs = tuple(origins.get(name, ("nothing", name)) for name in node.input)
        if node.op_type in skipped and inputs:
            origins.update((name, inputs[0]) for name in node.output)
            continue
        for index, name in enumerate(node.output):
            origins[name] = ("output", node.name, index)
        attributes = tuple(sorted(each.SerializeToString() for each in node.attribute))
        yield Operator(node.name, f"{node.domain}{node.op_type}", attributes, inputs)
    yield Operator("", "outputs", (), tuple(origins.get(each.name, ()) for each in graph.output))


def _held(tensor: Any) -> Origin:
    """Return name and shape, and the content too if it is channels or sizes, not weights."""
    import onnx

    name = tensor.name.removesuffix("_quantized")
    if tensor.data_type == onnx.TensorProto.INT64:
        return ("held", name, tuple(tensor.dims), tensor.SerializeToString())
    return ("held", name, tuple(tensor.dims))


def check_self_contained(name: str, model: bytes) -> None:
    """Refuse a model with tensors in other files, whose paths may lead anywhere.

    Args:
        name: Name of the file, for the error.
        model: Content of the file.

    Raises:
        ConfigError: If the file is not an ONNX model or a tensor is in another file.
    """
    import onnx

    try:
        read = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own kinds
        raise ConfigError("file", name, f"must be an ONNX model ({error})") from None
    graphs = [read.graph, *read.functions, *(info.algorithm for info in read.training_info)]
    for graph in graphs:
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                where = {entry.key: entry.value for entry in tensor.external_data}
                allowed = "must be a model that holds all its tensors, none in another file"
                raise ConfigError(f"{name}: {tensor.name}", where.get("location"), allowed)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor of a graph or function, including inner graphs."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                yield from (sparse.values, sparse.indices)
            for inner in [attribute.g, *attribute.graphs]:
                yield from _tensors(inner)
