"""The shipped tables against whole networks at inputs that no table has, emulated directly.

    python benchmarks/arm_sizes.py FOLDER PRECISION [CORE ...]   # FOLDER as calibration uses it

Random networks of the named spaces, of odd widths, references and, in float32, networks of the
paper, at random inputs from 16 to 1024 pixels, square or not, with 1 to 4 channels; every other
one without shuffles. No formula was fitted to them. Each runs whole and unprofiled.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from arm_heldout import REFERENCES, errors_of

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.calibration.map_grid import at_some_input, network_points
from nas_sv2.latency.calibration.space_grid import Point
from nas_sv2.latency.calibration.workshop import prepare
from nas_sv2.latency.emulated.arm_cores import CORES
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

SEED = 31
EACH_SPACE, ODD = 2, 8
EACH_PUBLISHED = 4  # of those every fourth
MOST_FLOPS = 120e6


def main() -> None:
    """Print each network's error, then the mean and the worst of each core."""
    shop, precision = prepare(Path(sys.argv[1])), _precision(sys.argv[2])
    points = []
    for point in networks(precision):
        try:
            for kernel in kernels_of(point.graph, precision):
                KernelTable.load(precision=precision).cycles(kernel)
            points.append(point)
        except MeasurementError as refusal:
            print(f"refused: {point.name}: {refusal}")
    for name in sys.argv[3:] or CORES:
        errors = errors_of(shop, CORES[name], precision, "sizes", points)
        table = KernelTable.load(name, precision)
        for point, error in zip(points, errors, strict=True):
            kernels = kernels_of(point.graph, precision)
            by_formula = f"{sum(map(table.is_by_formula, kernels))}/{len(kernels)}"
            mflops = cost_of(point.graph).flops / 1e6
            print(f"{point.name:47s} {mflops:6.1f} {by_formula:>8s} {error:+8.2%}")
        sizes = np.abs(errors)
        print(f"{name} {precision}: {len(sizes)} networks, mean {sizes.mean():.2%}, ", end="")
        print(f"worst {sizes.max():.2%}, above 3 %: {(sizes > 0.03).sum()}", flush=True)


def _precision(text: str) -> ArmPrecision:
    return "int8" if text == "int8" else "fp32"


def networks(precision: ArmPrecision) -> Iterator[Point]:
    """Random networks, references, and published networks at random inputs."""
    yield from network_points(SEED, EACH_SPACE, ODD, MOST_FLOPS)
    generator = random.Random(SEED)
    named = {name: lower(reference(name)) for name in REFERENCES}
    if precision == "fp32":
        some = list(STRUCTURES)[1::EACH_PUBLISHED]
        named |= {name: PaperNetwork(name).graph for name in some}
    for name, graph in named.items():
        moved = at_some_input(graph, generator, MOST_FLOPS)
        if moved:
            image = moved.input
            yield Point(f"{name}_at_{image.height}x{image.width}x{image.channels}", moved)


if __name__ == "__main__":
    main()
