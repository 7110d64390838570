"""The files of ncnn, written directly from operators: no converter is used, and ncnn neither.

`.param` lists layers as text, and `.bin` holds their numbers in that order. Batch norms are
folded, and an activation is part of the layer before it, as ncnn's own tools leave a network.
Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. Parameters of layers:
https://github.com/Tencent/ncnn/wiki/operators.

int8 is ncnn's own form, as ncnn2int8 writes it. Its numbers are signed. The weights have a scale
for each output channel, and the input of a layer has one.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from types import ModuleType
from typing import assert_never

import numpy as np

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    Function,
    GlobalAveragePool,
    Graph,
    Kind,
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
MAGIC = "7767517"
TAGS = {"float32": b"\0\0\0\0", "int8": (0x000D4B38).to_bytes(4, "little")}
INT8, INT8_WINOGRAD = 127, 31
"""Largest weight in int8. Kernels of 3×3 and stride 1 are added up in int8 first (ncnn2table)."""

Parameter = int | float | tuple[int, ...] | tuple[float, ...]


ACTIVATIONS: dict[Function, tuple[str, dict[int, Parameter]]] = {
    "relu": ("ReLU", {}),
    "relu6": ("Clip", {0: 0.0, 1: 6.0}),
    "sigmoid": ("Sigmoid", {}),
}
FUSED: dict[str, dict[int, Parameter]] = {
    "ReLU": {9: 1},
    "Clip": {9: 3, 10: (0.0, 6.0)},
    "Sigmoid": {9: 4},
}
"""Parameters of a layer with weights that ends in this activation."""


@dataclass(frozen=True, slots=True)
class NcnnFiles:
    """A network for ncnn.

    Attributes:
        param: Text of the `.param`.
        weights: Content of the `.bin`.
        scales: Places in `weights` of the four bytes of each scale of an activation in int8. All
            other bytes follow from the graph and its weights.
    """

    param: bytes
    weights: bytes
    scales: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Layer:
    """A line of the `.param`, and its numbers in the `.bin`: the kernel before the vectors.

    In int8 the last `scales` numbers are scales of activations.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, Parameter] = field(default_factory=dict)
    kernel: np.ndarray | None = None
    vectors: tuple[Array, ...] = ()
    scales: int = 0

    @property
    def line(self) -> str:
        """Its text."""
        counts = map(str, (len(self.inputs), len(self.outputs)))
        settings = (_setting(number, value) for number, value in self.parameters.items())
        return " ".join([self.kind, self.name, *counts, *self.inputs, *self.outputs, *settings])

    @property
    def numbers(self) -> bytes:
        """Its part of the `.bin`."""
        vectors = b"".join(vector.astype("<f4").tobytes() for vector in self.vectors)
        if self.kernel is None:
            return vectors
        kernel = self.kernel.tobytes()
        return TAGS[self.kernel.dtype.name] + kernel + bytes(-len(kernel) % 4) + vectors


def require_ncnn() -> ModuleType:
    """Import ncnn, which runs the files; it is not needed to write them.

    Raises:
        ConfigError: The package ncnn is not installed.
    """
    try:
        import ncnn
    except ImportError as error:
        needs = "needs ncnn: pip install 'nas-sv2[ncnn]'"
        raise ConfigError("runtime", "ncnn", needs) from error
    found: ModuleType = ncnn
    return found


def build_ncnn(
    graph: Graph, weights: Weights, largest: Mapping[str, float] | None = None
) -> NcnnFiles:
    """Write `input` (C, H, W) to `logits` (classes), or to the map in which the graph ends.

    Args:
        graph: The network or a part of one.
        weights: Its numbers, named as `weight_shapes` names them.
        largest: The largest absolute number that each layer with weights reads, by the name of
            the value (`largest_inputs`); the layers are in int8 if given.
    """
    writer = _Writer(graph, weights)
    for op in graph.ops:
        writer.append(op)
    layers = _fuse_activations(writer.layers, ends_of(graph))
    if largest is not None:
        layers = _in_int8(layers, largest)
    names = {graph.input.name: INPUT, graph.output.name: OUTPUT}
    layers = _with_copies([_renamed(layer, names) for layer in layers])
    blobs = sum(len(layer.outputs) for layer in layers)
    lines = [MAGIC, f"{len(layers)} {blobs}", *(layer.line for layer in layers)]
    ends = accumulate(len(layer.numbers) for layer in layers)
    return NcnnFiles(
        "".join(f"{line}\n" for line in lines).encode(),
        b"".join(layer.numbers for layer in layers),
        tuple(
            end - 4 * number
            for layer, end in zip(layers, ends, strict=True)
            for number in range(layer.scales, 0, -1)
        ),
    )


def _setting(number: int, value: Parameter) -> str:
    """Write a parameter; ncnn tells a float by its point."""
    if isinstance(value, tuple):
        return f"-{23300 + number}={len(value)},{','.join(map(_text, value))}"
    return f"{number}={_text(value)}"


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:e}"


def vectors_of(graph: Graph) -> set[str]:
    """Return the names of values that are vectors: global pooling makes them."""
    found: set[str] = set()
    for op in graph.ops:
        inputs = {value.name for value in op.inputs}
        if isinstance(op.kind, GlobalAveragePool | Linear) or inputs <= found:
            found.update(value.name for value in op.outputs)
    return found


def ends_of(graph: Graph) -> dict[str, Op]:
    """Return the activations that are part of the layer before them, by its operator's name."""
    reads = Counter(value.name for op in graph.ops for value in op.inputs)
    reads[graph.output.name] += 1
    weighted = {op.output.name: op for op in graph.ops if isinstance(op.kind, Conv | Linear)}
    return {
        weighted[op.source.name].name: op
        for op in graph.ops
        if isinstance(op.kind, Activation)
        and op.source.name in weighted
        and reads[op.source.name] == 1
    }


class _Writer:
    """Collects layers, and the names of values that are vectors."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        image = graph.input
        size = {0: image.width, 1: image.height, 2: image.channels}
        self.layers = [_Layer("Input", INPUT, (), (image.name,), size)]
        self.weights = weights
        self.vectors = vectors_of(graph)

    def append(self, op: Op) -> None:
        """Add the layers of one operator."""
        inputs = {value.name for value in op.inputs}
        vectors = bool(inputs & self.vectors)
        assert not vectors or not _needs_map(op.kind), f"{op.name} reads a vector"
        _append(op, self)

    def layer(
        self,
        kind: str,
        op: Op,
        parameters: Mapping[int, Parameter] | None = None,
        kernel: Array | None = None,
        vectors: Sequence[Array] = (),
    ) -> None:
        """Add the layer that is the whole operator; weights next to 0 become 0."""
        inputs, outputs = (tuple(v.name for v in values) for values in (op.inputs, op.outputs))
        held = None if kernel is None else flush(kernel).astype("<f4")
        self.layers.append(
            _Layer(
                kind, op.name, inputs, outputs, parameters or {}, held, tuple(map(flush, vectors))
            )
        )


def _needs_map(kind: Kind) -> bool:
    """Whether an operator moves over a map, so that ncnn would read a vector as something else."""
    if isinstance(kind, Conv):
        return (kind.kernel, kind.groups) != (1, 1)
    return isinstance(kind, MaxPool | AveragePool | GlobalAveragePool | Shift | Shuffle)


def _append(op: Op, writer: _Writer) -> None:
    """Add the layers of one operator."""
    match op.kind:
        case Conv() | Norm() | Linear():
            _append_weighted(op, op.kind, writer)
        case MaxPool() | AveragePool() | GlobalAveragePool():
            _append_pool(op, op.kind, writer)
        case Shift() | Select() | Split() | Concat() | Shuffle():
            _append_rearrangement(op, op.kind, writer)
        case Activation(function=function):
            kind, parameters = ACTIVATIONS[function]
            writer.layer(kind, op, parameters)
        case Add():
            writer.layer("BinaryOp", op, {0: 0})
        case Multiply():
            writer.layer("BinaryOp", op, {0: 2})
        case _:
            assert_never(op.kind)


def _append_weighted(op: Op, kind: Conv | Norm | Linear, writer: _Writer) -> None:
    """Add an operator that has weights; ncnn convolves a vector by its fully connected layer."""
    weights, channels = writer.weights, op.output.channels
    if isinstance(kind, Norm):
        scale, bias, mean, variance = (weights[f"{op.name}.norm.{part}"] for part in NORM_PARTS)
        settings: dict[int, Parameter] = {0: channels, 1: BATCH_NORM_EPSILON}
        writer.layer("BatchNorm", op, settings, vectors=[scale, mean, variance, bias])
        return
    if isinstance(kind, Linear):
        kernel, bias = weights[f"{op.name}.weight"], weights[f"{op.name}.bias"]
    else:
        kernel, bias = fold_batch_norm(op, weights)
    if isinstance(kind, Linear) or op.source.name in writer.vectors:
        writer.layer("InnerProduct", op, {0: channels, 1: 1, 2: kernel.size}, kernel, [bias])
        return
    window = {1: kind.kernel, 3: kind.stride, 4: kind.padding}
    settings = {0: channels, **window, 5: 1, 6: kernel.size}
    if kind.groups == 1:
        writer.layer("Convolution", op, settings, kernel, [bias])
    else:
        writer.layer("ConvolutionDepthWise", op, {**settings, 7: kind.groups}, kernel, [bias])


def _append_pool(op: Op, kind: Pool, writer: _Writer) -> None:
    """Add a pooling; its mode rounds the map down as torch does, and ncnn's default rounds up."""
    match kind:
        case MaxPool(kernel=side, stride=stride):
            writer.layer("Pooling", op, {0: 0, 1: side, 2: stride, 3: side // 2, 5: 1})
        case AveragePool(kernel=side, stride=stride):
            writer.layer("Pooling", op, {0: 1, 1: side, 2: stride, 3: kind.padding, 5: 1})
        case GlobalAveragePool():
            writer.layer("Pooling", op, {0: 1, 4: 1})
        case _:
            assert_never(kind)


def _append_rearrangement(op: Op, kind: Rearrangement, writer: _Writer) -> None:
    """Add an operator that moves values or channels and computes nothing."""
    match kind:
        case Shift():
            _append_shift(op, writer)
        case Select(channels=channels):
            _append_selection(op, channels, writer)
        case Split(sizes=sizes):
            writer.layer("Slice", op, {0: sizes, 1: 0})
        case Concat():
            writer.layer("Concat", op, {0: 0})
        case Shuffle(groups=groups):
            writer.layer("ShuffleChannel", op, {0: groups})
        case _:
            assert_never(kind)


def _append_shift(op: Op, writer: _Writer) -> None:
    """Add zeros below and to the right, and cut the first row and column off."""
    value, larger = op.source, f"{op.name}.larger"
    window = {0: 1, 1: 1, 2: 0, 3: value.width, 4: value.height, 5: value.channels}
    writer.layers += [
        _Layer("Padding", larger, (value.name,), (larger,), {1: 1, 3: 1}),
        _Layer("Crop", op.name, (larger,), (op.output.name,), window),
    ]


def _append_selection(op: Op, channels: tuple[int, ...], writer: _Writer) -> None:
    """Cut the input where the selection jumps, and join the pieces that it names."""
    jumps = {
        c
        for before, after in pairwise(channels)
        if after != before + 1
        for c in (before + 1, after)
    }
    edges = sorted({0, channels[0], channels[-1] + 1, op.source.channels} | jumps)
    pieces = {start: f"{op.name}.piece{start}" for start in edges[:-1]}
    sizes = tuple(end - start for start, end in pairwise(edges))
    cut = f"{op.name}.cut"
    joined = tuple(pieces[channel] for channel in channels if channel in pieces)
    writer.layers += [
        _Layer("Slice", cut, (op.source.name,), tuple(pieces.values()), {0: sizes, 1: 0}),
        _Layer("Concat", op.name, joined, (op.output.name,), {0: 0}),
    ]


def _fuse_activations(layers: Sequence[_Layer], ends: Mapping[str, Op]) -> list[_Layer]:
    """Make each of these activations part of the layer before it, and put both in its place."""
    before = {end.name: name for name, end in ends.items()}
    named = {layer.name: layer for layer in layers}
    fused = []
    for layer in layers:
        if layer.name in before:
            weighted = named[before[layer.name]]
            settings = {**weighted.parameters, **FUSED[layer.kind]}
            layer = replace(weighted, outputs=layer.outputs, parameters=settings)
        elif layer.name in ends:
            continue
        fused.append(layer)
    return fused


def _in_int8(layers: Sequence[_Layer], largest: Mapping[str, float]) -> list[_Layer]:
    """Let every layer with weights compute in int8.

    A convolution hands on int8 if nothing but another convolution reads its output.
    """
    readers: dict[str, list[_Layer]] = defaultdict(list)
    for layer in layers:
        for name in layer.inputs:
            readers[name].append(layer)
    converted = []
    for layer in layers:
        if layer.kernel is None:
            converted.append(layer)
            continue
        (value,) = layer.outputs
        convolutions = [each.kind.startswith("Convolution") for each in (layer, *readers[value])]
        hands_on = convolutions == [True, True]
        converted.append(_quantised(layer, largest, hands_on))
    return converted


def _quantised(layer: _Layer, largest: Mapping[str, float], hands_on: bool) -> _Layer:
    """Return a layer in int8, with the scales behind its bias."""
    assert layer.kernel is not None
    grouped = layer.kind == "ConvolutionDepthWise"
    winograd = (layer.kind, layer.parameters.get(1), layer.parameters.get(3)) == (
        "Convolution",
        3,
        1,
    )
    most = INT8_WINOGRAD if winograd else INT8
    parts = layer.parameters[7 if grouped else 0]
    assert isinstance(parts, int), "a number of groups or channels"
    rows = layer.kernel.reshape(parts, -1)
    peaks = abs(rows).max(axis=1)
    scales = np.float32(most) / np.where(peaks == 0, most, peaks)
    kernel = np.rint(rows * scales[:, None]).astype(np.int8)
    ends = [layer.inputs[0], *(layer.outputs if hands_on else ())]
    moved = [np.array([INT8 / (largest[name] or INT8)], np.float32) for name in ends]
    term = (1 if grouped else 2) + 100 * hands_on
    return replace(
        layer,
        parameters={**layer.parameters, 8: term},
        kernel=kernel,
        vectors=(*layer.vectors, scales.astype(np.float32), *moved),
        scales=len(moved),
    )


def _renamed(layer: _Layer, names: Mapping[str, str]) -> _Layer:
    inputs, outputs = (
        tuple(names.get(name, name) for name in values) for values in (layer.inputs, layer.outputs)
    )
    return replace(layer, inputs=inputs, outputs=outputs)


def _with_copies(layers: Sequence[_Layer]) -> list[_Layer]:
    """Give each reader of a value a name of its own for it; ncnn lets a name be read once."""
    reads = Counter(name for layer in layers for name in layer.inputs)
    copies = {
        name: [f"{name}_splitncnn_{index}" for index in range(count)]
        for name, count in reads.items()
        if count > 1
    }
    left = {name: iter(each) for name, each in copies.items()}
    found = []
    for layer in layers:
        inputs = tuple(next(left[name]) if name in left else name for name in layer.inputs)
        found.append(replace(layer, inputs=inputs))
        for name in layer.outputs:
            if name in copies:
                found.append(_Layer("Split", f"splitncnn_{name}", (name,), tuple(copies[name])))
    return found
