"""A `.tflite` file in int8, made from the one in float32 by ranges that LiteRT finds itself.

Activations have one scale and zero point each, weights one scale for each output channel, biases
are int32. This is TensorFlow Lite's full-integer scheme ("LiteRT 8-bit quantization
specification"). Input and output stay float32, so that a file is used like the one in float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from nas_sv2.errors import ConfigError
from nas_sv2.space.runtimes.tflite_lowering import packed, require_litert
from nas_sv2.space.runtimes.weights import Array

MOVES = (
    *("CONCATENATION", "SLICE", "RESHAPE", "TRANSPOSE", "PAD", "PADV2", "GATHER"),
    *("MAX_POOL_2D", "AVERAGE_POOL_2D"),
)
"""Operators whose inputs and output must have one scale."""
CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""The dimension of output channels in the weights of each operator that has some."""
VERSIONS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), 3),
    **dict.fromkeys(("FULLY_CONNECTED",), 4),
    **dict.fromkeys(("RESHAPE", "QUANTIZE"), 1),
}
"""The least version of each operator that takes int8; 2 for all others."""
LOGISTIC = (1 / 256, -128)
"""Scale and zero point that the scheme fixes for a sigmoid."""

MOST_SCALE = 1e30
"""Its square is still a float32, so that biases are numbers."""
MOST_BIAS = 2**30
"""Largest bias in int32. The weights of a channel that its bias exceeds get a larger scale."""
LEAST_RANGE = 1e-6
"""A smaller range, of a map that is 0, is taken for 1: XNNPACK needs scales that are not apart."""

Range = tuple[float, float]
Scale = tuple[float, int]
"""Scale and zero point."""


def quantize_tflite(model: bytes, scales: Sequence[Scale]) -> bytes:
    """The file in int8.

    Args:
        model: A file of `build_tflite` in float32.
        scales: Those of its activations, in the order of the file, as `find_scales` gives them.

    Raises:
        ConfigError: The package ai-edge-litert is not installed, or the scales are not as many as
            the activations, or one of them is out of range.
    """
    schema = require_litert()
    read = schema.ModelT.InitFromPackedBuf(model, 0)
    places = _activations(read)
    if len(scales) != len(places):
        allowed = f"must be {len(places)}, one for each activation"
        raise ConfigError("tflite_scales", len(scales), allowed)
    for scale, zero in scales:
        if not (1 / MOST_SCALE < scale < MOST_SCALE and zero in range(-128, 128)):
            allowed = "must be a scale above 0, and a zero point from -128 to 127"
            raise ConfigError("tflite_scales", [scale, zero], allowed)
    _Quantizer(schema, read, dict(zip(places, scales, strict=True))).quantize()
    return packed(read)


def find_scales(model: bytes, images: Array) -> list[Scale]:
    """The scales by which a float32 file holds what it computes of `images`.

    Args:
        model: A file of `build_tflite` in float32.
        images: Float images (N, C, H, W), for the ranges of activations.

    Raises:
        ConfigError: The package ai-edge-litert is not installed.
    """
    schema = require_litert()
    read = schema.ModelT.InitFromPackedBuf(model, 0)
    found = _scales(schema, read, _ranges(model, images))
    return [found[place] for place in _activations(read)]


def scales_in(model: bytes) -> list[Scale]:
    """The scales that a file of `quantize_tflite` holds; `model` must be ours, it is trusted."""
    schema = require_litert()
    read = schema.ModelT.InitFromPackedBuf(model, 0)
    part = read.subgraphs[0]
    held = [part.tensors[place].quantization for place in _activations(read)]
    return [(float(each.scale[0]), int(each.zeroPoint[0])) for each in held if each is not None]


def _activations(model: Any) -> list[int]:
    """The numbers of the tensors that no constant fills."""
    tensors = model.subgraphs[0].tensors
    return [p for p, each in enumerate(tensors) if model.buffers[each.buffer].data is None]


def _ranges(model: bytes, images: Array) -> dict[int, Range]:
    """The least and the greatest number of each tensor, 0 included, by its number."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    network = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    network.allocate_tensors()
    (taken,) = network.get_input_details()
    batch, found = int(taken["shape"][0]), dict[int, Range]()
    whole = -(-len(images) // batch) * batch
    images = np.resize(images, (whole, *images.shape[1:]))  # repeats the first ones
    for start in range(0, whole, batch):
        part = images[start : start + batch].transpose(0, 2, 3, 1)
        network.set_tensor(taken["index"], np.ascontiguousarray(part))
        network.invoke()
        for tensor in network.get_tensor_details():
            if tensor["dtype"] is not np.float32:
                continue
            values, index = network.get_tensor(tensor["index"]), int(tensor["index"])
            low, high = found.get(index, (0.0, 0.0))
            found[index] = min(low, float(values.min())), max(high, float(values.max()))
    return found


def _names(schema: ModuleType, model: Any) -> Iterator[tuple[str, Any]]:
    """The operators with the names of their kinds."""
    names = {
        number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()
    }
    for operator in model.subgraphs[0].operators:
        yield names[model.operatorCodes[operator.opcodeIndex].builtinCode], operator


def _scales(schema: ModuleType, model: Any, ranges: Mapping[int, Range]) -> dict[int, Scale]:
    """The scale of each activation: one for all that are only moved into each other."""
    activations = set(_activations(model))
    group = {place: place for place in activations}
    fixed, filled = set(), set()
    for name, operator in _names(schema, model):
        if name == "LOGISTIC":
            fixed.add(int(operator.outputs[0]))
        if name == "PADV2":  # with the least float32, which no range must hold
            filled.add(int(operator.outputs[0]))
        if name in MOVES:
            joined = [int(i) for i in (*operator.inputs, *operator.outputs) if i in activations]
            into = {group[place] for place in joined}
            group = {p: min(into) if g in into else g for p, g in group.items()}
    found = {}
    for place, own in group.items():
        alike = {other for other, its in group.items() if its == own}
        members = [ranges[other] for other in alike & ranges.keys() - filled]
        low, high = min(low for low, _ in members), max(high for _, high in members)
        span = high - low if high - low > LEAST_RANGE else 1.0
        scale = float(np.float32(span / 255))  # as the file will hold it
        found[place] = scale, int(np.clip(round(-128 - low / scale), -128, 127))
    return {place: LOGISTIC if place in fixed else scale for place, scale in found.items()}


@dataclass
class _Quantizer:
    """Turns the tensors of a model into int8.

    Attributes:
        schema: The generated module of TensorFlow Lite's schema.
        model: The model, which is changed.
        scales: Scale and zero point of each activation, by number.
    """

    schema: Any
    model: Any
    scales: Mapping[int, Scale]

    def quantize(self) -> None:
        """Turn everything but the input and the output into int8."""
        part = self.model.subgraphs[0]
        for name, operator in list(_names(self.schema, self.model)):
            if name in CHANNELS:
                self._layer(operator, CHANNELS[name])
            elif name in ("ADD", "MUL", "PADV2"):
                self._constants(operator, name)
        for place, scale in self.scales.items():
            self._typed(part.tensors[place], [scale[0]], [scale[1]])
        names = [name for name, _ in _names(self.schema, self.model)]
        for code, name in {
            o.opcodeIndex: n for o, n in zip(part.operators, names, strict=True)
        }.items():
            self.model.operatorCodes[code].version = VERSIONS.get(name, 2)
        first, last = int(part.inputs[0]), int(part.outputs[0])
        taken, given = self._outside(first), self._outside(last)
        part.operators.insert(0, self._conversion("QUANTIZE", taken, first))
        part.operators.append(self._conversion("DEQUANTIZE", last, given))
        part.inputs, part.outputs = np.array([taken], np.int32), np.array([given], np.int32)

    def _layer(self, operator: Any, channels: int) -> None:
        """Quantise the weights and the bias of an operator."""
        source, weight, bias = map(int, operator.inputs)
        kernel, biases = self._numbers(weight), self._numbers(bias)
        others = tuple(axis for axis in range(kernel.ndim) if axis != channels)
        scale = np.maximum(np.abs(kernel).max(others, keepdims=True), 1e-8) / 127
        least = np.abs(biases) / (self.scales[source][0] * MOST_BIAS)
        scale = np.maximum(scale, least.reshape(scale.shape))
        self._hold(weight, np.clip(np.round(kernel / scale), -127, 127).astype(np.int8))
        tensors = self.model.subgraphs[0].tensors
        each = scale.ravel()
        self._typed(tensors[weight], each.tolist(), [0] * len(each), channels)
        sums = each * self.scales[source][0]
        self._hold(bias, np.round(biases / sums).astype(np.int32))
        self._typed(tensors[bias], sums.tolist(), [0] * len(each), 0, "INT32")

    def _constants(self, operator: Any, name: str) -> None:
        """Quantise the numbers that an operator without weights holds."""
        for place in map(int, operator.inputs):
            tensor = self.model.subgraphs[0].tensors[place]
            if place in self.scales or tensor.type != self.schema.TensorType.FLOAT32:
                continue
            numbers = self._numbers(place)
            if name == "PADV2":  # as the map that it pads
                scale, zero = self.scales[int(operator.inputs[0])]
            else:
                low, high = min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))
                scale = max(high - low, 1e-8) / 255
                zero = int(np.clip(round(-128 - low / scale), -128, 127))
            with np.errstate(over="ignore"):  # the least float32, of a padding, becomes -128
                whole = np.clip(np.round(numbers / scale) + zero, -128, 127)
            self._hold(place, whole.astype(np.int8))
            self._typed(tensor, [scale], [zero])

    def _numbers(self, place: int) -> Array:
        tensor = self.model.subgraphs[0].tensors[place]
        data = np.asarray(self.model.buffers[tensor.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, np.float32).reshape(tensor.shape)

    def _hold(self, place: int, numbers: np.ndarray) -> None:
        tensor = self.model.subgraphs[0].tensors[place]
        self.model.buffers[tensor.buffer].data = np.frombuffer(numbers.tobytes(), np.uint8)

    def _typed(
        self,
        tensor: Any,
        scales: Sequence[float],
        zeros: Sequence[int],
        dimension: int = 0,
        kind: str = "INT8",
    ) -> None:
        """Give a tensor its type, scales and zero points."""
        made = self.schema.QuantizationParametersT()
        made.scale, made.zeroPoint = np.array(scales, np.float32), np.array(zeros, np.int64)
        made.quantizedDimension = dimension
        tensor.type, tensor.quantization = getattr(self.schema.TensorType, kind), made

    def _outside(self, place: int) -> int:
        """Add the float32 tensor that a caller sees in place of one in int8; it gets its name."""
        tensors = self.model.subgraphs[0].tensors
        inner, outer = tensors[place], self.schema.TensorT()
        outer.name, outer.shape, outer.buffer = inner.name, inner.shape, 0
        outer.type, inner.name = self.schema.TensorType.FLOAT32, inner.name + b".int8"
        tensors.append(outer)
        return len(tensors) - 1

    def _conversion(self, name: str, source: int, output: int) -> Any:
        code, made = self.schema.OperatorCodeT(), self.schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
        code.version = VERSIONS.get(name, 2)
        self.model.operatorCodes.append(code)
        made.opcodeIndex = len(self.model.operatorCodes) - 1
        made.inputs, made.outputs = np.array([source], np.int32), np.array([output], np.int32)
        return made
