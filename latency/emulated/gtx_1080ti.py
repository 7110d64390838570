"""The paper's GPU, a GTX 1080Ti, as a formula of four numbers; nothing is run.

    ms = IMAGE · images + Σ over kernels (WORK · GFLOPs + MEMORY · GB + GROUP · further groups)

- GFLOPs are multiply-adds of dense and grouped convolutions and of classifiers, in 10⁹. Each group
  is padded to whole tiles of a matrix product, as cuDNN computes it.
- GB are the bytes that a kernel reads and writes, in 10⁹. Other kernels, depthwise convolutions
  among them, cost nothing else.
- A grouped convolution costs GROUP for each group after the first.
- IMAGE is the time of a run that no kernel explains. Launches need no number of their own.

The paper publishes 86 speeds of this GPU with cuDNN 7.0 in float32. Those of Table 8 are of
batches of 8 images, those of Tables 1 to 4 of one image. The four numbers are the non-negative
least squares of the relative errors (`benchmarks/gpu_fidelity.py` fits and judges them). The
kernels are those of the network as written.

A network unlike those of the published speeds is an error that names the operator.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.emulated.scale import ScaleError
from nas_sv2.latency.kernels.kernel import live_ops, plain_kernel
from nas_sv2.latency.kernels.node_costs import Piece, shares_of
from nas_sv2.latency.kernels.of_graph import graph_in_form
from nas_sv2.latency.measurements.fingerprint import TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, NodeTime, Provenance
from nas_sv2.latency.measurements.plan import Lowering, no_plan
from nas_sv2.space.graph.cost import BYTES_PER_NUMBER, cost_of, is_depthwise, kernel_shape, op_cost
from nas_sv2.space.graph.operators import Activation, Add, Conv, Graph, Linear, Norm, Op, Split
from nas_sv2.space.networks.lowering import Network

NAME = "gtx-1080ti"
BATCH = 8
"""Images of a run in Table 8."""
LOWERING: Lowering = "plain"
TILE = 64, 32
"""Output channels, and inputs of a sum, that a matrix product computes at least. Of the tiles that
the benchmark tries, these have the least error on families and tables unseen."""


class Terms(NamedTuple):
    """The quantities that a time is made of.

    Attributes:
        images: Images of a run.
        gflops: Padded multiply-adds, in 10⁹.
        gigabytes: Bytes read and written, in 10⁹.
        further_groups: Groups of convolutions after the first of each.
    """

    images: float
    gflops: float
    gigabytes: float
    further_groups: float


FITTED = Terms(images=0.2221, gflops=0.1903, gigabytes=3.945, further_groups=0.01124)
"""ms for each. They mean 5.3·10¹² of the 5.7·10¹² multiply-adds a second, and 253 of the 484 GB/s,
that the GPU can reach."""
ERROR = ScaleError(networks=86, typical=0.087, worst=0.57, unseen=0.099)
"""The distance to the published speeds. `unseen` is of families of Table 8 that a fit left out."""
WORST_UNSEEN = 0.26
"""The largest error there."""
TABLE_8_UNSEEN = 0.092
"""The mean error on Table 8 of a fit to Tables 1 to 4 alone."""
FLOPS = (30.55e6, 593.8e6)
"""Least and most multiply-adds of the networks of Table 8 (31 to 594 MFLOPs)."""
SIDES = (160, 224)
"""Least and largest input of these networks."""
CHANNELS = 3
KINDS = frozenset(
    (
        *("add", "concat", "linear", "multiply", "norm", "relu", "relu6", "shift", "sigmoid"),
        *("shuffle", "shuffle g2", "split", "pointwise"),
        *("average pool", "average pool 1x1 s2", "average pool 2x2 s2", "average pool 3x3 s1"),
        *("average pool 3x3 s2", "max pool 3x3 s1", "max pool 3x3 s2"),
        *("conv 1x1 s2", "conv 3x3 s1", "conv 3x3 s2", "conv 3x3 s2 unpadded"),
        *("conv g2 1x1 s1", "conv g3 1x1 s1", "conv g4 1x1 s1", "conv g8 1x1 s1"),
        *("depthwise 3x3 s1", "depthwise 3x3 s2", "depthwise 5x5 s1", "depthwise 5x5 s2"),
        *("depthwise 7x7 s1", "depthwise 7x7 s2"),
    )
)
"""Kinds of kernels (`Kernel.kind`) of the networks of the published speeds."""


def gpu_kernels(graph: Graph) -> list[Piece]:
    """Return the kernels of `graph` in running order.

    A split is a view. A ReLU is part of the convolution, norm or sum that it follows, because it
    costs next to nothing in Table 4. Other activations are kernels: cuDNN 7.0 fuses ReLU alone.
    """
    found: dict[str, Piece] = {}  # by the value that the kernel writes
    for op in live_ops(graph):
        before = found.get(op.source.name)
        if isinstance(op.kind, Split):
            continue
        if op.kind == Activation("relu") and before and isinstance(before.op.kind, _FUSING):
            kernel = before.kernel
            melted = replace(kernel, ops=(*kernel.ops, op.name), fused=("relu",))
            found[op.source.name] = Piece(melted, before.op)
        else:
            found[op.output.name] = Piece(plain_kernel(op), op)
    return list(found.values())


_FUSING = Conv | Norm | Add


def terms_of(piece: Piece, images: int) -> Terms:
    """Compute the terms of a kernel in a run of `images`; the run is charged for them itself."""
    op = piece.op
    weights = BYTES_PER_NUMBER * math.prod(kernel_shape(op))
    moved = images * (op_cost(op).memory_access_bytes - weights) + weights
    groups = op.kind.groups if isinstance(op.kind, Conv) and not is_depthwise(op) else 1
    return Terms(0, images * padded_multiply_adds(op) / 1e9, moved / 1e9, groups - 1)


def terms_of_graph(graph: Graph, images: int) -> Terms:
    """Compute the terms of a whole network with `images` images a run."""
    parts = [terms_of(piece, images) for piece in gpu_kernels(graph)]
    _, *sums = map(sum, zip(*parts, strict=True))
    return Terms(images, *sums)


def padded_multiply_adds(op: Op, tile: tuple[int, int] = TILE) -> int:
    """Count the multiply-adds of one image in whole tiles; none of a depthwise convolution."""
    if is_depthwise(op) or not isinstance(op.kind, Conv | Linear):
        return 0
    groups = op.kind.groups if isinstance(op.kind, Conv) else 1
    outputs, *inputs = kernel_shape(op)
    sizes = outputs // groups, math.prod(inputs)
    rows, columns = (-(-size // side) * side for size, side in zip(sizes, tile, strict=True))
    return groups * rows * columns * op.output.area


def _ms(terms: Terms) -> float:
    return sum(each * ms for each, ms in zip(terms, FITTED, strict=True))


@dataclass(frozen=True, slots=True)
class EmulatedGtx1080Ti:
    """A target whose latencies are those of the formula, for batches of 8 images.

    Attributes:
        name: The name for `--target`.
    """

    name: str = NAME

    @property
    def provenance(self) -> Provenance:
        """The origin of its latencies: emulated."""
        return "emulated"

    @property
    def device(self) -> None:
        """The device: None, as no network is run."""

    @property
    def batch(self) -> int:
        """Images of a run."""
        return BATCH

    @property
    def priced_runtime(self) -> None:
        """None: its formula is of no runtime that is shipped."""
        return None

    @property
    def description(self) -> str:
        """The GPU in words, for every table and file."""
        return f"{self.name}: formula of the paper's GTX 1080Ti · cuDNN 7.0 · batch {BATCH}"

    def estimate(self, network: Network) -> Latency:
        """Return the latency of `network` for a batch of 8 images.

        Raises:
            MeasurementError: No published network has such an input or operator; names it.
        """
        graph = self.graph_of(network)
        ms = _ms(terms_of_graph(self._covered(graph), BATCH))
        note = (
            f"emulated by {len(FITTED)} numbers fitted to {ERROR.networks} speeds that the paper "
            f"publishes, off by {ERROR.unseen:.1%} in the mean and {WORST_UNSEEN:.0%} at worst on "
            f"families of Table 8 unseen, by {TABLE_8_UNSEEN:.1%} in the mean with the table "
            "unseen"
        )
        if not FLOPS[0] <= cost_of(graph).flops <= FLOPS[1]:
            least, most = (flops / 1e6 for flops in FLOPS)
            note += f"; beyond the published {least:.0f} to {most:.0f} MFLOPs, so less certain"
        return Latency(
            ms=ms,
            ci_ms=None,
            p95_ms=None,
            provenance=self.provenance,
            device=self.description,
            runs=None,
            contended=None,
            note=note,
        )

    def uncovered(self, network: Network) -> list[str]:
        """Name the input and the kinds of kernels that no published network has, each once."""
        return _uncovered(self.graph_of(network))

    def _covered(self, graph: Graph) -> Graph:
        """Return the graph, or refuse it."""
        missing = _uncovered(graph)
        if not missing:
            return graph
        least, most = SIDES
        raise MeasurementError(
            f"{self.description}: no price for {', '.join(missing)}: the published networks have "
            f"square inputs of {CHANNELS} channels and {least} to {most} pixels, and the "
            "operators of Tables 1 to 4 and 8; measure on a real GPU"
        )

    def graph_of(self, network: Network) -> Graph:
        """Return the operators as written: the paper's networks ran with their shuffles."""
        return graph_in_form(network, LOWERING)

    def kernel_times(self, network: Network) -> list[NodeTime]:
        """Price each kernel; the time that no kernel explains is left out.

        Raises:
            MeasurementError: As `estimate`.
        """
        pieces = gpu_kernels(self._covered(self.graph_of(network)))
        return [
            NodeTime(one.kernel.ops[0], one.kernel.key, 1e3 * _ms(terms_of(one, BATCH)))
            for one in pieces
        ]

    def operator_shares(self, network: Network) -> dict[str, float]:
        """Split the time over kinds of operator, and the images.

        Raises:
            MeasurementError: As `estimate`.
        """
        graph = self._covered(self.graph_of(network))
        costs = [(one.kernel, _ms(terms_of(one, BATCH))) for one in gpu_kernels(graph)]
        images = FITTED.images * BATCH
        images /= images + sum(cost for _, cost in costs)
        shares = {kind: share * (1 - images) for kind, share in shares_of(costs).items()}
        return {"images": images, **shares}

    def identity(self) -> TargetIdentity:
        """Identify the formula."""
        digest = hashlib.sha256(repr((TILE, FITTED)).encode()).hexdigest()[:16]
        return TargetIdentity(digest, f"batch {BATCH}", LOWERING, self.description)

    def with_plan(self, **changes: Any) -> Self:
        """Accept batch 8 and float32, which the formula is for.

        Raises:
            ConfigError: A field of a plan is changed.
        """
        held = {"batch": BATCH, "precision": "fp32"}
        for field, value in changes.items():
            if field not in held:
                raise no_plan(self.name, field, value)
            if value != held[field]:
                allowed = f"must be {held[field]}, as in the published speeds of {self.name}"
                raise ConfigError(f"plan.{field}", value, allowed)
        return self

    def corrected(self, reference_ms: float) -> Self:
        """Return the target itself: a formula does not drift."""
        return self

    def close(self) -> None:
        """Do nothing: no device is held."""


def _uncovered(graph: Graph) -> list[str]:
    entry = graph.input
    side = f"{entry.height}x{entry.width}x{entry.channels}"
    least, most = SIDES
    fits = entry.channels == CHANNELS and entry.height == entry.width
    missing = [] if fits and least <= entry.height <= most else [f"an input of {side}"]
    kinds = dict.fromkeys(piece.kernel.kind for piece in gpu_kernels(graph))
    return missing + [kind for kind in kinds if kind not in KINDS]
