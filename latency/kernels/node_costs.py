"""The cost of each kernel of a network on a device, fitted to a timed bag of kernels.

Kernels of one class (`class_of`) share one formula: a sum of terms (`terms_of`) with coefficients
that are never negative. The cost of a network is the sum over its kernels.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.of_graph import graph_in_form, in_form, kernels_of
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.plain_data import printable
from nas_sv2.space.graph.cost import op_cost
from nas_sv2.space.graph.operators import Graph, Op
from nas_sv2.space.networks.lowering import Network

ALIGNMENT = 4
"""Divisor of the channels that onnxruntime's blocked (NCHWc) kernels need. On x86 a depthwise
convolution with other channels takes 5 to 9 times as long, so the two are different classes."""
BLOCK = 16
"""Channels of a block with AVX-512 (8 with AVX2): a blocked kernel computes whole blocks."""
MOST_US = 1e12
"""The limit of a coefficient, so that sums of costs are finite."""
ALIGNED, UNALIGNED = "on aligned channels", "on unaligned channels"
LEAST_US = 1.0
"""Errors are relative to a node's time, but at least to this: the profile has whole µs."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A kernel of a network, and the operator that does its work."""

    kernel: Kernel
    op: Op


def pieces_of(network: Network, lowering: Lowering) -> list[Piece]:
    """Return the kernels of `network` in the measured form, in running order."""
    return _pieces(graph_in_form(network, lowering))


def pieces_of_graph(graph: Graph, lowering: Lowering) -> list[Piece]:
    """Return the kernels of a graph in the measured form, in running order."""
    return _pieces(in_form(graph, lowering))


def _pieces(graph: Graph) -> list[Piece]:
    ops = {op.name: op for op in graph.ops}
    return [Piece(kernel, ops[kernel.ops[0]]) for kernel in kernels_of(graph)]


def class_of(kernel: Kernel) -> str:
    """Return the class of kernels that share one formula.

    A class is a kind; pointwise and depthwise kinds are divided by alignment, and those on one
    pixel (gates) are separate. Group convolutions with any groups are one class.
    """
    if kernel.kind.startswith("conv g"):
        return "grouped"
    if not kernel.kind.startswith(("pointwise", "depthwise")):
        return kernel.kind
    return kernel.kind + _alignment(kernel)


def share_of(kernel: Kernel) -> str:
    """Return the class whose errors are corrected together: all depthwise sizes are one."""
    if kernel.kind.startswith("depthwise"):
        return "depthwise" + _alignment(kernel)
    return class_of(kernel)


def shares_of(costs: Iterable[tuple[Kernel, float]]) -> dict[str, float]:
    """Split the cost of kernels among the classes of `share_of`; the shares add up to 1."""
    found: defaultdict[str, float] = defaultdict(float)
    for kernel, cost in costs:
        found[share_of(kernel)] += cost
    whole = sum(found.values())
    return {kind: cost / whole for kind, cost in found.items()}


def _alignment(kernel: Kernel) -> str:
    if kernel.source.area == 1:
        return " on one pixel"
    return f" {ALIGNED if kernel.channels_in % ALIGNMENT == 0 else UNALIGNED}"


class Terms(NamedTuple):
    """The quantities that a cost may be proportional to.

    Attributes:
        launch: Always 1.
        read: Numbers read.
        written: Numbers written.
        flops: Multiply-adds.
        blocked_flops: Multiply-adds in whole blocks of channels.
        weights: Weights of the kernel.
        parts: Maps that a split writes or a concat reads.
        added: Numbers written after a sum.
    """

    launch: float
    read: float
    written: float
    flops: float
    blocked_flops: float
    weights: float
    parts: float
    added: float


def terms_of(piece: Piece) -> Terms:
    """Compute the terms of a kernel."""
    kernel, op = piece.kernel, piece.op
    flops = op_cost(op).flops
    depthwise = kernel.kind.startswith("depthwise")
    channels = kernel.channels_in if depthwise else kernel.channels_out
    written = sum(value.elements for value in op.outputs)
    return Terms(
        launch=1,
        read=sum(value.elements for value in op.inputs),
        written=written,
        flops=flops,
        blocked_flops=flops * (-(-channels // BLOCK) * BLOCK / channels),
        weights=flops / op.output.area,
        parts=kernel.parts,
        added=written * ("add" in kernel.fused),
    )


@dataclass(frozen=True, slots=True)
class NodeCosts:
    """The formulas of a device.

    Attributes:
        coefficients: µs for each term, by class.
    """

    coefficients: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        """Refuse a formula of another number of terms, or with a cost that no kernel has."""
        for name, row in self.coefficients.items():
            if len(row) != len(Terms._fields):
                raise ValueError(f"{printable(name, 80)} must have {len(Terms._fields)} terms")
            if not all(0 <= cost <= MOST_US for cost in row):
                raise ValueError(f"{printable(name, 80)} must have costs from 0 to {MOST_US:g} µs")

        if self.coefficients and not any(map(any, self.coefficients.values())):
            raise ValueError("costs must be above 0 somewhere")

    def price(self, piece: Piece) -> float:
        """Return the cost in µs of a kernel whose class was in the bag."""
        return self.price_of(class_of(piece.kernel), terms_of(piece))

    def price_of(self, name: str, terms: Terms) -> float:
        """Return the cost in µs of a kernel with these terms in the class `name`."""
        return float(np.dot(self.coefficients[name], terms))


def fit_node_costs(pieces: Sequence[Piece], times_us: Sequence[float]) -> NodeCosts:
    """Fit the formulas to the times of the bag's kernels, by least relative squares."""
    members: dict[str, list[int]] = {}
    for index, piece in enumerate(pieces):
        members.setdefault(class_of(piece.kernel), []).append(index)
    return NodeCosts(
        {
            name: _coefficients([pieces[i] for i in rows], [times_us[i] for i in rows])
            for name, rows in members.items()
        }
    )


def _coefficients(pieces: Sequence[Piece], times_us: Sequence[float]) -> list[float]:
    # Imported here, as the import takes a second and a prediction does not need it.
    from sklearn.linear_model import LinearRegression

    scale_us = np.maximum(times_us, LEAST_US)
    terms = np.array([terms_of(piece) for piece in pieces]) / scale_us[:, None]
    size = np.maximum(terms.max(axis=0), 1e-12)
    fit = LinearRegression(fit_intercept=False, positive=True)
    fit.fit(terms / size, np.array(times_us) / scale_us)
    return [float(number) for number in fit.coef_ / size]
