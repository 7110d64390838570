"""An emulated ARM core: latencies that are sums of the kernel costs of a table (`kernel_table`).

Nothing is emulated here. One scale turns cycles into milliseconds. It was fitted to the paper's
published ARM speeds for the Cortex-A57, and is assumed for other cores. Caches and branch misses
are not modelled. The latencies are `emulated`, never `measured`.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.emulated.analytic import second_opinion
from nas_sv2.latency.emulated.arm_cores import check_kernels_known, core_named
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime
from nas_sv2.latency.kernels.node_costs import shares_of
from nas_sv2.latency.kernels.of_graph import graph_in_form
from nas_sv2.latency.measurements.fingerprint import TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, NodeTime, Provenance
from nas_sv2.latency.measurements.plan import Lowering, no_plan
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.onnx_models.model import OnnxModel

FITTED = ("cortex-a57", "onnxruntime", "fp32")
"""The core, runtime and precision of the analytic model, which does not hold for others."""


@dataclass(frozen=True, slots=True)
class EmulatedArm:
    """A target whose latencies come from a table of kernel costs.

    Attributes:
        table: The costs.
        name: The user's name for the target.
        lowering: The form of the networks; by default the one that is measured and shipped.
        file: The file of the table; None for the shipped table.
        one_precision: Whether the scale holds in the table's precision alone.
    """

    table: KernelTable
    name: str = "arm"
    lowering: Lowering = "shuffle_free"
    file: Path | None = None
    one_precision: bool = False

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
        runtime: ArmRuntime = "onnxruntime",
    ) -> Self:
        """Open the target of a core.

        Args:
            core: One of `arm_cores.CORE_NAMES`.
            precision: The number format of the networks.
            name: The user's name for the target.
            lowering: The form of the networks.
            file: A table that `calibrate` wrote, in place of the shipped one.
            clock_ghz: The core's clock in GHz; None for the clock of the typical board.
            runtime: The runtime of the networks.

        Raises:
            ConfigError: The core is unknown, the runtime has no kernels in that precision, or the
                file is of another core or runtime.
            DeviceError: The file cannot be used.
        """
        chosen = core_named(core)
        check_kernels_known(core, runtime, precision)
        table = KernelTable.load(file or core, precision, runtime)
        if table.metadata["core"] != core:
            allowed = f"must be {table.metadata['core']}, the core that {file} is of"
            raise ConfigError("core", core, allowed)
        if clock_ghz is not None:
            share = chosen.efficiency(runtime)
            why = f"ms assume {share:.0%} of {clock_ghz:g} GHz, which is not checked"
            table = table.with_scale(chosen.cycles_per_ms(clock_ghz, runtime), why)
        return cls(table, name, lowering, file)

    def _at(self, precision: ArmPrecision) -> Self:
        """Return the same core in another precision, with the same clock."""
        own, core = self.table, str(self.table.metadata["core"])
        check_kernels_known(core, own.runtime, precision)
        table = KernelTable.load(self.file or core, precision, own.runtime)
        as_written = KernelTable.load(self.file or core, own.precision, own.runtime)
        if own.cycles_per_ms != as_written.cycles_per_ms:
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
    def batch(self) -> int:
        """Images of a run: one."""
        return 1

    @property
    def priced_runtime(self) -> str:
        """The runtime of the table."""
        return self.table.runtime

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
        kernels = self.table.kernels(graph)
        ms = sum(map(self.table.cycles, kernels)) / self.table.cycles_per_ms
        notes = [self.table.note]
        beyond = sum(map(self.table.extrapolates, kernels))
        if beyond:
            notes.append(f"{beyond} of {len(kernels)} kernels beyond the calibrated channels")
        if by_formula := sum(map(self.table.is_by_formula, kernels)):
            notes.append(f"{by_formula} of {len(kernels)} kernels by a formula of the map")
        if self.is_fitted:
            slower = core_named(FITTED[0]).cycles_per_ms() / self.table.cycles_per_ms
            notes.append(second_opinion(graph, ms, slower))
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

    @property
    def is_fitted(self) -> bool:
        """Whether the analytic model holds for this table."""
        table = self.table
        return (table.metadata["core"], table.runtime, table.precision) == FITTED

    def uncovered(self, network: Network) -> list[str]:
        """Name the kernels that the table lacks, each once; empty if `estimate` gives a latency.

        A kernel is named by its kind if the table lacks the kind, else by its kind and map.
        """
        kinds = {*self.table.formulas, *(key.rpartition(" @")[0] for key in self.table.entries)}
        missing: dict[str, None] = {}
        for kernel in self.table.kernels(self.graph_of(network)):
            try:
                self.table.cycles(kernel)
            except MeasurementError:
                name = kernel.key if kernel.kind in kinds else kernel.kind
                missing[" with ".join([name, *kernel.fused])] = None
        return list(missing)

    def graph_of(self, network: Network) -> Graph:
        """Return the operators in the form that the table prices.

        Raises:
            ConfigError: The network is an ONNX file, and the runtime reads none.
        """
        if isinstance(network, OnnxModel) and self.table.runtime != "onnxruntime":
            allowed = (
                f"must be onnxruntime to run {network.file}; choose a target with onnxruntime"
            )
            raise ConfigError("runtime", self.table.runtime, allowed)
        return graph_in_form(network, self.lowering)

    def kernel_times(self, network: Network) -> list[NodeTime]:
        """Price each kernel; an operator fused into another's kernel has no time of its own.

        Raises:
            MeasurementError: As `estimate`.
        """
        us = 1e3 / self.table.cycles_per_ms
        kernels = self.table.kernels(self.graph_of(network))
        return [NodeTime(k.ops[0], k.key, us * self.table.cycles(k)) for k in kernels]

    def operator_shares(self, network: Network) -> dict[str, float]:
        """Split the time over kinds of operator.

        Raises:
            MeasurementError: As `estimate`.
        """
        kernels = self.table.kernels(self.graph_of(network))
        return shares_of((kernel, self.table.cycles(kernel)) for kernel in kernels)

    def identity(self) -> TargetIdentity:
        """Identify the table and the form of the networks."""
        return TargetIdentity(self.table.digest, self.lowering, self.lowering, self.description)

    def with_plan(self, **changes: Any) -> Self:
        """Change the precision; nothing runs, so a plan has no other effect.

        Raises:
            ConfigError: Another field of a plan is changed.
            DeviceError: The table has no prices, or no scale, in that precision.
        """
        own = self.table.precision
        precision = changes.pop("precision", own)
        for field, value in changes.items():
            raise no_plan(self.name, field, value)
        if precision != own and self.one_precision:
            raise DeviceError(
                f"{self.name} is scaled to figures in {own}; none are in {precision}"
            )
        return self if precision == own else self._at(precision)

    def corrected(self, reference_ms: float) -> Self:
        """Return the target itself: costs of a table do not drift."""
        return self

    def close(self) -> None:
        """Do nothing: no device is held."""
