"""What an ONNX file of unknown origin may not do: make onnxruntime read other files."""

from collections.abc import Iterator
from typing import Any

from nas_sv2.errors import ConfigError


def check_self_contained(name: str, model: bytes) -> None:
    """Refuse a model whose tensors lie in other files: their paths may lead anywhere.

    Args:
        name: Of the file, for the error.
        model: Its content.

    Raises:
        ConfigError: It is no ONNX model, or a tensor of it lies elsewhere.
    """
    import onnx

    try:
        read = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own kinds
        raise ConfigError("file", name, f"an ONNX model ({error})") from None
    graphs = [read.graph, *read.functions, *(info.algorithm for info in read.training_info)]
    for graph in graphs:
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                where = {entry.key: entry.value for entry in tensor.external_data}
                allowed = "a model that holds all its tensors, none in another file"
                raise ConfigError(f"{name}: {tensor.name}", where.get("location"), allowed)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph or function, those of inner graphs too."""
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
