"""The shipped tables against the paper's networks and experiments, emulated whole, in float32.

    python benchmarks/arm_published.py FOLDER   # an hour; FOLDER as calibration uses it

The grid is chosen for these networks, but no table was fitted to them whole. Each also runs once
with profiling, at a small input, to see that onnxruntime runs the kernels that we foresee.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from arm_networks import emulated_cycles, experiments, networks

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.fit import Overhead, samples
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.calibration.table_file import emulate
from nas_sv2.latency.calibration.workshop import Workshop, prepare
from nas_sv2.latency.emulated.arm_cores import CORES, Core
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork

SMALL = 64  # input at which all of them still have pixels
CORE = CORES["cortex-a57"]


def main() -> None:
    """Print what is not foreseen, then each network's error, the mean and the worst."""
    shop = prepare(Path(sys.argv[1]))
    _check_kernels(shop)
    points = [*networks(), *experiments()]
    errors = {core.title: _errors(shop, core, points) for core in CORES.values()}
    print(f"{'':34s} " + " ".join(f"{title:>10s}" for title in errors))
    for index, point in enumerate(points):
        figures = " ".join(f"{found[index]:+10.2%}" for found in errors.values())
        print(f"{point.name:34s} {figures}")
    for name, figure in (("mean", np.mean), ("worst", np.max)):
        figures = " ".join(f"{figure(np.abs(found)):10.2%}" for found in errors.values())
        print(f"{name:34s} {figures}")


def _check_kernels(shop: Workshop) -> None:
    points = [Point(name, PaperNetwork(name, SMALL).graph) for name in STRUCTURES]
    points += experiments()
    runs = emulate(shop, CORE, "fp32", "foreseen", points, profile=True)
    bad = 0
    for point, run in zip(points, runs, strict=True):
        try:
            list(samples(point.graph, run, Overhead(0, 0, 0, 0), "fp32"))
        except MeasurementError as error:
            bad += 1
            print(f"not foreseen: {error}")
    print(f"{len(points) - bad} of {len(points)} networks run the kernels that are foreseen")


def _errors(shop: Workshop, core: Core, points: Sequence[Point]) -> list[float]:
    table = KernelTable.load(core.name)
    return [
        sum(map(table.cycles, kernels_of(point.graph))) / cycles - 1
        for point, cycles in zip(points, emulated_cycles(shop, core, points), strict=True)
    ]


if __name__ == "__main__":
    main()
