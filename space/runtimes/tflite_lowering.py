"""Operators are written as a `.tflite` file directly, without TensorFlow and without a converter.

The file is for LiteRT (TensorFlow Lite). Maps are NHWC. Batch norms are folded, and a ReLU is part
of the operator before it. Operators and their options are those of TensorFlow Lite's schema,
`tensorflow/lite/schema/schema.fbs`, which `ai_edge_litert` ships with an object API.

TensorFlow Lite's padding SAME puts the odd row and column of a stride of 2 at the end. Ours are
equal on all sides, so a map is padded by an operator of its own wherever the two differ.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, assert_never

import numpy as np

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Pool,
    Rearrangement,
    Select,
    Shift,
    Shuffle,
    Split,
    Value,
)
from nas_sv2.space.runtimes.weights import (
    BATCH_NORM_EPSILON,
    NORM_PARTS,
    Array,
    Weights,
    flush,
    fold_batch_norm,
)

INPUT, OUTPUT = "input", "logits"
METADATA = "nas_sv2"
"""The name of our facts among the metadata of a file."""
IDENTIFIER = b"TFL3"
"""The file identifier of the schema."""
SCHEMA_VERSION = 3
ALIGNMENT = 16
"""Bytes that constants are aligned to, as the schema asks (`force_align`)."""
FUSED: Mapping[str, str] = {"relu": "RELU", "relu6": "RELU6"}
"""Functions that an operator can end in."""
Endable = Conv | Norm | Add | Linear
MOST_TAPS = 25
"""Positions of the largest depthwise kernel that XNNPACK has code for."""


def build_tflite(
    graph: Graph, weights: Weights, batch: int = 1, facts: Mapping[str, str] | None = None
) -> bytes:
    """The file: `input` (N, H, W, C) float32 to `logits` (N, classes).

    `logits` is a map, (N, H', W', C'), if the graph ends in one. N is fixed: XNNPACK,
    which LiteRT computes with on a CPU, takes a slice only if its size is.

    Args:
        graph: The network.
        weights: Its numbers, named as `weight_shapes` names them.
        batch: N.
        facts: Texts for the file's metadata: one buffer of JSON, `nas_sv2`. None leaves it out.

    Raises:
        ConfigError: The package ai-edge-litert is not installed.
    """
    writer = _Writer(require_litert(), graph, weights, batch)
    writer.tensor(INPUT, [batch, graph.input.height, graph.input.width, graph.input.channels])
    writer.places[graph.input.name] = 0
    for op in graph.ops:
        _append(op, writer)
    return _packed(writer, facts)


def without_kernel(graph: Graph) -> int:
    """Return the side of the largest depthwise kernel that XNNPACK has no code for, or 0.

    LiteRT runs such a convolution by slower code (docs/lab, depthwise kernels by runtime).
    """
    sides = [
        op.kind.kernel
        for op in graph.ops
        if isinstance(op.kind, Conv) and 1 < op.kind.groups == op.source.channels
    ]
    return max((side for side in sides if side**2 > MOST_TAPS), default=0)


def require_litert() -> ModuleType:
    """Import the module of TensorFlow Lite's schema, which comes with LiteRT.

    Raises:
        ConfigError: The package ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        needs = "needs ai-edge-litert: pip install 'nas-sv2[litert]'"
        raise ConfigError("runtime", "litert", needs) from error
    schema: ModuleType = schema_py_generated
    return schema


@dataclass
class _Writer:
    """The parts of a file: it adds operators and the tensors that they read and write.

    Attributes:
        schema: The generated module of TensorFlow Lite's schema.
        graph: The network.
        weights: The numbers of the network.
        batch: Images in a run.
        tensors: The tensors of the file.
        buffers: The bytes of constants; the first is empty, as the schema asks.
        operators: The operators of the file.
        codes: The kinds of operator that are used, with their numbers in the file.
        places: The number of the tensor of each value.
    """

    schema: Any
    graph: Graph
    weights: Weights
    batch: int
    tensors: list[Any] = field(default_factory=list)
    buffers: list[bytes] = field(default_factory=lambda: [b""])
    operators: list[Any] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find the activations that end the operator before them."""
        self.ends = ends_of(self.graph)

    def tensor(
        self, name: str, shape: Sequence[int], form: str = "FLOAT32", buffer: int = 0
    ) -> int:
        """Add a tensor and return its number."""
        made = self.schema.TensorT()
        made.name, made.shape, made.buffer = name, np.array(shape, np.int32), buffer
        made.type = getattr(self.schema.TensorType, form)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def constant(self, name: str, array: Array) -> int:
        """Add a tensor of fixed numbers; weights next to 0 become 0."""
        held = flush(array) if array.dtype == np.float32 else array
        self.buffers.append(np.ascontiguousarray(held).tobytes())
        form = held.dtype.name.upper()
        return self.tensor(name, array.shape, form, len(self.buffers) - 1)

    def integers(self, name: str, *numbers: int | Sequence[int]) -> int:
        """Add a tensor of fixed whole numbers."""
        return self.constant(name, np.array(numbers, np.int32))

    def value(self, value: Value) -> int:
        """The tensor of a value, which is added if it has none."""
        if value.name not in self.places:
            last = self.graph.ops[-1]
            shape = [self.batch, value.height, value.width, value.channels]
            if isinstance(last.kind, Linear) and value == last.output:
                shape = [self.batch, value.channels]
            name = OUTPUT if value == last.output else value.name
            self.places[value.name] = self.tensor(name, shape)
        return self.places[value.name]

    def map(self, name: str, channels: int, height: int, width: int) -> int:
        """Add a tensor for a map within an operator."""
        return self.tensor(name, [self.batch, height, width, channels])

    def node(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        **settings: Any,
    ) -> None:
        """Add an operator of TensorFlow Lite."""
        made = self.schema.OperatorT()
        made.opcodeIndex = self.codes.setdefault(kind, len(self.codes))
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self.schema, f"{options}T")()
            for name, setting in settings.items():
                setattr(made.builtinOptions, name, setting)
        self.operators.append(made)

    def end_of(self, op: Op) -> tuple[int, int]:
        """The tensor that an operator writes, and the function that it ends in."""
        end, functions = self.ends.get(op.name), self.schema.ActivationFunctionType
        if end is None:
            return self.value(op.output), functions.NONE
        assert isinstance(end.kind, Activation)
        return self.value(end.output), getattr(functions, FUSED[end.kind.function])

    def window(
        self, op: Op, side: int, stride: int, padding: int, fill: float = 0
    ) -> tuple[int, dict[str, int]]:
        """The tensor that a window moves over, and the options of its moves.

        Args:
            op: The convolution or pool.
            side: Height and width of the window.
            stride: Pixels that it moves by.
            padding: Pixels on each side of the map.
            fill: The number that they hold.
        """
        source = op.source
        kinds, moves = self.schema.Padding, {"strideH": stride, "strideW": stride}
        if padding == 0:
            return self.value(source), {"padding": kinds.VALID, **moves}
        if is_same(op, side, stride, padding):
            return self.value(source), {"padding": kinds.SAME, **moves}
        padded = self.map(
            f"{op.name}.padded",
            source.channels,
            source.height + 2 * padding,
            source.width + 2 * padding,
        )
        around = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
        read = [self.value(source), self.integers(f"{op.name}.around", *around)]
        if fill == 0:
            self.node("PAD", read, [padded], "PadOptions")
        else:
            held = self.constant(f"{op.name}.fill", np.array([fill], np.float32))
            self.node("PADV2", [*read, held], [padded], "PadV2Options")
        return padded, {"padding": kinds.VALID, **moves}


def _makers(graph: Graph) -> dict[str, Op]:
    return {value.name: op for op in graph.ops for value in op.outputs}


def ends_of(graph: Graph) -> dict[str, Op]:
    """Return the activations that are part of the operator before them, by its name."""
    readers = Counter(value.name for op in graph.ops for value in op.inputs)
    makers = _makers(graph)
    ends: dict[str, Op] = {}
    for op in graph.ops:
        before = makers.get(op.source.name)
        if (
            isinstance(op.kind, Activation)
            and op.kind.function in FUSED
            and before is not None
            and isinstance(before.kind, Endable)
            and readers[op.source.name] == 1
        ):
            ends[before.name] = op
    return ends


def is_positive(graph: Graph, value: Value) -> bool:
    """Whether an activation makes a value: its maximum is then the same beside zeros."""
    before = _makers(graph).get(value.name)
    return before is not None and isinstance(before.kind, Activation)


def is_same(op: Op, side: int, stride: int, padding: int) -> bool:
    """Whether SAME pads as we do, above and beside the map.

    SAME writes ⌈source / stride⌉ pixels, and puts the smaller half of the padding first
    (tensorflow/lite/kernels/padding.h).
    """
    ends = [(op.source.height, op.output.height), (op.source.width, op.output.width)]
    return all(
        -(-source // stride) == output
        and max(0, (output - 1) * stride + side - source) // 2 == padding
        for source, output in ends
    )


def _append(op: Op, writer: _Writer) -> None:
    """Add one operator, and the tensors it holds."""
    kind = op.kind
    match kind:
        case Conv() | Norm() | Linear():
            _append_layer(kind, op, writer)
        case MaxPool() | AveragePool() | GlobalAveragePool():
            _append_pool(kind, op, writer)
        case Shift() | Select() | Split() | Concat() | Shuffle():
            _append_rearrangement(kind, op, writer)
        case Activation(function=function):
            if op not in writer.ends.values():
                named = {**FUSED, "sigmoid": "LOGISTIC"}[function]
                writer.node(named, [writer.value(op.source)], [writer.value(op.output)])
        case Add() | Multiply():
            named = "Add" if isinstance(kind, Add) else "Mul"
            output, end = writer.end_of(op)
            read = [writer.value(value) for value in op.inputs]
            options = f"{named}Options"
            writer.node(named.upper(), read, [output], options, fusedActivationFunction=end)
        case _:
            assert_never(kind)


def _append_layer(kind: Conv | Norm | Linear, op: Op, writer: _Writer) -> None:
    """Add an operator that has weights."""
    weights = writer.weights
    output, function = writer.end_of(op)
    match kind:
        case Conv():
            _append_conv(kind, op, writer)
        case Norm():
            parts = (weights[f"{op.name}.norm.{part}"] for part in NORM_PARTS)
            gamma, beta, mean, variance = parts
            scale = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
            held = writer.constant(f"{op.name}.scale", scale)
            shift = writer.constant(f"{op.name}.shift", beta - mean * scale)
            value = op.output
            scaled = writer.map(f"{op.name}.scaled", value.channels, value.height, value.width)
            writer.node("MUL", [writer.value(op.source), held], [scaled], "MulOptions")
            ends = {"fusedActivationFunction": function}
            writer.node("ADD", [scaled, shift], [output], "AddOptions", **ends)
        case Linear():
            held, bias = (
                writer.constant(f"{op.name}.{part}", weights[f"{op.name}.{part}"])
                for part in ("weight", "bias")
            )
            read = [writer.value(op.source), held, bias]
            ends = {"fusedActivationFunction": function}
            writer.node("FULLY_CONNECTED", read, [output], "FullyConnectedOptions", **ends)
        case _:
            assert_never(kind)


def _append_conv(kind: Conv, op: Op, writer: _Writer) -> None:
    """Add a convolution; a kernel is (O, H, W, I / groups), of a depthwise one (1, H, W, O)."""
    kernel, bias = fold_batch_norm(op, writer.weights)
    output, function = writer.end_of(op)
    source, moves = writer.window(op, kind.kernel, kind.stride, kind.padding)
    channels = op.source.channels
    ends = {**moves, "fusedActivationFunction": function}
    if 1 < kind.groups == channels:
        named, options, order = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", (1, 2, 3, 0)
        ends["depthMultiplier"] = op.output.channels // channels
    else:
        named, options, order = "CONV_2D", "Conv2DOptions", (0, 2, 3, 1)
    held = writer.constant(f"{op.name}.weight", kernel.transpose(order))
    read = [source, held, writer.constant(f"{op.name}.bias", bias)]
    writer.node(named, read, [output], options, **ends)


def _append_pool(kind: Pool, op: Op, writer: _Writer) -> None:
    output = writer.value(op.output)
    match kind:
        case MaxPool(kernel=side, stride=stride):
            positive = is_positive(writer.graph, op.source)
            fill = 0.0 if positive else float(np.finfo(np.float32).min)
            source, moves = writer.window(op, side, stride, side // 2, fill)
            filters = {"filterHeight": side, "filterWidth": side}
            writer.node("MAX_POOL_2D", [source], [output], "Pool2DOptions", **moves, **filters)
        case AveragePool():
            _append_average_pool(kind, op, writer)
        case GlobalAveragePool():
            read = [writer.value(op.source), writer.integers(f"{op.name}.axes", 1, 2)]
            writer.node("MEAN", read, [output], "ReducerOptions", keepDims=True)
        case _:
            assert_never(kind)


def _append_average_pool(kind: AveragePool, op: Op, writer: _Writer) -> None:
    """Add an average pool; where zeros pad it by an operator, a factor takes them out again."""
    source, moves = writer.window(op, kind.kernel, kind.stride, kind.padding)
    value, output = op.output, writer.value(op.output)
    padded = source != writer.value(op.source)
    means = output
    if padded:
        means = writer.map(f"{op.name}.means", value.channels, value.height, value.width)
    filters = {"filterHeight": kind.kernel, "filterWidth": kind.kernel}
    writer.node("AVERAGE_POOL_2D", [source], [means], "Pool2DOptions", **moves, **filters)
    if padded:
        rows = _counted(op.source.height, value.height, kind)
        columns = _counted(op.source.width, value.width, kind)
        factor = np.float32(kind.kernel**2) / np.outer(rows, columns).astype(np.float32)
        held = writer.constant(f"{op.name}.factor", factor[None, :, :, None])
        writer.node("MUL", [means, held], [output], "MulOptions")


def _counted(source: int, output: int, kind: AveragePool) -> list[int]:
    """How many pixels of a map's side each window has, without those of the padding."""
    starts = [place * kind.stride - kind.padding for place in range(output)]
    return [min(start + kind.kernel, source) - max(start, 0) for start in starts]


def _append_rearrangement(kind: Rearrangement, op: Op, writer: _Writer) -> None:
    """Add an operator that moves values or channels and computes nothing."""
    value, source = op.source, writer.value(op.source)
    match kind:
        case Shift():
            wider = writer.map(
                f"{op.name}.wider", value.channels, value.height + 1, value.width + 1
            )
            around = writer.integers(f"{op.name}.around", [0, 0], [0, 1], [0, 1], [0, 0])
            writer.node("PAD", [source, around], [wider], "PadOptions")
            _append_slice(writer, wider, (0, 1, 1, 0), op.output)
        case Select(channels=channels):
            read = [source, writer.integers(f"{op.name}.channels", *channels)]
            writer.node("GATHER", read, [writer.value(op.output)], "GatherOptions", axis=3)
        case Split():
            begin = 0
            for part in op.outputs:
                _append_slice(writer, source, (0, 0, 0, begin), part)
                begin += part.channels
        case Concat():
            read = [writer.value(each) for each in op.inputs]
            options = "ConcatenationOptions"
            writer.node("CONCATENATION", read, [writer.value(op.output)], options, axis=3)
        case Shuffle(groups=groups):
            _append_shuffle(groups, op, writer)
        case _:
            assert_never(kind)


def _append_slice(writer: _Writer, source: int, begin: tuple[int, ...], output: Value) -> None:
    """Add an operator that takes a box of a map, of every image."""
    start = writer.integers(f"{output.name}.begin", *begin)
    size = writer.integers(
        f"{output.name}.size", writer.batch, output.height, output.width, output.channels
    )
    writer.node("SLICE", [source, start, size], [writer.value(output)], "SliceOptions")


def _append_shuffle(groups: int, op: Op, writer: _Writer) -> None:
    value = op.source
    pixels, each = writer.batch * value.area, value.channels // groups
    grouped = writer.tensor(f"{op.name}.grouped", [pixels, groups, each])
    swapped = writer.tensor(f"{op.name}.swapped", [pixels, each, groups])
    apart = writer.integers(f"{op.name}.apart", pixels, groups, each)
    order = writer.integers(f"{op.name}.order", 0, 2, 1)
    shape = (writer.batch, value.height, value.width, value.channels)
    together = writer.integers(f"{op.name}.together", *shape)
    output = writer.value(op.output)
    writer.node("RESHAPE", [writer.value(value), apart], [grouped], "ReshapeOptions")
    writer.node("TRANSPOSE", [grouped, order], [swapped], "TransposeOptions")
    writer.node("RESHAPE", [swapped, together], [output], "ReshapeOptions")


def _packed(writer: _Writer, facts: Mapping[str, str] | None) -> bytes:
    """The bytes of the file."""
    schema = writer.schema
    part = schema.SubGraphT()
    part.tensors, part.operators, part.name = writer.tensors, writer.operators, "network"
    part.inputs = np.array([0], np.int32)
    part.outputs = np.array([writer.value(writer.graph.ops[-1].output)], np.int32)
    model = schema.ModelT()
    model.version, model.description = SCHEMA_VERSION, "nas-sv2"
    model.subgraphs = [part]
    model.operatorCodes = [_code(schema, name) for name in writer.codes]
    if facts is not None:
        noted = schema.MetadataT()
        noted.name, noted.buffer = METADATA, len(writer.buffers)
        writer.buffers.append(json.dumps(dict(facts)).encode())
        model.metadata = [noted]
    model.buffers = [_buffer(schema, content) for content in writer.buffers]
    return packed(model)


def packed(model: Any) -> bytes:
    """The bytes of a model of the schema's object API."""
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        """Aligns the bytes of constants; the generated code packs them as it meets them."""

        def CreateNumpyVector(self, x: np.ndarray) -> Any:
            if x.dtype == np.uint8:
                self.Prep(ALIGNMENT, x.size)
            return super().CreateNumpyVector(x)

    builder = Builder(2**16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _code(schema: Any, name: str) -> Any:
    made, number = schema.OperatorCodeT(), getattr(schema.BuiltinOperator, name)
    made.builtinCode = made.deprecatedBuiltinCode = number  # none of ours is above 127
    made.version = 1
    return made


def _buffer(schema: Any, content: bytes) -> Any:
    made = schema.BufferT()
    made.data = np.frombuffer(content, np.uint8) if content else None
    return made
