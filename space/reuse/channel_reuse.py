"""Which channels a block hands on untouched, and to whom: the paper's Figure 4 (b), for any graph.

A channel is followed from the operator that computes it. It stays the same while it is only moved
(split, concatenated, shuffled, selected) or changed on its own (activation, norm, pool). A
convolution, a classifier, a sum or a gate makes new channels. Nothing is assumed about units or
ratios: the operators alone say how two blocks are connected.

Section 3.2 puts r^j·c channels between block i and block i + j, with r = (c − c′)/c (the paper's
"(1 − c′)/c" is a slip). That holds only if the shuffle spreads the channels of a block evenly over
those that the next one passes and convolves. `even_*` is that formula from the graph's own r of
each block, for stages of any splits. `passed` and `read` are the true shares.

How strongly a trained network weighs these channels is the paper's Figure 4 (a), which follows
Figure 5 of DenseNet (Huang et al. 2017). For a block that convolves channels of several others, it
is the mean absolute weight over the channels of each. It is the raw weight of the convolution,
before the norm behind it. Its channels come from a norm and a ReLU of their own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import assert_never

import numpy as np

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.cost import is_depthwise
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
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.weights import Array, Weights, weight_shapes
from nas_sv2.space.units.architecture import Architecture, scale_width

Matrix = tuple[tuple[float, ...], ...]
"""Rows are the blocks that channels come from, columns those that they come to."""

IMAGE = -1
"""What computed the channels of the input, in place of the number of a block."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Every channel of a graph by a number that it keeps until it is convolved or summed.

    Attributes:
        blocks: The graph's blocks (`Op.block`), in running order.
        held: For each value by name, the channels that it holds, in order.
        maker: For each channel the number of the block that computed it; `IMAGE` for the input.
    """

    blocks: tuple[str, ...]
    held: dict[str, list[int]]
    maker: list[int]


@dataclass(frozen=True)
class Reuse:
    """How channels connect the blocks of a network; matrices are zero where j < i.

    Attributes:
        blocks: Their names.
        put_out: For each block the channels that others read from it, its own and those it passed.
        convolved: For each block the channels of other blocks that a convolution or classifier of
            it reads.
        maker: As `Channels.maker`.
    """

    blocks: tuple[str, ...]
    put_out: tuple[frozenset[int], ...]
    convolved: tuple[frozenset[int], ...]
    maker: Sequence[int]

    @cached_property
    def own(self) -> tuple[frozenset[int], ...]:
        """The channels that each block computes and puts out."""
        return tuple(
            frozenset(channel for channel in channels if self.maker[channel] == block)
            for block, channels in enumerate(self.put_out)
        )

    @cached_property
    def passed(self) -> Matrix:
        """Share of the channels that block i puts out which block j puts out too, untouched."""
        return self._matrix(lambda i, j: _share(self.put_out[i], self.put_out[j]))

    @cached_property
    def read(self) -> Matrix:
        """Share of the channels that block i computes and puts out which block j convolves."""
        return self._matrix(lambda i, j: _share(self.own[i], self.convolved[j]))

    @cached_property
    def even_passed(self) -> Matrix:
        """`passed` if every shuffle mixed evenly: the product of the blocks' own r, r^(j − i)."""
        return self._matrix(lambda i, j: prod(self._hops[i:j]))

    @cached_property
    def even_read(self) -> Matrix:
        """`read` if every shuffle mixed evenly: r^(j − i − 1) of them come to block j.

        It convolves as large a share of these as of all that the block before it puts out.
        """

        def share(i: int, j: int) -> float:
            taken = _share(self.put_out[j - 1], self.convolved[j])
            return prod(self._hops[i : j - 1]) * taken if i < j else 0.0

        return self._matrix(share)

    @property
    def reuses(self) -> bool:
        """Whether any block puts out a channel of another."""
        return any(share > 0 for i, row in enumerate(self.passed) for share in row[i + 1 :])

    @cached_property
    def _hops(self) -> list[float]:
        """The share of each block's channels that the next block passes; none for the last."""
        pairs = zip(self.put_out, self.put_out[1:], strict=False)
        return [_share(before, after) for before, after in pairs]

    def _matrix(self, share: Callable[[int, int], float]) -> Matrix:
        numbers = range(len(self.blocks))
        return tuple(tuple(share(i, j) if i <= j else 0.0 for j in numbers) for i in numbers)


def channel_reuse(graph: Graph) -> Reuse:
    """How channels connect the blocks of `graph`."""
    channels = follow_channels(graph)
    number = {block: index for index, block in enumerate(channels.blocks)}
    writer = {value.name: number[op.block] for op in graph.ops for value in op.outputs}
    put_out: list[set[int]] = [set() for _ in number]
    convolved: list[set[int]] = [set() for _ in number]
    for op in graph.ops:
        block = number[op.block]
        for value in op.inputs:
            held = channels.held[value.name]
            if writer.get(value.name, block) != block:
                put_out[writer[value.name]].update(held)
            if isinstance(op.kind, Conv | Linear):
                convolved[block].update(c for c in held if channels.maker[c] != block)
    put_out[writer[graph.output.name]].update(channels.held[graph.output.name])
    return Reuse(channels.blocks, _frozen(put_out), _frozen(convolved), channels.maker)


def follow_channels(graph: Graph) -> Channels:
    """Follow every channel of `graph` until it is convolved or summed."""
    blocks = tuple(dict.fromkeys(op.block for op in graph.ops))
    maker = [IMAGE] * graph.input.channels
    held = {graph.input.name: list(range(graph.input.channels))}
    for op in graph.ops:
        outputs = moved(op, [held[value.name] for value in op.inputs])
        if outputs is None:
            outputs = [list(range(len(maker), len(maker) + op.output.channels))]
            maker += [blocks.index(op.block)] * op.output.channels
        held |= {value.name: out for value, out in zip(op.outputs, outputs, strict=True)}
    return Channels(blocks, held, maker)


def moved(op: Op, inputs: Sequence[list[int]]) -> list[list[int]] | None:
    """The channels in the outputs of `op` if its inputs hold these; None if it makes new ones."""
    match op.kind:
        case Split(sizes=sizes):
            starts = [sum(sizes[:index]) for index in range(len(sizes))]
            return [
                inputs[0][start : start + size] for start, size in zip(starts, sizes, strict=True)
            ]
        case Concat():
            return [[channel for channels in inputs for channel in channels]]
        case Shuffle(groups=groups):
            size = len(inputs[0]) // groups
            return [[inputs[0][group * size + i] for i in range(size) for group in range(groups)]]
        case Select(channels=chosen):
            return [[inputs[0][channel] for channel in chosen]]
        case Activation() | Norm() | Shift() | MaxPool() | AveragePool() | GlobalAveragePool():
            return [inputs[0]]
        case Conv() | Linear() | Add() | Multiply():
            return None
        case _:
            assert_never(op.kind)


def _share(some: frozenset[int], others: frozenset[int]) -> float:
    return len(some & others) / len(some) if some else 0.0


def _frozen(sets: Iterable[set[int]]) -> tuple[frozenset[int], ...]:
    return tuple(map(frozenset, sets))


PerPair = tuple[tuple[float | None, ...], ...]
"""Rows are sources, columns targets; None where the target mixes no channel of the source."""


@dataclass(frozen=True, slots=True)
class ReusedWeights:
    """Mean absolute weights between blocks, which are in the order of `follow_channels`.

    Attributes:
        mean: The mean of the weights that block j (column) gives the channels of block i (row).
        overall: For each block the mean over all channels of other blocks; None where it mixes
            none.
    """

    mean: PerPair
    overall: tuple[float | None, ...]

    @property
    def relative(self) -> PerPair:
        """`mean` in terms of the target's overall mean, so that targets can be compared."""
        return tuple(
            tuple(
                value / overall if value is not None and overall else None
                for value, overall in zip(row, self.overall, strict=True)
            )
            for row in self.mean
        )


def reused_weights(graph: Graph, weights: Weights) -> ReusedWeights:
    """How block j weighs the channels of block i.

    Every convolution (or classifier) of block j counts that mixes channels of other blocks: in a
    unit the first 1×1 of each branch. A depthwise convolution before it, as on the shortcut of a
    unit that shrinks the map, keeps channels apart and is looked through.
    """
    channels = follow_channels(graph)
    writer = {value.name: op.block for op in graph.ops for value in op.outputs}
    inside: dict[str, list[int]] = {}  # as `held`, looking through depthwise within a block
    found: dict[tuple[int, int], list[Array]] = defaultdict(list)
    for op in graph.ops:
        block = channels.blocks.index(op.block)
        inputs = [
            inside.get(value.name, channels.held[value.name])
            if writer.get(value.name) == op.block
            else channels.held[value.name]
            for value in op.inputs
        ]
        outputs = [inputs[0]] if is_depthwise(op) else moved(op, inputs)
        if outputs is not None:
            inside |= {value.name: out for value, out in zip(op.outputs, outputs, strict=True)}
        elif isinstance(op.kind, Conv | Linear):
            for channel, magnitudes in zip(inputs[0], _by_input(op, weights), strict=True):
                source = channels.maker[channel]
                if source not in (IMAGE, block):
                    found[source, block].append(magnitudes)
    numbers = range(len(channels.blocks))
    return ReusedWeights(
        mean=tuple(tuple(_mean(found[i, j]) for j in numbers) for i in numbers),
        overall=tuple(_mean([m for i in numbers for m in found[i, j]]) for j in numbers),
    )


def as_trained(network: Classifier, weights: Weights, width_factor: float = 1.0) -> Classifier:
    """`network` with the input channels and the classes that `weights` were trained with.

    A recipe changes these two, and what else it changes (map sizes, strides) no weight shows.

    Args:
        network: The network of a trial, a file or a paper.
        weights: Its trained weights.
        width_factor: The share of its widths at which the recipe trained it.

    Raises:
        ConfigError: The weights are not this network's; names what is missing, first of all.
    """
    if isinstance(network, Architecture):
        network = scale_width(network, width_factor)
    needed = weight_shapes(lower(network))
    names = {"missing": needed.keys() - weights.keys(), "unknown": weights.keys() - needed.keys()}
    for what, found in names.items():
        if found:
            raise ConfigError(
                "weights", f"{what}: {_some(found)}", "must be exactly the weights of this network"
            )
    first, *_, last = (name for name, shape in needed.items() if len(shape) > 1)
    adapted = replace(network, channels=weights[first].shape[1], classes=len(weights[last]))
    for name, shape in weight_shapes(lower(adapted)).items():
        if weights[name].shape != shape:
            raise ConfigError(f"weights {name}", weights[name].shape, f"must have shape {shape}")
    return adapted


def _mean(magnitudes: Sequence[Array]) -> float | None:
    return float(np.concatenate(magnitudes).mean()) if magnitudes else None


def _some(names: set[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - 3
    return ", ".join(ordered[:3]) + (f" and {more} more" if more > 0 else "")


def _by_input(op: Op, weights: Weights) -> Array:
    """The magnitudes of all weights on each input channel, (c_in, weights of a channel)."""
    if isinstance(op.kind, Linear):
        magnitudes: Array = np.abs(weights[f"{op.name}.weight"]).T
        return magnitudes
    assert isinstance(op.kind, Conv)
    kernel = np.abs(weights[f"{op.name}.conv.weight"])
    c_out, per_group, *_ = kernel.shape
    groups = op.kind.groups
    grouped = kernel.reshape(groups, c_out // groups, per_group, -1).transpose(0, 2, 1, 3)
    by_input: Array = grouped.reshape(groups * per_group, -1)
    return by_input
