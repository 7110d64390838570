"""Networks in int8, as onnxruntime quantises them statically: what is measured and emulated.

Activations are unsigned and weights signed, with a scale for each output channel. Signed
activations are onnxruntime's default. With them, on an x86 processor without an int8 dot product,
every operator whose input is read twice stays in float32. On emulated ARM cores they were never
faster: ShuffleNet V2 1× takes the same cycles on a Cortex-A57, and 17 % more on an A55.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas_sv2.space.graph.operators import Conv, Graph, Linear
from nas_sv2.space.runtimes.weights import Weights

Range = tuple[float, float]
"""The least and the most of a value."""
BATCH = 10
"""Images at a time for a model of any batch: half the time of one by one, and the same file."""


class _Images:
    """The calibration images, a batch after the other, as onnxruntime asks for them."""

    def __init__(self, name: str, batch: int, images: np.ndarray) -> None:
        groups = (images[start : start + batch] for start in range(0, len(images), batch))
        self.feeds: Iterator[dict[str, Any]] = (
            {name: np.resize(group, (batch, *images.shape[1:]))} for group in groups
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None after the last."""
        return next(self.feeds, None)


def quantize(model: bytes, images: np.ndarray, ranges: Mapping[str, Range] | None = None) -> bytes:
    """`model` in int8, with the range of every tensor taken from `images`, (N, C, H, W) float32.

    Values that `ranges` names have the range given there.

    Ranges are the least and the most that is seen, which takes one pass: 0.9 s for ShuffleNet V2
    1× and four images. They decide the accuracy, not the time.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    network = onnx.load_model_from_string(model)
    # Nothing is left to pre-process, shapes are static and norms folded; without this it warns.
    onnx.helper.set_model_props(network, {"onnx.quant.pre_process": "onnxruntime.quant"})
    (image,) = network.graph.input
    batch = image.type.tensor_type.shape.dim[0].dim_value or BATCH
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantize_static(
            network,
            path,
            _Images(image.name, batch, images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": _overrides(ranges or {})},
        )
        return path.read_bytes()


def _overrides(ranges: Mapping[str, Range]) -> dict[str, list[dict[str, np.float32]]]:
    return {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for name, (low, high) in ranges.items()
    }


def ranges_in(model: bytes) -> dict[str, Range]:
    """Return the range of each value that an int8 model of `quantize` rounds, by name.

    Values that have the range of another one, such as the parts of a split, are left out.
    """
    import onnx

    graph = onnx.load_model_from_string(model).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, Range] = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (float(onnx.numpy_helper.to_array(held[n])) for n in node.input[1:3])
            found[node.input[1].removesuffix("_scale")] = (-zero * scale, (255 - zero) * scale)
    return found


def largest_inputs(graph: Graph, weights: Weights, images: np.ndarray) -> dict[str, float]:
    """Return the largest absolute number that each layer with weights reads, by the value's name.

    Runtimes with symmetric int8 take the scales of their activations from it.

    Args:
        graph: Network whose values are looked at.
        weights: Its weights.
        images: Images that give the values, (N, C, H, W) float32.
    """
    import onnx
    import onnxruntime

    from nas_sv2.space.runtimes.onnx_lowering import INPUT, OUTPUT, build_onnx

    names = {op.source.name for op in graph.ops if isinstance(op.kind, Conv | Linear)}
    names.discard(graph.input.name)
    model = onnx.load_model_from_string(build_onnx(graph, weights))
    kind = onnx.TensorProto.FLOAT
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, kind, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    asked = sorted(names)
    largest = {graph.input.name: float(abs(images).max()), **dict.fromkeys(asked, 0.0)}
    for image in images:
        _, *values = session.run([OUTPUT, *asked], {INPUT: image[None]})
        for name, value in zip(asked, values, strict=True):
            largest[name] = max(largest[name], float(abs(value).max()))
    return largest
