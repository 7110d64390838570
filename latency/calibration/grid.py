"""The calibration grid of a precision: tiny graphs, each with a kernel or two to price."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from nas_sv2.latency.calibration.float32_grid import float32_points, float32_vectors, stem_points
from nas_sv2.latency.calibration.int8_grid import int8_points, int8_vectors
from nas_sv2.latency.calibration.point import Point, graph_of, image, maps
from nas_sv2.latency.calibration.published_grid import published_batches
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.graph.operators import GraphBuilder

# Sides of the inputs whose maps are calibrated, the paper's first.
RESOLUTIONS = (224, 192, 160, 128, 256, 96, 64, 32)
STEM_WIDTHS = (8, 16, 24, 31, 33, 48, 64)
INT8_STEM_WIDTHS = (*STEM_WIDTHS, 21, 44)  # more remainders by 8


def batches(precision: ArmPrecision, resolutions: Sequence[int]) -> dict[str, tuple[Point, ...]]:
    """Return the grid in batches by name, each one or two minutes of emulation."""
    fp32 = precision == "fp32"
    found = {"vectors": tuple(float32_vectors() if fp32 else int8_vectors())}
    seen: set[int] = set()
    for resolution in resolutions:
        points = [*stem_points(resolution, STEM_WIDTHS if fp32 else INT8_STEM_WIDTHS)]
        for side in maps(resolution):
            if side not in seen:
                points += float32_points(side) if fp32 else int8_points(side)
                seen.add(side)
        found[f"input_{resolution}"] = tuple(points)
    return found | published_batches(resolutions, _priced(found)) if fp32 else found


def _priced(grid: Mapping[str, Sequence[Point]]) -> Mapping[str, set[tuple[str, ...]]]:
    """Collect the functions fused to the kernels of a grid, by key."""
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for points in grid.values():
        for point in points:
            for kernel in kernels_of(point.graph):
                if point.priced in ("", kernel.key):
                    found[kernel.key].add(kernel.fused)
    return found


def overhead_points(precision: ArmPrecision, resolutions: Sequence[int]) -> tuple[Point, ...]:
    """Return the smallest points, on which profiling weighs most; they also run unprofiled."""
    side, first = maps(resolutions[0])[-1], f"input_{resolutions[0]}"
    found = batches(precision, resolutions[:1])
    smallest = (point for point in found[first] if point.graph.input.height == side)
    return (*found["vectors"], *smallest)


def output_pairs(precision: ArmPrecision) -> Iterator[tuple[Point, Point]]:
    """Yield pairs of one kernel at the end of a graph and before another kernel.

    There are none for int8, whose graphs all end in a transpose.
    """
    if precision == "int8":
        return
    for side in (28, 14, 7, 4):
        for channels in (16, 58):
            for kernel in (1, 3):
                pair = []
                for name in ("ends", "goes_on"):
                    build, source = GraphBuilder(), image(channels, side)
                    value = build.conv("conv", source, channels, kernel, depthwise=kernel > 1)
                    if name == "goes_on":
                        build.max_pool("pool", value)
                    pair.append(graph_of(f"{name}_{side}_{channels}_{kernel}", build, source))
                yield pair[0], pair[1]
