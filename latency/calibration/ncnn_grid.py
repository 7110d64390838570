"""The calibration grid of ncnn: tiny graphs, each with one kernel to price.

ncnn's package has no profiler, so a graph runs whole, as LiteRT's do (`litert_grid`). ncnn copies
the input for the first layer. So every graph begins with a ReLU, and a graph of that ReLU alone
is taken off. Maps have the layout that they have within a network: `guest.py` packs the input
beforehand, and leaves the output packed. So every layout of a kernel has channels of its own here.
Channels and sides are drawn by fixed steps, so that a kind has many remainders by ncnn's tiles.
There are more kinds in fp16, which has three layouts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, permutations, product

from nas_sv2.latency.calibration.space_grid import START, Point, chains, graph_of, image
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.space.graph.operators import Function, GraphBuilder, Value

Make = Callable[[GraphBuilder, Value], Value]
"""Appends the kernel to price, and those that it needs before it."""

PACKED = (
    4, 8, 12, 16, 24, 36, 48, 60, 64, 96, 116, 144, 176, 232, 256, 352, 464, 512, 704, 1024, 2720,
)  # fmt: skip
SINGLE = (
    1, 2, 3, 5, 7, 13, 18, 29, 30, 33, 45, 51, 58, 61, 87, 122, 163, 242, 358, 610, 1361,
)  # fmt: skip
IN_EIGHTS = (
    8, 16, 24, 32, 48, 56, 64, 88, 96, 144, 176, 232, 256, 352, 464, 512, 704, 976, 1024, 2720,
)  # fmt: skip
IN_FOURS = (
    4, 12, 20, 28, 36, 44, 60, 84, 116, 148, 196, 244, 292, 372, 476, 612, 748, 1012, 1364, 68,
)  # fmt: skip
WIDE = (1280, 1536)
GROUPED = (60, 120, 240, 480, 960)  # of ShuffleNet V1 with three groups
IN_ODD_HALVES = (20, 244, 372, 724, 1444)  # channels whose halves have another layout
SIDES = (28, 14, 7, 20, 4, 56, 11, 10, 3, 5, 40, 9, 2, 17, 1, 6, 13, 8, 12, 19)
LARGE_SIDES = (*SIDES, 112, 33)
STEPS = (0, 1, -2, 5, -7)
"""The distances in the list of channels between those that a product reads and writes."""
MOST_NUMBERS, MOST_PRODUCTS = 400_000, 6_000_000
"""The largest map of a grid that many kernels have, and the most multiply-adds."""
CLASSIFIERS = ((1024, 1000), (2048, 1000), (512, 10), (1280, 100), (976, 244), (1024, 10))
STEMS = (
    (3, 8, 64), (3, 16, 96), (3, 24, 224), (3, 24, 32), (3, 32, 160), (3, 64, 112), (3, 12, 45),
    (3, 20, 75), (3, 18, 64), (3, 30, 96), (3, 58, 32), (1, 8, 28), (1, 24, 64), (1, 18, 33),
    (2, 24, 64), (2, 30, 48), (3, 13, 56), (3, 22, 50), (3, 45, 40), (1, 30, 28), (2, 18, 33),
    (3, 14, 112), (3, 26, 28), (3, 51, 72), (4, 16, 64), (4, 24, 96), (4, 24, 29), (3, 48, 128),
    (4, 37, 33), (4, 18, 64), (4, 30, 48), (4, 58, 64), (4, 13, 40), (4, 22, 56),
)  # fmt: skip
INNER = ((8, 8), (16, 32), (24, 24), (32, 16), (64, 64), (128, 128), (256, 256), (512, 512))
INNER_SIDES = (56, 28, 14, 7, 20, 10)
SHORTCUTS = (
    (256, 512, 56), (512, 1024, 28), (1024, 2048, 14), (64, 128, 20), (32, 64, 28), (64, 64, 56),
    (128, 256, 28), (16, 32, 20), (48, 96, 13), (256, 128, 14), (60, 120, 10), (24, 48, 40),
    (512, 256, 7), (128, 512, 11), (352, 704, 9), (96, 24, 28),
)  # fmt: skip
ENDS: tuple[Function | None, ...] = ("relu", None, "relu6")
IN_GROUPS = (
    (60, 240, 28), (240, 60, 28), (120, 480, 14), (480, 120, 14), (240, 960, 7), (960, 240, 7),
    (60, 216, 28), (24, 60, 14), (60, 60, 14), (120, 120, 7),
)  # fmt: skip
PARTS = (
    (12, 12), (24, 24), (58, 58), (116, 116), (232, 232), (29, 29), (29, 87), (61, 61), (13, 45),
    (16, 48), (8, 16, 40), (4, 4, 4, 4), (7, 14, 18), (30, 30), (61, 122, 61), (29,) * 4,
    (8,) * 8, (7,) * 8, (30,) * 8, (6,) * 20, (2,) * 32, (4,) * 24, (488, 488), (163, 325),
    (14, 200, 18), (60, 58, 62), (1, 3), (5, 7), (11, 13), (3, 9, 12), (5, 3, 7, 9), (30, 90),
    (400, 401, 223), (610, 1438), (2, 3), (5, 8), (13, 16), (101, 102, 104), (511, 516), (4, 8),
    (512, 512), (1024, 1024), (90, 10, 140, 4), (7, 9) * 6,
    (1361, 1363), (1360, 1361), (1360, 1360), (14, 15, 14, 15), (30, 31, 30, 31), (7, 9, 3) * 6,
)  # fmt: skip
JOINED = (
    (2, 24), (2, 58), (2, 13), (2, 116), (2, 232), (2, 29), (3, 29), (4, 29), (4, 60), (8, 7),
    (8, 30), (20, 6), (2, 488), (2, 61), (3, 18), (2, 7), (4, 8), (2, 2), (2, 6), (4, 3), (2, 3),
    (3, 1), (4, 13), (2, 510), (2, 611), (4, 512), (2, 4), (12, 10), (16, 5), (3, 64), (5, 51),
    (2, 1362), (3, 907), (2, 1360), (5, 24), (8, 48), (9, 5),
)  # fmt: skip
# Further ones for fp16, whose layouts are three.
HALF_STEMS = (
    (3, 12, 64), (3, 20, 96), (3, 28, 64), (3, 36, 112), (3, 60, 56), (3, 4, 64), (3, 12, 160),
    (3, 20, 33), (3, 28, 224), (3, 44, 48), (1, 12, 64), (1, 20, 28), (2, 12, 96), (2, 28, 45),
    (4, 12, 64), (4, 20, 48), (4, 28, 96), (4, 36, 33), (4, 60, 40), (4, 64, 56), (4, 32, 112),
    (3, 13, 32), (3, 14, 96), (3, 10, 64), (3, 9, 48), (1, 13, 28), (1, 10, 64), (2, 14, 45),
    (2, 11, 33), (3, 15, 40), (3, 7, 56), (1, 15, 50), (4, 10, 48), (4, 14, 64), (4, 11, 28),
    (4, 15, 36), (3, 17, 40), (3, 22, 96), (3, 30, 48), (3, 46, 64), (4, 17, 32), (4, 22, 64),
    (4, 46, 28), (3, 20, 64), (3, 44, 96), (3, 60, 112), (3, 28, 32), (1, 28, 64), (2, 20, 64),
)  # fmt: skip
HALF_GROUPED = (36, 84, 132, 252, 300, 612)
HALF_ODD_HALVES = (40, 72, 104, 488, 744, 1448)
HALF_IN_GROUPS = tuple(
    (*ends, side)
    for few, many in product((60, 84, 132, 180, 72, 120, 168), (96, 216, 480, 960))
    for ends, side in (((few, many), 14), ((many, few), 7), ((many, few), 20), ((few, many), 10))
)
HALF_PARTS = (
    (12, 24), (4, 16), (20, 24), (60, 64), (100, 48), (20, 8, 16), (12, 8), (4, 8, 16), (4, 4, 4),
    (12, 12, 12), (4,) * 7, (116, 116, 116), (244, 8), (500, 512), (20,) * 5, (1364, 1360),
    (30, 34), (29, 35), (14, 18), (61, 67), (13, 19), (511, 513), (7, 9, 8), (5, 3), (30, 30, 4),
    (122, 118), (2, 6) * 4, (1361, 1359), (20, 20), (12, 20), (116, 124), (372, 372), (4, 60),
    (20, 12, 32), (12, 4) * 4, (244, 244), (1364, 1356), (4, 4), (8, 8), (16, 32), (64, 64),
    (14, 15) * 4, (30, 31) * 4, (6,) * 10, (29,) * 4, (7, 8, 7, 6, 8, 8), (61, 61, 122),
)  # fmt: skip
HALF_JOINED = (
    (3, 4), (3, 12), (3, 20), (5, 4), (3, 116), (3, 44), (7, 4), (5, 60), (3, 340), (9, 12),
    (3, 908), (2, 12), (2, 20), (4, 12), (4, 20), (2, 244), (2, 372), (2, 612), (2, 1364), (8, 4),
    (6, 36), (4, 2), (8, 3), (4, 58), (4, 122), (8, 61), (4, 510), (8, 1), (4, 682), (16, 3),
    (2, 8), (2, 16), (3, 24), (2, 64), (5, 8), (2, 704), (3, 512), (6, 2), (10, 2), (2, 1366),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NcnnGrid:
    """Channels and sides of the kernels of a precision.

    Attributes:
        layouts: Channels of each layout.
        odd_halves: Channels whose halves have another layout.
        grouped: Channels of shuffles in three groups.
        in_groups: Channels read and written, and side, of convolutions in three groups.
        shortcuts: The same of convolutions of 1×1 with stride 2.
        stems: The same of first convolutions.
        parts: Channels of the parts of a split.
        joined: Parts of a concat, and the channels of each.
    """

    layouts: tuple[tuple[int, ...], ...]
    odd_halves: tuple[int, ...]
    grouped: tuple[int, ...]
    in_groups: Sequence[tuple[int, int, int]]
    shortcuts: Sequence[tuple[int, int, int]]
    stems: tuple[tuple[int, int, int], ...]
    parts: tuple[tuple[int, ...], ...]
    joined: tuple[tuple[int, int], ...]

    def points(self) -> Iterator[Point]:
        """Yield the graphs; each is priced by itself and by earlier ones."""
        kernels = [
            *(*self._elementwise(), *self._products(), *self._windows()),
            *(*self._pools(), *self._vectors(), *self._moves()),
        ]
        yield from chains()
        yield from {point.before: _start(point) for point in kernels}.values()
        yield from kernels

    @property
    def _all(self) -> tuple[int, ...]:
        return (*chain(*self.layouts), *WIDE)

    def _elementwise(self) -> Iterator[Point]:
        for channels, side in self._maps(1):
            yield _point("relu", channels, side, lambda b, x: b.activation("relu", x, "relu"))
            yield _point("add", channels, side, lambda b, x: b.add("add", x, x))

    def _products(self) -> Iterator[Point]:
        sides, ends = cycle(SIDES), cycle(ENDS)
        for into, out in self._pairs(STEPS):
            work = max(into + out, into * out * MOST_NUMBERS // MOST_PRODUCTS)
            yield _convolution(into, out, _fitting(sides, work), end=next(ends))
        for into, out, side in self.shortcuts:
            yield _convolution(into, out, side, stride=2, end=next(ends))
        for into, out, side in self.in_groups:
            yield _convolution(into, out, side, groups=3, end="relu" if out < into else None)

    def _windows(self) -> Iterator[Point]:
        ends = cycle(ENDS)
        for kernel, stride in product((3, 5, 7), (1, 2)):
            for channels, side in self._maps(3, [each for each in self._all if each > 1]):
                yield _depthwise(channels, side, kernel, stride, next(ends))
        for (into, out, side), stride, end in product(self.stems, (1, 2), ENDS[::2]):
            yield _convolution(into, out, side, 3, stride, end=end)
        for (into, out), side, stride in product(INNER, INNER_SIDES, (1, 2)):
            if into * out * side * side <= 9 * MOST_PRODUCTS:
                yield _convolution(into, out, side, 3, stride, end="relu")
        for side in (64, 112, 224):
            yield _convolution(3, 64, side, 7, 2, end="relu")

    def _pools(self) -> Iterator[Point]:
        for channels, side in self._maps(2):
            yield _point("mean", channels, side, lambda b, x: b.global_average_pool("pool", x))
        for channels, side in self._maps(2):
            yield _point(
                "multiply",
                channels,
                side,
                lambda b, x: b.multiply("multiply", x, b.global_average_pool("pool", x)),
                "multiply",
            )
        for channels, even in self._maps(1):
            for side in (max(even, 2), max(even, 2) + 1):
                yield _point("max", channels, side, lambda b, x: b.max_pool("pool", x))
                yield _point(
                    "average", channels, side, lambda b, x: b.average_pool("pool", x, 3, stride=2)
                )

    def _vectors(self) -> Iterator[Point]:
        """Yield products of vectors, which a pool makes: fully connected layers."""
        ends: Iterator[Function | None] = cycle((None, "relu", "sigmoid"))
        pairs = [pair for pair in self._pairs((0, -2)) if min(pair) > 1]
        for into, out in (*pairs, *CLASSIFIERS):
            yield _linear(into, out, next(ends))

    def _moves(self) -> Iterator[Point]:
        sides = cycle(SIDES)
        for parts, each in self.joined:
            for _ in range(2):
                yield _concat(parts, each, _fitting(sides, 2 * parts * each))
        for number, sizes in enumerate(self.parts):
            for _ in range(2):
                yield _split(number, sizes, _fitting(sides, 2 * sum(sizes)))
        shuffled = (each for each in (*chain(*self.layouts), *self.odd_halves) if each % 2 == 0)
        for channels, side in self._maps(2, list(dict.fromkeys(shuffled))):
            yield _point("shuffle", channels, side, lambda b, x: b.shuffle("shuffle", x))
        for channels, side in self._maps(2, self.grouped):
            yield _point("shuffle_3", channels, side, lambda b, x: b.shuffle("shuffle", x, 3))

    def _pairs(self, steps: Sequence[int]) -> list[tuple[int, int]]:
        """Return channels that a product reads and writes, in every layout."""
        same = [(each, each) for each in self.layouts]
        pairs = [*same, *permutations(self.layouts, 2)]
        found = [
            (channels, writes[(index + step) % len(writes)])
            for reads, writes in pairs
            for step in steps
            for index, channels in enumerate(reads)
        ]
        return list(dict.fromkeys(found))

    def _maps(self, turns: int, channels: Sequence[int] = ()) -> list[tuple[int, int]]:
        """Return channels and sides: every number of channels on so many maps."""
        sides = cycle(LARGE_SIDES)
        found = [
            (each, _fitting(sides, each)) for _ in range(turns) for each in channels or self._all
        ]
        return list(dict.fromkeys(found))


GRIDS: Mapping[ArmPrecision, NcnnGrid] = {
    "fp32": NcnnGrid(
        (PACKED, SINGLE), IN_ODD_HALVES, GROUPED, IN_GROUPS, SHORTCUTS, STEMS, PARTS, JOINED
    ),
    "fp16": NcnnGrid(
        (IN_EIGHTS, IN_FOURS, SINGLE),
        (*IN_ODD_HALVES, *HALF_ODD_HALVES),
        (*GROUPED, *HALF_GROUPED),
        HALF_IN_GROUPS,
        [ends for ends in SHORTCUTS if ends[0] % 8 == 0],
        (*STEMS, *HALF_STEMS),
        (*PARTS, *HALF_PARTS),
        (*JOINED, *HALF_JOINED),
    ),
}


def ncnn_points(precision: ArmPrecision) -> Iterator[Point]:
    """Yield the graphs of a precision; each is priced by itself and by earlier ones."""
    return GRIDS[precision].points()


def _point(name: str, channels: int, side: int, make: Make, priced: str = "") -> Point:
    """Return a graph that begins with a ReLU, which `before` takes off."""
    build, source = GraphBuilder(), image(channels, side)
    make(build, build.activation("before", source, "relu"))
    point = graph_of(f"{name}_{side}_{channels}", build, source)
    return Point(point.name, point.graph, priced, f"{START}{side}_{channels}")


def _start(point: Point) -> Point:
    source = point.graph.input
    build = GraphBuilder()
    build.activation("before", source, "relu")
    return graph_of(point.before, build, source)


def _convolution(
    into: int,
    out: int,
    side: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    end: Function | None = None,
) -> Point:
    def make(build: GraphBuilder, value: Value) -> Value:
        return build.conv("conv", value, out, kernel, stride=stride, groups=groups, activation=end)

    return _point(f"conv_{kernel}_{stride}_{groups}_{end}_{out}", into, side, make)


def _depthwise(channels: int, side: int, kernel: int, stride: int, end: Function | None) -> Point:
    def make(build: GraphBuilder, value: Value) -> Value:
        return build.conv(
            "conv", value, channels, kernel, stride=stride, depthwise=True, activation=end
        )

    return _point(f"depthwise_{kernel}_{stride}_{end}", channels, side, make)


def _linear(into: int, out: int, end: Function | None) -> Point:
    def make(build: GraphBuilder, value: Value) -> Value:
        gate = build.gate("linear", build.global_average_pool("pool", value), out)
        return build.activation("end", gate, end) if end else gate

    return _point(f"linear_{end}_{out}", into, 1, make, "linear")


def _concat(parts: int, channels: int, side: int) -> Point:
    def make(build: GraphBuilder, value: Value) -> Value:
        return build.concat("concat", *(value,) * parts)

    return _point(f"concat_{parts}", channels, side, make)


def _split(number: int, sizes: tuple[int, ...], side: int) -> Point:
    def make(build: GraphBuilder, value: Value) -> Value:
        return build.concat("concat", *build.split("split", value, sizes))

    return _point(f"split_{number}", sum(sizes), side, make, "split")


def _fitting(sides: Iterator[int], numbers: int) -> int:
    """Return the next side whose map of so many numbers for a pixel is not too large."""
    return next(side for side in sides if numbers * side * side <= MOST_NUMBERS or side == 1)
