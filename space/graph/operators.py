"""The flat list of primitive operators that an architecture lowers to.

Everything else reads this list: cost, guidelines, the torch and ONNX lowerings, the latency table.
An `Op` has its work (`kind`), and the values that it reads and writes. A `Value` carries its
shape, so that no reader has to infer one. Batch is left out: a `Value` is one image's.
"""

from dataclasses import dataclass, field
from typing import Literal

Function = Literal["relu", "relu6", "sigmoid"]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor (N, channels, height, width) that flows between operators."""

    name: str
    channels: int
    height: int
    width: int

    @property
    def area(self) -> int:
        """Height × width."""
        return self.height * self.width

    @property
    def elements(self) -> int:
        """Numbers held for one image."""
        return self.channels * self.height * self.width


@dataclass(frozen=True, slots=True)
class Conv:
    """A square convolution; folds its batch norm where it has one.

    It is padded by kernel // 2 on each side, or not at all unless `padded`.
    """

    kernel: int
    stride: int = 1
    groups: int = 1
    batch_norm: bool = True
    bias: bool = False
    padded: bool = True

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return self.kernel // 2 if self.padded else 0


@dataclass(frozen=True, slots=True)
class Activation:
    """An element-wise function."""

    function: Function


@dataclass(frozen=True, slots=True)
class MaxPool:
    """A square max pool padded by kernel // 2."""

    kernel: int
    stride: int


@dataclass(frozen=True, slots=True)
class AveragePool:
    """A square average pool; padded so that an odd kernel keeps the map, and not averaging that.

    With a kernel of 1 it takes every `stride`-th pixel.
    """

    kernel: int
    stride: int

    @property
    def padding(self) -> int:
        """Pixels on each side, which do not count in the mean."""
        return (self.kernel - 1) // 2


@dataclass(frozen=True, slots=True)
class GlobalAveragePool:
    """The mean over height and width, kept as (N, C, 1, 1)."""


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm that no convolution can fold, as before a ReLU that precedes a convolution."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The map moved up and left by one pixel, with zeros behind it."""


@dataclass(frozen=True, slots=True)
class Select:
    """The channels of these numbers, in this order."""

    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """The channels in consecutive parts, one output each."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """The channels of all inputs, in order."""


@dataclass(frozen=True, slots=True)
class Shuffle:
    """ShuffleNet's channel shuffle: (groups, C/groups) transposed."""

    groups: int


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of two values of one shape."""


@dataclass(frozen=True, slots=True)
class Multiply:
    """(N, C, H, W) times (N, C, 1, 1)."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A fully connected layer with bias on (N, C, 1, 1)."""


Pool = MaxPool | AveragePool | GlobalAveragePool
Rearrangement = Shift | Select | Split | Concat | Shuffle
"""Moves values or channels and computes nothing."""
Kind = Conv | Activation | Pool | Norm | Rearrangement | Add | Multiply | Linear


@dataclass(frozen=True, slots=True)
class Op:
    """One operator. `name` is a dotted path, unique in its graph, and the key of its weights."""

    name: str
    kind: Kind
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def source(self) -> Value:
        """The first input."""
        return self.inputs[0]

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def block(self) -> str:
        """The building block it belongs to: `stem`, `stage2.0`, `head`."""
        parts = self.name.split(".")
        return ".".join(parts[:2]) if parts[0].startswith("stage") else parts[0]


@dataclass(frozen=True, slots=True)
class Graph:
    """Operators in an order in which they can run, from one input to one output.

    The output of a network is (N, classes, 1, 1); that of a part may be a map.
    """

    input: Value
    output: Value
    ops: tuple[Op, ...]


@dataclass(slots=True)
class GraphBuilder:
    """Appends operators and works out their shapes; used by the blocks and by `lower` only."""

    ops: list[Op] = field(default_factory=list)

    def conv(
        self,
        name: str,
        source: Value,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        depthwise: bool = False,
        batch_norm: bool = True,
        padded: bool = True,
        activation: Function | None = None,
    ) -> Value:
        """A convolution with batch norm, and the activation behind it where asked."""
        kind = Conv(
            kernel,
            stride,
            source.channels if depthwise else groups,
            batch_norm=batch_norm,
            padded=padded,
        )
        output = windowed(name, source, channels, kernel, stride, kind.padding)
        value = self._append(name, kind, (source,), output)
        if activation is None:
            return value
        return self.activation(f"{name}.{activation}", value, activation)

    def gate(self, name: str, source: Value, channels: int) -> Value:
        """A 1×1 convolution with bias and no batch norm, as squeeze-and-excitation has."""
        kind = Conv(1, batch_norm=False, bias=True)
        output = Value(name, channels, source.height, source.width)
        return self._append(name, kind, (source,), output)

    def activation(self, name: str, source: Value, function: Function) -> Value:
        """`function` of every element."""
        return self._append(name, Activation(function), (source,), _like(name, source))

    def max_pool(self, name: str, source: Value, kernel: int = 3, *, stride: int = 2) -> Value:
        """The largest of each window."""
        output = windowed(name, source, source.channels, kernel, stride, kernel // 2)
        return self._append(name, MaxPool(kernel, stride), (source,), output)

    def average_pool(self, name: str, source: Value, kernel: int, *, stride: int) -> Value:
        """The mean of each window."""
        kind = AveragePool(kernel, stride)
        output = windowed(name, source, source.channels, kernel, stride, kind.padding)
        return self._append(name, kind, (source,), output)

    def norm(self, name: str, source: Value) -> Value:
        """A batch norm of its own."""
        return self._append(name, Norm(), (source,), _like(name, source))

    def shift(self, name: str, source: Value) -> Value:
        """The map moved up and left by one pixel."""
        return self._append(name, Shift(), (source,), _like(name, source))

    def select(self, name: str, source: Value, channels: tuple[int, ...]) -> Value:
        """The channels of these numbers, in this order."""
        output = Value(name, len(channels), source.height, source.width)
        return self._append(name, Select(channels), (source,), output)

    def global_average_pool(self, name: str, source: Value) -> Value:
        """One number a channel."""
        return self._append(
            name, GlobalAveragePool(), (source,), Value(name, source.channels, 1, 1)
        )

    def split(self, name: str, source: Value, sizes: tuple[int, ...]) -> tuple[Value, ...]:
        """Consecutive channels of the given sizes."""
        outputs = tuple(
            Value(f"{name}:{index}", size, source.height, source.width)
            for index, size in enumerate(sizes)
        )
        self.ops.append(Op(name, Split(sizes), (source,), outputs))
        return outputs

    def concat(self, name: str, *sources: Value) -> Value:
        """All channels, in order."""
        channels = sum(source.channels for source in sources)
        output = Value(name, channels, sources[0].height, sources[0].width)
        return self._append(name, Concat(), sources, output)

    def shuffle(self, name: str, source: Value, groups: int = 2) -> Value:
        """The channel shuffle."""
        return self._append(name, Shuffle(groups), (source,), _like(name, source))

    def add(self, name: str, left: Value, right: Value) -> Value:
        """The sum of both."""
        return self._append(name, Add(), (left, right), _like(name, left))

    def multiply(self, name: str, source: Value, gates: Value) -> Value:
        """Every channel of `source` times its gate."""
        return self._append(name, Multiply(), (source, gates), _like(name, source))

    def linear(self, name: str, source: Value, classes: int) -> Value:
        """The classifier."""
        return self._append(name, Linear(), (source,), Value(name, classes, 1, 1))

    def _append(self, name: str, kind: Kind, inputs: tuple[Value, ...], output: Value) -> Value:
        self.ops.append(Op(name, kind, inputs, (output,)))
        return output


def _like(name: str, source: Value) -> Value:
    return Value(name, source.channels, source.height, source.width)


def windowed(
    name: str, source: Value, channels: int, kernel: int, stride: int, padding: int
) -> Value:
    """The output of a window that moves over `source`."""
    removed = kernel - 2 * padding
    height = (source.height - removed) // stride + 1
    width = (source.width - removed) // stride + 1
    return Value(name, channels, height, width)
