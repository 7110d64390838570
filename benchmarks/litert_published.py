"""Emulated cores in LiteRT against published LiteRT speeds, and the cost of memory that fits them.

    python benchmarks/litert_published.py    # seconds; nothing runs

The figures are those of the catalogue that are of TensorFlow Lite in float32: MobileNet V1 and V2
on one core of a phone. Each device has one scale. A Cortex-A75 has no table of its own and takes
that of the Cortex-A57. Every device is also judged by a cost of memory that was fitted without it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.latency.emulated.scale import least_error_scale
from nas_sv2.latency.targets.catalogue import CatalogueDevice, catalogue
from nas_sv2.space.families.published import published_network

GROUPS = {"out of order": ("cortex-a57", "cortex-a76"), "in order": ("cortex-a55",)}
CYCLES_PER_BYTE = np.arange(0, 2.01, 0.05)
PAIR = "mobilenet_v2_x1_0", "shufflenet_v2_x1_5"
"""Networks of 300 M multiply-adds; others measured the second as 1.02 to 1.33 times as fast."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A device with one scale.

    Attributes:
        errors: Signed errors of the networks, as shares.
        of_clock: The scale as a share of the clock.
    """

    errors: np.ndarray
    of_clock: float

    @property
    def mean(self) -> float:
        """The mean error."""
        return float(np.abs(self.errors).mean())


def main() -> None:
    """Print the error of each device by runtime, and the cost of memory that fits best."""
    found = [
        device
        for device in catalogue().values()
        if isinstance(device, CatalogueDevice)
        and (device.runtime, device.precision) == ("TensorFlow Lite 2.10", "fp32")
    ]
    for title, cores in GROUPS.items():
        _print_group(title, [device for device in found if device.table in cores])
    for core in (core for cores in GROUPS.values() for core in cores):
        for runtime in ("onnxruntime", "litert"):
            target = EmulatedArm.open(core, runtime=runtime)
            ms = [target.estimate(published_network(name)).ms for name in PAIR]
            print(f"{core} {runtime}: {PAIR[1]} is {ms[0] / ms[1]:.2f} times as fast as {PAIR[0]}")


def _print_group(title: str, devices: Sequence[CatalogueDevice]) -> None:
    print(f"{title}: the best cost of memory is {_best(devices):.2f} cycles for a byte")
    for device in devices:
        others = [each for each in devices if each is not device]
        shipped = KernelTable.load(device.table, runtime="litert")
        cases = {
            "onnxruntime": KernelTable.load(device.table),
            "litert without memory": dataclasses.replace(shipped, cycles_per_byte=0.0),
            "litert": shipped,
            "litert, fitted to the others": _with_memory(shipped, _best(others)),
        }
        for name, table in cases.items():
            fit = _fit(device, table)
            errors = " ".join(f"{error:+6.1%}" for error in fit.errors)
            print(f"  {device.name:16s} {name:28s} {fit.mean:5.1%} {fit.of_clock:5.0%}  {errors}")


def _best(devices: Sequence[CatalogueDevice]) -> float:
    """The cycles for a byte with the least mean of the devices' errors."""

    def error(per_byte: float) -> float:
        return float(np.mean([_fit(device, _table(device, per_byte)).mean for device in devices]))

    return float(min(CYCLES_PER_BYTE, key=error))


def _table(device: CatalogueDevice, per_byte: float) -> KernelTable:
    return _with_memory(KernelTable.load(device.table, runtime="litert"), per_byte)


def _with_memory(table: KernelTable, per_byte: float) -> KernelTable:
    return dataclasses.replace(table, cycles_per_byte=per_byte)


def _fit(device: CatalogueDevice, table: KernelTable) -> Fit:
    graph_of = EmulatedArm(table).graph_of
    graphs = [graph_of(published_network(name)) for name in device.ms]
    cycles = [sum(map(table.cycles, table.kernels(graph))) for graph in graphs]
    ms = list(device.ms.values())
    scale = least_error_scale(cycles, ms)
    ghz = float(device.core.rpartition(", ")[2].removesuffix(" GHz"))
    return Fit(np.array(cycles) * scale / np.array(ms) - 1, 1 / scale / 1e6 / ghz)


if __name__ == "__main__":
    main()
