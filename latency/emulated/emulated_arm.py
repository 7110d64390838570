"""Latencies of an ARM core without the core: costs of kernels from a table, summed.

The table holds cycles per kernel of onnxruntime's aarch64 build. The kernels ran under an emulator
that counted basic blocks, and LLVM's scheduling model of the core turned blocks into cycles
(`calibration` rebuilds the table). Nothing is emulated here: a kernel's cost is a few products of
its channel counts. One scale turns cycles into milliseconds. It was fitted to the paper's
published ARM speeds for the Cortex-A57, and is assumed for other cores. Caches and branch misses
are not modelled. The latencies are `emulated`, never `measured`.

A kernel or map size that the table lacks is an error that names it, never a silent zero.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.emulated.arm_cores import EFFICIENCY, core_named
from nas_sv2.latency.emulated.kernel_table import Table
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.kernels.node_costs import shares_of
from nas_sv2.latency.kernels.of_graph import graph_in_form, kernels_of
from nas_sv2.latency.measurements.fingerprint import TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, NodeTime, Provenance
from nas_sv2.latency.measurements.plan import Lowering
from nas_sv2.space.graph.cost import is_depthwise, op_cost
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network

FITTED = ("cortex-a57", "fp32")
"""The core and precision of the analytic model, which does not hold for others."""


# A second opinion on an emulated latency, from three counts alone.
#
#     ms = DENSE · dense multiply-adds + DEPTHWISE · depthwise multiply-adds + ELEMENTWISE · bytes
#
# The three were fitted to the same 18 published ARM speeds as the scale of the emulated Cortex-A57
# (`benchmarks/arm_fidelity.py` refits them). If both disagree, one kernel is unusually fast or
# slow, or the emulator is wrong, and the network should be measured.
MS_PER_DENSE_GMAC = 190.1
MS_PER_DEPTHWISE_GMAC = 2064.4
MS_PER_ELEMENTWISE_GB = 370.8
DISAGREEMENT = 1.3
"""The factor between both estimates beyond which they disagree.

Among 150 random networks of each named space, 95 % stay within 1.28 (40M), 1.23 (140M), 1.19
(300M), 1.16 (500M) and 1.12 (large). The largest factor was 1.44."""

AnalyticCounts = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class EmulatedArm:
    """A target whose latencies come from a table of kernel costs.

    Attributes:
        table: The costs.
        name: The user's name for the target.
        lowering: The form of the networks; by default the one that is measured and shipped.
        file: The file of the table; None for the shipped table.
    """

    table: Table
    name: str = "arm"
    lowering: Lowering = "shuffle_free"
    file: Path | None = None

    @classmethod
    def open(
        cls,
        core: str = "cortex-a57",
        precision: ArmPrecision = "fp32",
        *,
        name: str = "arm",
        lowering: Lowering = "shuffle_free",
        file: Path | None = None,
        clock_ghz: float | None = None,
    ) -> Self:
        """Open the target of a core.

        Args:
            core: One of `arm_cores.CORE_NAMES`.
            precision: The number format of the networks.
            name: The user's name for the target.
            lowering: The form of the networks.
            file: A table that `calibrate` wrote, in place of the shipped one.
            clock_ghz: The core's clock in GHz; None for the clock of the typical board.

        Raises:
            ConfigError: The core is unknown.
            DeviceError: The file cannot be used, or holds another core.
        """
        chosen = core_named(core)
        table = Table.load(file or core, precision)
        if table.metadata["core"] != core:
            raise DeviceError(f"{file} holds {table.metadata['core']}, not {core}")
        if clock_ghz is not None:
            why = f"ms assume {EFFICIENCY:.0%} of {clock_ghz:g} GHz, which is not checked"
            table = table.with_scale(chosen.cycles_per_ms(clock_ghz), why)
        return cls(table, name, lowering, file)

    def _at(self, precision: ArmPrecision) -> Self:
        """Return the same core in another precision, with the same clock."""
        own, core = self.table, str(self.table.metadata["core"])
        table = Table.load(self.file or core, precision)
        if own.cycles_per_ms != Table.load(self.file or core, own.precision).cycles_per_ms:
            table = table.with_scale(own.cycles_per_ms, own.note.removeprefix("emulated; "))
        return dataclasses.replace(self, table=table)

    @property
    def provenance(self) -> Provenance:
        """The origin of its latencies: emulated."""
        return "emulated"

    @property
    def device(self) -> None:
        """The device: None, as no network is run."""

    @property
    def description(self) -> str:
        """The core in words, for every table and file."""
        return f"{self.name}: {self.table.device}"

    def estimate(self, network: Network) -> Latency:
        """Return the latency of `network` for one image.

        Raises:
            MeasurementError: The table lacks a kernel; the message names it.
        """
        graph = self.graph_of(network)
        kernels = kernels_of(graph, self.table.precision)
        ms = sum(map(self.table.cycles, kernels)) / self.table.cycles_per_ms
        notes = [self.table.note]
        beyond = sum(map(self.table.extrapolates, kernels))
        if beyond:
            notes.append(f"{beyond} of {len(kernels)} kernels beyond the calibrated channels")
        if (self.table.metadata["core"], self.table.precision) == FITTED:
            notes.append(second_opinion(graph, ms))
        return Latency(
            ms=ms,
            ci_ms=None,
            p95_ms=None,
            provenance=self.provenance,
            device=self.description,
            runs=None,
            contended=None,
            note="; ".join(notes),
        )

    def uncovered(self, network: Network) -> list[str]:
        """Name the kernels that the table lacks, each once; empty if `estimate` gives a latency.

        A kernel is named by its kind if the table lacks the kind, else by its kind and map.
        """
        kinds = {key.rpartition(" @")[0] for key in self.table.entries}
        missing: dict[str, None] = {}
        for kernel in kernels_of(self.graph_of(network), self.table.precision):
            try:
                self.table.cycles(kernel)
            except MeasurementError:
                name = kernel.key if kernel.kind in kinds else kernel.kind
                missing[" with ".join([name, *kernel.fused])] = None
        return list(missing)

    def graph_of(self, network: Network) -> Graph:
        """Return the operators in the form that the table prices."""
        return graph_in_form(network, self.lowering)

    def kernel_times(self, network: Network) -> list[NodeTime]:
        """Price each kernel; an operator fused into another's kernel has no time of its own.

        Raises:
            MeasurementError: As `estimate`.
        """
        us = 1e3 / self.table.cycles_per_ms
        kernels = kernels_of(self.graph_of(network), self.table.precision)
        return [NodeTime(k.ops[0], k.key, us * self.table.cycles(k)) for k in kernels]

    def operator_shares(self, network: Network) -> dict[str, float]:
        """Split the time over kinds of operator.

        Raises:
            MeasurementError: As `estimate`.
        """
        kernels = kernels_of(self.graph_of(network), self.table.precision)
        return shares_of((kernel, self.table.cycles(kernel)) for kernel in kernels)

    def identity(self) -> TargetIdentity:
        """Identify the table and the form of the networks."""
        return TargetIdentity(self.table.digest, self.lowering, self.lowering, self.description)

    def with_plan(self, **changes: Any) -> Self:
        """Change the precision; nothing runs, so a plan has no other effect.

        Raises:
            ConfigError: Another field of a plan is changed.
            DeviceError: The table has no prices in that precision.
        """
        precision = changes.pop("precision", self.table.precision)
        for field, value in changes.items():
            sentence = f"cannot be set: {self.name} runs no network by a plan"
            raise ConfigError(f"plan.{field}", value, sentence)
        return self if precision == self.table.precision else self._at(precision)

    def corrected(self, reference_ms: float) -> Self:
        """Return the target itself: costs of a table do not drift."""
        return self

    def close(self) -> None:
        """Do nothing: no device is held."""


def counts_of(graph: Graph) -> AnalyticCounts:
    """Count dense and depthwise multiply-adds and element-wise bytes, each in 10⁹."""
    dense = depthwise = bytes_ = 0
    for op in graph.ops:
        cost = op_cost(op)
        if is_depthwise(op):
            depthwise += cost.flops
        else:
            dense += cost.flops
        bytes_ += cost.elementwise_bytes
    return dense / 1e9, depthwise / 1e9, bytes_ / 1e9


def analytic_ms(graph: Graph) -> float:
    """Estimate the latency on a Cortex-A57 from the three coefficients, in ms."""
    dense, depthwise, bytes_ = counts_of(graph)
    return (
        MS_PER_DENSE_GMAC * dense
        + MS_PER_DEPTHWISE_GMAC * depthwise
        + MS_PER_ELEMENTWISE_GB * bytes_
    )


def second_opinion(graph: Graph, emulated_ms: float) -> str:
    """Describe the analytic latency, and whether it disagrees with the emulated one."""
    ms = analytic_ms(graph)
    text = f"analytic {ms:.1f} ms"
    if max(ms / emulated_ms, emulated_ms / ms) > DISAGREEMENT:
        text += f", which disagrees by more than a factor of {DISAGREEMENT:g}: measure it"
    return text
