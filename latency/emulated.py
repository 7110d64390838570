"""Milliseconds on an ARM Cortex-A57 without having one: a table of kernel costs, summed.

The table holds cycles per kernel of onnxruntime's aarch64 build. The kernels ran under an emulator
that counted basic blocks, and LLVM's scheduling model of the core turned blocks into cycles
(`benchmarks/arm_table` rebuilds it). Nothing is emulated here: a kernel's cost is a few products
of its channel counts. One scale, fitted to the paper's published ARM speeds, turns cycles into
milliseconds. Caches and branch misses are not modelled; what comes out is `emulated`, never
`measured`.

A kernel or map size that the table lacks is an error that names it, never a silent zero.
"""

from dataclasses import dataclass, field

from nas_sv2.latency.kernel_table import Table
from nas_sv2.latency.kernels import kernels_of
from nas_sv2.latency.measurement import Latency, Provenance
from nas_sv2.latency.plan import Lowering
from nas_sv2.space.architecture import Architecture
from nas_sv2.space.graph import Graph
from nas_sv2.space.lowering import lower
from nas_sv2.space.shuffle_free import without_shuffles


@dataclass(frozen=True, slots=True)
class EmulatedA57:
    """A target that prices networks from the shipped table.

    Attributes:
        table: The costs.
        lowering: Which form is priced; by default the one that is measured and shipped.
    """

    table: Table = field(default_factory=Table.load)
    lowering: Lowering = "shuffle_free"

    @property
    def name(self) -> str:
        """What the user calls it."""
        return "arm"

    @property
    def provenance(self) -> Provenance:
        """Always emulated."""
        return "emulated"

    @property
    def device(self) -> str:
        """The device in words, for every table and file."""
        return str(self.table.metadata["device"])

    def estimate(self, architecture: Architecture) -> Latency:
        """The latency of one image through `architecture`.

        Raises:
            MeasurementError: The table lacks one of its kernels; the message names it.
        """
        graph = lower(architecture)
        if self.lowering == "shuffle_free":
            graph, _ = without_shuffles(graph, {})
        kernels = kernels_of(graph)
        cycles = sum(map(self.table.cycles, kernels))
        note = str(self.table.metadata["published"]["note"])
        beyond = sum(map(self.table.extrapolates, kernels))
        if beyond:
            note += f"; {beyond} of {len(kernels)} kernels beyond the calibrated channels"
        return Latency(
            ms=cycles / self.table.cycles_per_ms,
            ci_ms=None,
            p95_ms=None,
            provenance=self.provenance,
            device=self.device,
            runs=None,
            contended=None,
            note=note,
        )

    def price(self, graph: Graph) -> list[tuple[str, float]]:
        """Operator and cycles; an operator fused into another's kernel is not listed.

        Raises:
            MeasurementError: As `estimate`.
        """
        return [(kernel.ops[0], self.table.cycles(kernel)) for kernel in kernels_of(graph)]

    def close(self) -> None:
        """Nothing is held open."""
