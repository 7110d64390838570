"""How strongly a trained network weighs what other blocks hand it: the paper's Figure 4 (a).

As Figure 5 of DenseNet (Huang et al. 2017): for a block that convolves channels of several others,
the mean absolute weight over the channels of each. It is the raw weight of the convolution, before
the norm behind it; the channels that it meets come from a norm and a ReLU of their own.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.cost import is_depthwise
from nas_sv2.space.graph.operators import Conv, Graph, Linear, Op
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.reuse.channel_reuse import IMAGE, follow_channels, moved
from nas_sv2.space.runtimes.weights import Array, Weights, weight_shapes

PerPair = tuple[tuple[float | None, ...], ...]
"""Rows are sources, columns targets; None where the target mixes no channel of the source."""


@dataclass(frozen=True, slots=True)
class ReusedWeights:
    """Mean absolute weights between blocks, which are in the order of `follow_channels`.

    Attributes:
        mean: Of what block j (column) gives the channels that block i (row) computed.
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

    Of block j counts every convolution (or classifier) that mixes channels, as far as it reads
    what other blocks computed: in a unit the first 1×1 of each branch. A depthwise convolution
    before it, as on the shortcut of a unit that shrinks the map, keeps channels apart and is
    looked through.
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


def as_trained(network: Classifier, weights: Weights) -> Classifier:
    """`network` with the input channels and the classes that `weights` were trained with.

    A recipe changes these two, and what else it changes (map sizes, strides) no weight shows.

    Raises:
        ConfigError: The weights are not this network's; names what is missing, first of all.
    """
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
