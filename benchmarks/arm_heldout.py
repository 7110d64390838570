"""The shipped tables against whole networks that no table has seen, emulated directly.

    python benchmarks/arm_heldout.py FOLDER     # 10 minutes; FOLDER as calibration uses it

Random networks of every shipped space, networks with odd widths, and reference networks, with
squeeze-and-excitation, residuals, wide fields and kernels of 3, 5 and 7; plain and shuffle-free,
at six resolutions, in float32 and int8. Each runs whole and unprofiled, and is priced for each
core.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.map_grid import odd_architecture
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.calibration.table_file import emulate
from nas_sv2.latency.calibration.workshop import Workshop, prepare
from nas_sv2.latency.emulated.arm_cores import CORES, PRECISIONS, Core
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

SEED = 2
EACH_SPACE, ODD = 4, 8
RESOLUTIONS = (224, 160, 128, 192, 96, 64)
SMALLEST = 32
MOST_FLOPS = 700e6  # about eight seconds of emulation
REFERENCES = (
    "shufflenet_v2_x1_0", "shufflenet_v2_se_x1_0", "shufflenet_v2_residual_x1_0",
    "shufflenet_v2_star_x0_5", "torchvision_shufflenet_v2_x1_0",
)  # fmt: skip


def main() -> None:
    """Print each network's error, then the mean and the worst of each core."""
    shop, everything = prepare(Path(sys.argv[1])), list(networks())
    for precision in PRECISIONS:
        points = [point for point in everything if _covered(point, precision)]
        errors = {
            core.title: errors_of(shop, core, precision, "heldout", points)
            for core in CORES.values()
        }
        print(f"{precision:47s} MFLOPs " + " ".join(f"{title:>10s}" for title in errors))
        for index, point in enumerate(points):
            mflops = cost_of(point.graph).flops / 1e6
            figures = " ".join(f"{found[index]:+10.2%}" for found in errors.values())
            print(f"{point.name:47s} {mflops:6.1f} {figures}")
        for name, figure in (("mean", np.mean), ("worst", np.max)):
            figures = " ".join(f"{figure(np.abs(found)):10.2%}" for found in errors.values())
            print(f"{name:54s} {figures}")
        print(f"{len(everything) - len(points)} networks are refused\n")


def _covered(point: Point, precision: ArmPrecision) -> bool:
    """Whether the tables, which cover the same, have all of its kernels."""
    try:
        _priced(point, KernelTable.load(precision=precision))
    except MeasurementError:
        return False
    return True


def _priced(point: Point, table: KernelTable) -> float:
    return sum(map(table.cycles, kernels_of(point.graph, table.precision)))


def errors_of(
    shop: Workshop, core: Core, precision: ArmPrecision, name: str, points: Sequence[Point]
) -> list[float]:
    """Emulate the points whole, as a batch of that name, and return the table's errors."""
    table = KernelTable.load(core.name, precision)
    runs = emulate(shop, core, precision, name, points, profile=False)
    per_run = table.metadata["overhead"]["per_run"]
    return [
        _priced(point, table) / (run.cycles - per_run) - 1
        for point, run in zip(points, runs, strict=True)
    ]


def networks() -> Iterator[Point]:
    """Every other one without shuffles, whatever it is drawn from."""
    for index, (name, architecture) in enumerate(_architectures()):
        graph = lower(architecture)
        if index % 2:
            graph = without_shuffles(graph, {})[0]
        yield Point(f"{name}_at_{graph.input.height}" + "_free" * (index % 2), graph)


def _architectures() -> Iterator[tuple[str, Architecture]]:
    generator = random.Random(SEED)
    for space in LEVELS.values():
        for index in range(EACH_SPACE):
            yield (
                f"{space.name}_{index}",
                _small(space.sample(RandomSuggester(generator)), generator),
            )
    for index in range(ODD):
        yield f"odd_{index}", _small(odd_architecture(generator), generator)
    for name in REFERENCES:
        yield name, reference(name)
        yield f"{name}_too", reference(name)


def _small(architecture: Architecture, generator: random.Random) -> Architecture:
    """At a resolution of which emulation does not take too long."""
    for side in generator.sample(RESOLUTIONS, len(RESOLUTIONS)):
        drawn = replace(architecture, resolution=side)
        if cost_of(lower(drawn)).flops < MOST_FLOPS:
            return drawn
    return replace(architecture, resolution=SMALLEST)


if __name__ == "__main__":
    main()
