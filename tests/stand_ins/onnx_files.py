"""Small ONNX files, and the light models inside the `onnx` wheel."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import TensorProto, helper, numpy_helper

LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"


def save_model(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, list[int | str]],
    constants: dict[str, Any] | None = None,
    *,
    kind: int = TensorProto.FLOAT,
    opset: int = 13,
) -> Path:
    """Write a model of these nodes, inputs and constants; its output is `y`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", kind, None)],
        [
            numpy_helper.from_array(np.asarray(array), name)
            for name, array in (constants or {}).items()
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name, 1) for name in {node.domain for node in nodes} if name]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path
