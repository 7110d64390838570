"""The cost of a network on paper: the indirect metrics, in the paper's definitions (section 2).

`flops` counts multiply-adds of convolutions and fully connected layers, as the paper does; batch
norm (folded), pooling, activations and scaling are not counted. `memory_access_bytes` is the
paper's memory access cost, which is hw(c1 + c2) + c1·c2 for a 1×1 convolution (section 2, G1). It
is summed over all operators, unfused, at 4 bytes a number.
"""

import math
from dataclasses import dataclass
from typing import assert_never

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
    Select,
    Shift,
    Shuffle,
    Split,
)

BYTES_PER_NUMBER = 4  # float32


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of one image; a sum over operators.

    Attributes:
        flops: Multiply-adds.
        params: Learnt numbers: kernels, biases, and scale and shift of batch norms.
        memory_access_bytes: Inputs read, outputs written and kernels read by every operator.
        elementwise_bytes: The share of that which G4 counts: activations, sums, scalings, norms
            that cannot be folded and depthwise convolutions.
        kernel_count: Operators launched one by one, each with the activation after it.
    """

    flops: int = 0
    params: int = 0
    memory_access_bytes: int = 0
    elementwise_bytes: int = 0
    kernel_count: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Both together."""
        return Cost(
            self.flops + other.flops,
            self.params + other.params,
            self.memory_access_bytes + other.memory_access_bytes,
            self.elementwise_bytes + other.elementwise_bytes,
            self.kernel_count + other.kernel_count,
        )


_ELEMENTWISE = (Activation, Add, Multiply, Norm)
_last: list[tuple[Graph, Cost]] = []
"""The graph that was counted last: the walk and two guidelines ask it of each candidate. It is
known by its identity, as a hash of all its operators takes as long as to count them."""


def cost_of(graph: Graph) -> Cost:
    """The cost of one image through all of `graph`."""
    for known, cost in _last:
        if known is graph:
            return cost
    cost = Cost(*map(sum, zip(*map(_counts, graph.ops), strict=True)))
    _last[:] = [(graph, cost)]
    return cost


def op_cost(op: Op) -> Cost:
    """The cost of one image through `op`."""
    return Cost(*_counts(op))


def _counts(op: Op) -> tuple[int, int, int, int, int]:
    """Return the numbers of a `Cost` in their order: it takes a third of the time to make one."""
    kernel = math.prod(kernel_shape(op))
    access = BYTES_PER_NUMBER * (_elements(op) + kernel)
    return (
        kernel * op.output.area,
        _params(op, kernel),
        access,
        access if is_elementwise(op) else 0,
        0 if isinstance(op.kind, Activation) else 1,
    )


def is_depthwise(op: Op) -> bool:
    """Whether `op` is a convolution with one group a channel."""
    return isinstance(op.kind, Conv) and op.kind.groups == op.source.channels > 1


def is_elementwise(op: Op) -> bool:
    """Element-wise in the paper's sense, which takes in depthwise convolutions (section 2, G4)."""
    return isinstance(op.kind, _ELEMENTWISE) or is_depthwise(op)


def kernel_shape(op: Op) -> tuple[int, ...]:
    """The shape of the weight: (c_out, c_in / groups, k, k), (c_out, c_in), or (0,) for none."""
    match op.kind:
        case Conv(kernel=side, groups=groups):
            return (op.output.channels, op.source.channels // groups, side, side)
        case Linear():
            return (op.output.channels, op.source.channels)
        case (
            Activation()
            | MaxPool()
            | AveragePool()
            | GlobalAveragePool()
            | Norm()
            | Shift()
            | Select()
            | Split()
            | Concat()
            | Shuffle()
            | Add()
            | Multiply()
        ):
            return (0,)
        case _:
            assert_never(op.kind)


def _elements(op: Op) -> int:
    return sum([value.elements for value in op.inputs + op.outputs])


def _params(op: Op, kernel: int) -> int:
    match op.kind:
        case Conv(batch_norm=batch_norm, bias=bias):
            return kernel + op.output.channels * (2 * batch_norm + bias)
        case Linear():
            return kernel + op.output.channels
        case Norm():
            return 2 * op.output.channels
        case _:
            return 0
