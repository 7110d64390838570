"""The calibration grid of a precision: tiny graphs, each with a kernel or two to price.

To the grid of our spaces it adds the kernels of published networks that our spaces lack. They are
found by lowering the networks (`space.families.published`) and the controlled experiments
(`space.experiments`); further entries there are calibrated as well. Each kind of kernel on a map
gets a few channel counts: those that occur and, if these are few, others around them.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nas_sv2.latency.calibration.space_grid import (
    Point,
    float32_points,
    float32_vectors,
    graph_of,
    image,
    int8_points,
    int8_vectors,
    maps,
    stem_points,
)
from nas_sv2.latency.kernels.kernel import ArmPrecision, Kernel
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.space.experiments.further import further_tables
from nas_sv2.space.experiments.paper import paper_tables
from nas_sv2.space.families.published import STRUCTURES, PaperNetwork
from nas_sv2.space.graph.cost import is_depthwise, op_cost
from nas_sv2.space.graph.operators import (
    Add,
    Concat,
    Conv,
    Function,
    Graph,
    GraphBuilder,
    Linear,
    Multiply,
    Op,
    Select,
    Shuffle,
    Split,
    Value,
)
from nas_sv2.space.graph.resizing import reading

OCCURRING = 6  # channel counts that occur, spread from the least to the most
# Fewest channel counts, so that a fit can leave one out. A kernel that keeps its channels has two
# terms, any other has four.
FEWEST_SAME, FEWEST = 4, 7
EACH_FUSION = 3  # fewest channel counts of each fusion
AROUND = ((1, 2), (2, 1), (2, 2), (4, 2), (2, 4), (0.5, 1), (1, 0.5), (0.5, 0.5), (0.25, 0.5))
MOST_FLOPS = 120e6  # of added channel counts: a second of emulation
ROWS = 4  # output channels that a matrix kernel takes at once

Channels = tuple[int, int]
Fused = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A kernel of a published network, and its first operator."""

    kernel: Kernel
    op: Op

    @property
    def channels(self) -> Channels:
        return self.kernel.channels_in, self.kernel.channels_out

    @property
    def keeps_channels(self) -> bool:
        return not isinstance(self.op.kind, Conv | Linear | Select) or is_depthwise(self.op)


def published_batches(
    resolutions: Sequence[int], covered: Mapping[str, Collection[Fused]]
) -> dict[str, tuple[Point, ...]]:
    """Return points for every kernel of the published networks and experiments, by map.

    Args:
        resolutions: Sides of the inputs; networks with other inputs are left out.
        covered: Functions fused to kernels that other points price, by the kernels' key.
    """
    seen: dict[str, list[_Seen]] = defaultdict(list)
    for graph in _graphs(resolutions):
        ops = {op.name: op for op in graph.ops}
        for kernel in kernels_of(graph):
            if kernel.fused not in covered.get(kernel.key, ()):
                seen[kernel.key].append(_Seen(kernel, ops[kernel.ops[0]]))
    found: dict[str, tuple[Point, ...]] = {}
    for key in sorted(seen):
        name = f"published_{seen[key][0].kernel.source.height}"
        found[name] = (*found.get(name, ()), *_points(seen[key]))
    return found


def _graphs(resolutions: Sequence[int]) -> Iterator[Graph]:
    for name, structure in STRUCTURES.items():
        if structure.resolution in resolutions:
            yield PaperNetwork(name, structure.resolution).graph
    sides = {side for resolution in resolutions for side in (resolution, *maps(resolution))}
    for table in (*paper_tables("ARM"), *further_tables()):
        for experiment in table.experiments:
            if experiment.network.resolution in sides:
                yield experiment.network.graph


def _points(seen: Sequence[_Seen]) -> Iterator[Point]:
    """Yield the points of one key."""
    occurring = {(kernel.channels, kernel.kernel.fused): kernel for kernel in seen}
    fusions = sorted({fused for _, fused in occurring})
    pairs = _channels(seen)
    wanted = {
        pair: [f for f in fusions if (pair, f) in occurring] or fusions[:1] for pair in pairs
    }
    for fused in fusions:
        spread = pairs if len(pairs) < EACH_FUSION else _spread(pairs, EACH_FUSION)
        lacking = EACH_FUSION - sum(fused in some for some in wanted.values())
        for pair in spread:
            if fused not in wanted[pair] and lacking > 0:
                wanted[pair].append(fused)
                lacking -= 1
    for pair, some in wanted.items():
        for fused in some:
            yield _point(occurring.get((pair, fused), seen[0]), pair, fused)


def _channels(seen: Sequence[_Seen]) -> list[Channels]:
    """Choose channels: the extremes that occur, some between, and others around if too few."""
    found = sorted(
        {kernel.channels for kernel in seen}, key=lambda pair: (pair[0] * pair[1], pair)
    )
    chosen = dict.fromkeys(_spread(found, OCCURRING))
    for side in (0, 1):
        chosen |= dict.fromkeys(
            (min(found, key=lambda p: p[side]), max(found, key=lambda p: p[side]))
        )
    if seen[0].kernel.parts > 1:
        return list(chosen)  # maps of given sizes are split or joined
    same, unit = seen[0].keeps_channels, _unit(seen[0].op)
    into, out = found[len(found) // 2]
    for less_in, less_out in AROUND:
        if len(chosen) >= (FEWEST_SAME if same else FEWEST):
            break
        pair = _multiple(into / less_in, unit), _multiple(out / less_out, unit)
        if unit > 1 and not same:
            # With one input channel per group the kernel would be another, depthwise. Groups with
            # fewer rows than the matrix kernel takes have costs unlike any other.
            whole = out % (unit * ROWS) == pair[1] % (unit * ROWS) == 0
            pair = max(pair[0], 2 * unit), pair[1] if whole else out
        pair = (pair[0], pair[0]) if same else pair
        if op_cost(_op(seen[0].op, *pair)).flops <= MOST_FLOPS:
            chosen[pair] = None
    return list(chosen)


def _spread(found: Sequence[Channels], count: int) -> list[Channels]:
    last = len(found) - 1
    return list(dict.fromkeys(found[round(i * last / (count - 1))] for i in range(count)))


def _unit(op: Op) -> int:
    grouped = op.kind.groups if isinstance(op.kind, Conv | Shuffle) else 1
    return 1 if is_depthwise(op) else grouped


def _multiple(channels: float, unit: int) -> int:
    """Round to a multiple of `unit` and, unless small, to whole matrix rows per group."""
    step = unit * ROWS if channels >= 2 * unit * ROWS else unit
    return max(step, round(channels / step) * step)


def _op(op: Op, into: int, out: int) -> Op:
    """Return `op` with other channels."""
    kind = op.kind
    if isinstance(kind, Conv) and is_depthwise(op):
        kind = replace(kind, groups=into)
    if isinstance(kind, Select) and (into, out) != (op.source.channels, op.output.channels):
        kind = Select(tuple(index * into // out for index in range(out)))
    source = replace(op.source, name="input", channels=into)
    return Op("priced", kind, (source,), (replace(op.output, name="priced", channels=out),))


def _point(seen: _Seen, pair: Channels, fused: Fused) -> Point:
    """Build the point of one kernel; the other kernels of its graph are not priced."""
    kernel, (into, out) = seen.kernel, pair
    map_read = kernel.key.rpartition("@")[2]
    name = f"{kernel.kind} {map_read} {into} {out} {' '.join(fused)}"
    build, source = GraphBuilder(), replace(kernel.source, name="input", channels=into)
    match seen.op.kind:
        case Concat():
            sizes = tuple(value.channels for value in seen.op.inputs)
            build.concat("priced", *build.split("parts", source, sizes))
            name += "_".join(map(str, sizes))
        case Split(sizes=sizes):
            build.concat("joined", *build.split("priced", source, sizes))
            name += "_".join(map(str, sizes))
        case Multiply():
            build.multiply("priced", source, build.global_average_pool("gates", source))
        case Add():
            build.add("priced", source, build.activation("other", source, "relu"))
        case _:
            build, source = _alone(_op(seen.op, into, out), fused)
    name += " followed" * ("add" in fused)
    point = graph_of("_".join(name.split()), build, source)
    return replace(point, priced=kernel.key)


def _alone(op: Op, fused: Fused) -> tuple[GraphBuilder, Value]:
    """Build a graph of `op` and the functions fused to it."""
    build, source = GraphBuilder(), op.source
    if "add" in fused:
        sizes = op.source.channels, op.output.channels
        source = replace(op.source, name="input", channels=sum(sizes))
        read, other = build.split("parts", source, sizes)
        build.ops.append(replace(op, inputs=(read,)))
        if (other.height, other.width) != (op.output.height, op.output.width):
            other = build.max_pool("smaller", other, 1)
        build.add("sum", op.output, other)
    else:
        build.ops.append(op)
    for name in fused:
        if name != "add":
            function: Function = name  # type: ignore[assignment]
            build.activation(name, build.ops[-1].output, function)
    if isinstance(op.kind, Shuffle) or "add" in fused:
        # A shuffle's last reshape and a sum would copy their input to the graph's output. In a
        # network they work in place, so another operator follows.
        build.max_pool("follows", build.ops[-1].output, 1, stride=1)
    return build, source


MAPS = ((4, 5), (6, 3), (9, 9), (10, 13), (15, 11), (19, 20), (23, 30), (38, 38), (75, 51))
"""Maps that no entry has, on which the kernels of published networks are priced, too."""
MOST_ON_MAP = 60e6  # multiply-adds: half a second of emulation


def published_on_maps(kinds: Collection[str]) -> Iterator[Point]:
    """Yield the published networks' kernels on other maps, with few and with middling channels.

    Args:
        kinds: Kinds that other points price.
    """
    seen: dict[str, list[_Seen]] = defaultdict(list)
    for graph in _graphs(RESOLUTIONS):
        ops = {op.name: op for op in graph.ops}
        for kernel in kernels_of(graph):
            if kernel.kind not in kinds and kernel.source.area > 1:
                seen[kernel.kind].append(_Seen(kernel, ops[kernel.ops[0]]))
    for kind in sorted(seen):
        found = sorted(seen[kind], key=lambda one: (math.prod(one.channels), one.channels))
        few, middling = found[0], found[len(found) // 2]
        for one in (few, middling) if few.channels != middling.channels else (few,):
            for height, width in MAPS:
                moved = _moved(one, height, width)
                if moved and op_cost(moved.op).flops <= MOST_ON_MAP:
                    yield _point(moved, moved.channels, moved.kernel.fused)


def _moved(seen: _Seen, height: int, width: int) -> _Seen | None:
    """Return the kernel on another map; None if a window does not fit on it."""
    inputs = tuple(replace(value, height=height, width=width) for value in seen.op.inputs)
    op = reading(seen.op, inputs)
    source = replace(seen.kernel.source, height=height, width=width)
    fits = min(op.output.height, op.output.width) >= 1
    return _Seen(replace(seen.kernel, source=source), op) if fits else None


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
