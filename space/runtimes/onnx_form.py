"""A network as the ONNX file that is shipped, and such a file as onnxruntime runs it here."""

from collections.abc import Callable

import numpy as np

from nas_sv2.errors import StoreError
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.runtimes.onnx_lowering import INPUT, OPSET, build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.weights import Array, Weights


def shuffle_free_onnx(graph: Graph, weights: Weights, opset: int = OPSET) -> bytes:
    """Return the ONNX model with as few shuffles as possible, for any batch."""
    return build_onnx(*without_shuffles(graph, weights), batch=None, opset=opset)


def onnx_form(model: bytes) -> Callable[[Array], Array]:
    """Load the model into onnxruntime on this machine's CPU.

    Raises:
        StoreError: If onnxruntime refuses the model.
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Else bytes that ONNX reads as a model may be run as another one, in onnxruntime's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many kinds, all about the model
        raise StoreError(f"onnxruntime refuses the model: {error}") from error

    def ask(images: Array) -> Array:
        try:
            (logits,) = session.run(None, {INPUT: images})
        except Exception as error:
            raise StoreError(f"onnxruntime cannot run the model: {error}") from error
        return np.asarray(logits)

    return ask
