"""The catalogue: real devices, emulated by published figures of the very device.

Nobody here has measured these devices. Others published latencies of networks that we express, on
one core of the device (`catalogue.yaml` has them, with their sources). The kernels of an emulated
core are scaled to them; the error of the fit is part of every note. Figures of TensorFlow Lite and
ncnn are met by the kernels of LiteRT and ncnn where these are known in their precision. Kernels of
onnxruntime stand for any other runtime. A core without a table of its own takes that of the
nearest core.

The paper's GPU has no table of kernels. It is a formula, fitted to the paper's own figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

import msgspec

from nas_sv2.latency.devices.open_device import Notify
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice
from nas_sv2.latency.emulated.arm_cores import FITS, core_named
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime
from nas_sv2.latency.targets.entries import Execution, Opening, TargetInfo, runs_nothing
from nas_sv2.plain_data import parse_yaml
from nas_sv2.space.families.published import published_network
from nas_sv2.space.networks.lowering import lower

if TYPE_CHECKING:
    from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
    from nas_sv2.latency.emulated.gtx_1080ti import EmulatedGtx1080Ti
    from nas_sv2.latency.emulated.scale import ScaleError
    from nas_sv2.latency.measurements.store import MeasurementStore

RUNTIMES: Mapping[str, ArmRuntime] = {"TensorFlow Lite 2.10": "litert", "ncnn": "ncnn"}
"""The runtimes of published figures whose kernels are known. LiteRT had another name."""


@dataclass(frozen=True, slots=True)
class CatalogueDevice:
    """A real device with published latencies: one thread, batch 1, 224×224. It is a `TargetEntry`.

    Attributes:
        name: For `--target`.
        title: The device in words.
        core: The core in words, with its clock.
        table: The name of the emulated core whose kernels are scaled.
        runtime: The runtime of the figures.
        precision: The number format of the figures, and of the kernels.
        source: The address of the figures.
        ms: The published latency of each network, in ms.
    """

    name: str
    title: str
    core: str
    table: str
    runtime: str
    precision: ArmPrecision
    source: str
    ms: dict[str, float]

    @property
    def kernels(self) -> ArmRuntime:
        """The runtime whose kernels are scaled: that of the figures, if they are known."""
        own = RUNTIMES.get(self.runtime, "onnxruntime")
        fit = FITS.get(own, {}).get(self.table)
        return own if fit and fit.precision == self.precision else "onnxruntime"

    @property
    def what(self) -> str:
        """The device in words, for tables."""
        by = core_named(self.table).title
        near = "" if self.core.startswith(by) else f" by the table of the {by}"
        return f"{self.title}: {self.core}{near}, emulated"

    @property
    def plan(self) -> None:
        """Give None: nothing is ever measured under this name."""

    @property
    def execution(self) -> Execution:
        """Give the runtime and precision of the kernels, for one image at a time."""
        return Execution(self.kernels, self.precision)

    @property
    def needs_device(self) -> bool:
        """Whether the target has to run networks: never."""
        return False

    def open(self, opening: Opening) -> "EmulatedArm":
        """Read the table of the core, and scale it to the published figures."""
        from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
        from nas_sv2.latency.emulated.kernel_table import KernelTable

        cycles_per_ms, error = self._fit()
        note = (
            f"scaled to {error.networks} published figures of {self.runtime}, {self.precision}, "
            f"on this device, off by {error.typical:.1%} in the mean, {error.worst:.0%} at worst "
            f"and {error.unseen:.1%} on a network unseen"
        )
        own = KernelTable.load(self.table, self.precision, self.kernels)
        table = own.with_scale(cycles_per_ms, note)
        return EmulatedArm(table, self.name, one_precision=True)

    def device(self, store: "MeasurementStore | None", notify: Notify) -> ReconnectingDevice:
        """Refuse: there is no device."""
        raise runs_nothing(self.name, "emulated")

    def describe(self) -> TargetInfo:
        """Describe the device."""
        return TargetInfo(self.name, self.what, "emulated", True)

    @property
    def error(self) -> "ScaleError":
        """The distance of the scaled core to the published figures."""
        return self._fit()[1]

    def _fit(self) -> tuple[float, "ScaleError"]:
        """Return the cycles per ms of the device, and the error of the fit."""
        from nas_sv2.latency.emulated.kernel_table import KernelTable
        from nas_sv2.latency.emulated.scale import refit_scale

        table = KernelTable.load(self.table, self.precision, self.kernels)
        # The networks ran as they were published, with their shuffles.
        pairs = [(lower(published_network(name)), ms) for name, ms in self.ms.items()]
        return refit_scale(table, pairs)


@dataclass(frozen=True, slots=True)
class PaperGpu:
    """The paper's GPU as a formula, for batches of 8. It is a `TargetEntry`, and never `gpu`.

    Attributes:
        name: For `--target`.
        what: The GPU in words, for tables.
        runtime: The library of the figures.
        precision: The number format of the figures.
        source: The address of the figures.
    """

    name: str = "gtx-1080ti"
    what: str = "GTX 1080Ti of the ShuffleNet V2 paper, batch 8, by a formula, emulated"
    runtime: str = "cuDNN 7.0"
    precision: Literal["fp32"] = "fp32"
    source: str = "https://arxiv.org/abs/1807.11164"

    @property
    def plan(self) -> None:
        """Give None: nothing is ever measured under this name."""

    @property
    def execution(self) -> None:
        """Give None: its runtime is no longer shipped."""

    @property
    def needs_device(self) -> bool:
        """Whether the target has to run networks: never."""
        return False

    @property
    def error(self) -> "ScaleError":
        """The distance of the formula to the published figures."""
        from nas_sv2.latency.emulated.gtx_1080ti import ERROR

        return ERROR

    def open(self, opening: Opening) -> "EmulatedGtx1080Ti":
        """Give the formula."""
        from nas_sv2.latency.emulated.gtx_1080ti import EmulatedGtx1080Ti

        return EmulatedGtx1080Ti(self.name)

    def device(self, store: "MeasurementStore | None", notify: Notify) -> ReconnectingDevice:
        """Refuse: there is no device."""
        raise runs_nothing(self.name, "emulated")

    def describe(self) -> TargetInfo:
        """Describe the GPU."""
        return TargetInfo(self.name, self.what, "emulated", True)


@cache
def catalogue() -> Mapping[str, CatalogueDevice | PaperGpu]:
    """Return the devices by name."""
    text = resources.files("nas_sv2.latency.targets").joinpath("catalogue.yaml").read_text("utf-8")
    devices = msgspec.convert(parse_yaml(text), list[CatalogueDevice])
    gpu = PaperGpu()
    return {**{device.name: device for device in devices}, gpu.name: gpu}
