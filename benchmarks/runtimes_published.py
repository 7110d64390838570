"""Emulated cores in LiteRT and ncnn against published speeds, and the best cost of memory.

    python benchmarks/runtimes_published.py    # seconds; nothing runs

The figures are those of the catalogue whose runtime and precision have kernels of their own. The
networks ran as they were published. Each device has one scale. A core without a table of its own
takes that of a near one: Cortex-A72, A73 and A75 that of the Cortex-A57. Every device is also
judged by a cost of memory that was fitted without it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_sv2.latency.emulated.arm_cores import CORES, FITS, precisions_known
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.latency.emulated.scale import least_error_scale
from nas_sv2.latency.kernels.kernel import ArmRuntime
from nas_sv2.latency.targets.catalogue import CatalogueDevice, catalogue
from nas_sv2.space.families.published import published_network
from nas_sv2.space.networks.lowering import lower

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
    """Print the error of each device by kernels, and the cost of memory that fits best."""
    for runtime, fits in FITS.items():
        groups: dict[str, list[CatalogueDevice]] = {}
        for device in catalogue().values():
            if isinstance(device, CatalogueDevice) and device.kernels == runtime:
                groups.setdefault(fits[device.table].devices, []).append(device)
        for title, devices in groups.items():
            _print_group(f"{runtime}, {title}", devices, runtime)
    for runtime in ("onnxruntime", *FITS):
        for core in FITS.get(runtime, CORES):
            precision = precisions_known(core, runtime)[0]
            target = EmulatedArm.open(core, precision, runtime=runtime)
            ms = [target.estimate(published_network(name)).ms for name in PAIR]
            faster = f"{PAIR[1]} is {ms[0] / ms[1]:.2f} times as fast as {PAIR[0]}"
            print(f"{core} {runtime} {precision}: {faster}")


def _print_group(title: str, devices: Sequence[CatalogueDevice], runtime: ArmRuntime) -> None:
    print(f"{title}: the best cost of memory is {_best(devices, runtime):.2f} cycles for a byte")
    for device in devices:
        others = [each for each in devices if each is not device]
        shipped = KernelTable.load(device.table, device.precision, runtime)
        cases = {
            "onnxruntime": KernelTable.load(device.table),
            "without memory": _with_memory(shipped, 0.0),
            "as shipped": shipped,
            "memory by the others": _with_memory(shipped, _best(others, runtime)),
        }
        for name, table in cases.items():
            fit = _fit(device, table)
            errors = " ".join(f"{error:+6.1%}" for error in fit.errors)
            print(f"  {device.name:22s} {name:20s} {fit.mean:5.1%} {fit.of_clock:5.0%}  {errors}")


def _best(devices: Sequence[CatalogueDevice], runtime: ArmRuntime) -> float:
    """The cycles for a byte with the least mean of the devices' errors."""
    tables = [KernelTable.load(device.table, device.precision, runtime) for device in devices]

    def error(per_byte: float) -> float:
        fits = map(_fit, devices, [_with_memory(table, per_byte) for table in tables])
        return float(np.mean([fit.mean for fit in fits]))

    return float(min(CYCLES_PER_BYTE, key=error))


def _with_memory(table: KernelTable, per_byte: float) -> KernelTable:
    return dataclasses.replace(table, cycles_per_byte=per_byte)


def _fit(device: CatalogueDevice, table: KernelTable) -> Fit:
    graphs = [lower(published_network(name)) for name in device.ms]
    cycles = [sum(map(table.cycles, table.kernels(graph))) for graph in graphs]
    ms = list(device.ms.values())
    scale = least_error_scale(cycles, ms)
    ghz = float(device.core.rpartition(", ")[2].removesuffix(" GHz"))
    return Fit(np.array(cycles) * scale / np.array(ms) - 1, 1 / scale / 1e6 / ghz)


if __name__ == "__main__":
    main()
