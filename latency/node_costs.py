"""What the kernels of a network cost on a device, each by itself: additive, fitted to a timed bag.

Kernels of one class (`class_of`) share one formula: a sum of terms (`terms_of`) with coefficients
that are never negative.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas_sv2.latency.kernels import Kernel, kernels_of
from nas_sv2.latency.plan import Lowering
from nas_sv2.space import lower
from nas_sv2.space.cost import op_cost
from nas_sv2.space.graph import Op
from nas_sv2.space.network import Network
from nas_sv2.space.shuffle_free import without_shuffles

ALIGNMENT = 4
"""onnxruntime's blocked (NCHWc) kernels take channels in multiples of 4 only. On x86 a depthwise
convolution of other channels runs 5 to 9 times slower, so the two are different classes."""
BLOCK = 16
"""Channels of a block with AVX-512 (8 with AVX2): a blocked kernel computes whole blocks."""
LEAST_US = 1.0
"""Errors are relative, but those of shorter nodes count as of this: the profile has whole µs."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A kernel of a network, with the operator that does its work."""

    kernel: Kernel
    op: Op


def pieces_of(network: Network, lowering: Lowering) -> list[Piece]:
    """The kernels of `network` in the form that is measured, in running order."""
    graph = lower(network)
    if lowering == "shuffle_free":
        graph, _ = without_shuffles(graph, {})
    ops = {op.name: op for op in graph.ops}
    return [Piece(kernel, ops[kernel.ops[0]]) for kernel in kernels_of(graph)]


def class_of(kernel: Kernel) -> str:
    """What shares one formula: a kind; of convolutions also the alignment, and gates apart."""
    if not kernel.kind.startswith(("pointwise", "depthwise")):
        return kernel.kind
    return kernel.kind + _alignment(kernel)


def share_of(kernel: Kernel) -> str:
    """Kernels whose errors are corrected together: classes, with depthwise sizes as one."""
    if kernel.kind.startswith("depthwise"):
        return "depthwise" + _alignment(kernel)
    return class_of(kernel)


def _alignment(kernel: Kernel) -> str:
    if kernel.source.area == 1:
        return " on one pixel"
    return f" on {'' if kernel.channels_in % ALIGNMENT == 0 else 'un'}aligned channels"


def terms_of(piece: Piece) -> list[float]:
    """What a cost may be proportional to.

    Nothing, numbers read, numbers written, multiply-adds, multiply-adds in whole blocks of
    channels, weights, parts, and numbers written after a sum.
    """
    kernel, op = piece.kernel, piece.op
    flops = op_cost(op).flops
    depthwise = kernel.kind.startswith("depthwise")
    channels = kernel.channels_in if depthwise else kernel.channels_out
    written = sum(value.elements for value in op.outputs)
    return [
        1,
        sum(value.elements for value in op.inputs),
        written,
        flops,
        flops * (-(-channels // BLOCK) * BLOCK / channels),
        flops / op.output.area,
        kernel.parts,
        written * ("add" in kernel.fused),
    ]


@dataclass(frozen=True, slots=True)
class NodeCosts:
    """The formulas of a device: µs for each term, by class."""

    coefficients: Mapping[str, Sequence[float]]

    def price(self, piece: Piece) -> float:
        """The cost of a kernel in µs; its class was in the bag."""
        return float(np.dot(self.coefficients[class_of(piece.kernel)], terms_of(piece)))


def fit_node_costs(pieces: Sequence[Piece], times_us: Sequence[float]) -> NodeCosts:
    """The formulas that fit the times of the bag's kernels, by least relative squares."""
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
    # Imported here: it takes a second, which a prediction can do without.
    from sklearn.linear_model import LinearRegression

    scale_us = np.maximum(times_us, LEAST_US)
    terms = np.array([terms_of(piece) for piece in pieces]) / scale_us[:, None]
    size = np.maximum(terms.max(axis=0), 1e-12)
    fit = LinearRegression(fit_intercept=False, positive=True)
    fit.fit(terms / size, np.array(times_us) / scale_us)
    return [float(number) for number in fit.coef_ / size]
