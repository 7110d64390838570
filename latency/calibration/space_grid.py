"""The calibration grid of our spaces: a tiny graph for every kernel that their networks may run.

The product's own ONNX lowering writes the graphs, so that the priced kernels are those that ship.

In int8, the cost of a kernel depends on remainders of its channels, so widths have every
remainder by 8 and 16. Convolutions surround the priced kernel. They set its layout to pixels, as
in a network, and give the parts of a concat different scales: equal scales would only be copied.
Every int8 graph also prices the transposes at its ends and the quantising of its map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nas_sv2.space.graph.operators import Function, Graph, GraphBuilder, Value

HALVINGS = 5  # of the input side, down to conv5
WIDEST = 6  # times the typical width: all channels of SE-ShuffleNet v2-164
WIDE_SIDE = 16  # up to this side networks widen to 2720 channels (SE-ShuffleNet v2-164)
# Channels × side of the paper's networks between 1x and 2x (about 116 × 28), so that every map
# gets typical widths.
CHANNEL_SIDE = 3248
MOST_CHANNELS = 2048  # conv5 of 2x
CLASSES = (2, 10, 100, 1000)


@dataclass(frozen=True, slots=True)
class Point:
    """One tiny graph of a grid.

    Attributes:
        name: Name, unique in a grid and valid as a file name.
        graph: The graph that runs.
        priced: Key of the one kernel that is priced; if empty, all kernels are. In a grid that
            runs whole graphs, the start of its kind.
        before: Name of the graph of its first operators, whose whole run is taken off.
    """

    name: str
    graph: Graph
    priced: str = ""
    before: str = ""


def maps(resolution: int) -> tuple[int, ...]:
    """Return the sides of a network's maps behind its first convolution."""
    return tuple(resolution >> halvings for halvings in range(1, HALVINGS + 1))


def typical_width(side: int) -> int:
    """Return c/2 of the paper's networks between 1x and 2x: 58 at 56, 116 at 28, 464 at 7."""
    return max(16, min(CHANNEL_SIDE // side, MOST_CHANNELS // 4))


def graph_of(name: str, build: GraphBuilder, source: Value) -> Point:
    """Return the graph built so far, as a point."""
    return Point(name, Graph(source, build.ops[-1].output, tuple(build.ops)))


def image(channels: int, side: int) -> Value:
    """Return the input of a tiny graph."""
    return Value("input", channels, side, side)


SAME = 4  # channels and side of the convolutions that show the cost of a run
# Python itself speeds up over its first calls, by a thousand cycles: graphs that are run for this.
WARM_UPS = 10
CHAIN, WARM_UP, START = "chain_", "warm_up_", "start_"
CHAINS = (1, 2, 3, 4)


def chains() -> Iterator[Point]:
    """Yield the graphs that a grid begins with if it runs whole graphs: equal convolutions.

    One, two, three, ... of them show the cost of a run besides its kernels.
    """
    for number in range(WARM_UPS):
        yield _chain(f"{WARM_UP}{number}", 1)
    for number in CHAINS:
        yield _chain(f"{CHAIN}{number}", number)


def _chain(name: str, number: int) -> Point:
    build, source = GraphBuilder(), image(SAME, SAME)
    value = source
    for index in range(number):
        value = build.conv(f"conv{index}", value, SAME)
    return graph_of(name, build, source)


def is_chain(point: Point) -> bool:
    """Return whether a graph of equal kernels shows the cost of a run."""
    return point.name.startswith(CHAIN)


def prices_kernels(point: Point) -> bool:
    """Return whether a graph is there to price a kernel."""
    return not point.name.startswith((CHAIN, WARM_UP, START))


WIDEST_STEM = 128  # SE-ShuffleNet v2-164
GATE_FUNCTIONS: tuple[Function | None, ...] = ("relu", "sigmoid", None)


def float32_points(side: int) -> Iterator[Point]:
    """Yield the points on maps of one side: convolutions, moves, sums and pools."""
    yield from _pointwise(side)
    yield from _depthwise(side)
    yield from _moves(side)
    yield from _elementwise(side)
    yield from _widest(side)


def _pointwise(side: int) -> Iterator[Point]:
    """Yield widths with every remainder by 4: a matrix kernel takes four rows at once."""
    w = typical_width(side)
    quarter, half = w // 4, w // 2
    pairs = [
        (2, 2), (8, 6), (quarter, quarter), (half, half), (half + 1, half + 1),
        (half + 2, half + 3), (half, w), (w, half), (w, w), (w + 1, w - 2), (w - 1, w + 1),
        (24, w), (w, 24),
        (2 * w, half), (half, 2 * w), (2 * w, 2 * w), (3 * w, w + 3), (quarter + 1, 3 * w + 2),
    ]  # fmt: skip
    if side <= WIDE_SIDE:
        pairs += [(4 * w, w), (w, 4 * w), (4 * w, 4 * w + 1)]
    for into, out in dict.fromkeys(pairs):
        build, source = GraphBuilder(), image(into, side)
        build.conv("conv", source, out, activation="relu")
        yield graph_of(f"pointwise_{side}_{into}_{out}", build, source)
    for into, out in ((quarter, quarter), (half, w), (w + 1, w + 3), (2 * w, 2 * w)):
        build, source = GraphBuilder(), image(into, side)
        build.conv("conv", source, out)
        yield graph_of(f"pointwise_plain_{side}_{into}_{out}", build, source)
    for width in (quarter, half, half + 1, w, 2 * w):
        build, source = GraphBuilder(), image(2 * width, side)
        keep, convolve = build.split("split", source, (width, width))
        conv = build.conv("conv", convolve, width)
        added = build.activation("relu", build.add("add", keep, conv), "relu")
        # The last sum of a graph would copy its input to the output; in a network it is in place.
        build.max_pool("follows", added, 1, stride=1)
        point = graph_of(f"pointwise_add_{side}_{width}_followed", build, source)
        yield replace(point, priced=f"pointwise @{side}")


def _depthwise(side: int) -> Iterator[Point]:
    w = typical_width(side)
    for kernel in (3, 5, 7):
        for stride in (1, 2):
            for channels in (2, w // 4, w // 2 + 1, w, WIDEST * w):
                build, source = GraphBuilder(), image(channels, side)
                build.conv("conv", source, channels, kernel, stride=stride, depthwise=True)
                name = f"depthwise_{kernel}_{stride}_{side}_{channels}"
                yield graph_of(name, build, source)
            for channels in (w // 4, w):
                build, source = GraphBuilder(), image(channels, side)
                build.conv(
                    "conv",
                    source,
                    channels,
                    kernel,
                    stride=stride,
                    depthwise=True,
                    activation="relu",
                )
                name = f"depthwise_relu_{kernel}_{stride}_{side}_{channels}"
                yield graph_of(name, build, source)


def _moves(side: int) -> Iterator[Point]:
    """Yield split, concat and shuffle, as in units and as in networks without shuffles."""
    w = typical_width(side)
    even = w - w % 2
    cuts = [
        (1, 1), (even // 4, even // 4), (even // 2, even // 2), (even, even), (even // 4, even),
        (even // 8 * 2 + 1, even // 2 + 1), (even, even // 8 * 2), (3 * even, 3 * even),
        (even // 2,) * 3, (even // 4,) * 4, (even // 2,) * 4, (even // 8,) * 8, (even // 4,) * 8,
    ]  # fmt: skip
    for number, sizes in enumerate(cuts):
        build, source = GraphBuilder(), image(sum(sizes), side)
        joined = build.concat("concat", *build.split("split", source, sizes))
        if not joined.channels % 2:
            # At the end of a graph the last reshape would copy, so another operator follows.
            build.activation("relu", build.shuffle("shuffle", joined), "relu")
        yield graph_of(f"moves_{side}_{number}", build, source)
    yield from _many_parts(side)


def _many_parts(side: int) -> Iterator[Point]:
    """Yield many small parts: a residual stage without shuffles is cut into up to 128 pieces."""
    for parts in (32, 128):
        yield _parts(side, parts, 2)


def _parts(side: int, parts: int, channels: int) -> Point:
    build, source = GraphBuilder(), image(channels * parts, side)
    build.concat("concat", *build.split("split", source, (channels,) * parts))
    return graph_of(f"parts_{side}_{parts}", build, source)


def _widest(side: int) -> Iterator[Point]:
    """Yield SE-ShuffleNet v2-164's widest pointwise convolution, and a unit in 640 pieces."""
    width = WIDEST * typical_width(side)
    build, source = GraphBuilder(), image(width, side)
    build.conv("conv", source, width, activation="relu")
    yield graph_of(f"pointwise_{side}_{width}_{width}", build, source)
    yield _parts(side, 640, 1)


def _elementwise(side: int) -> Iterator[Point]:
    """Yield squeeze-and-excitation without gates, sums that are not fused, and the max pool."""
    w = typical_width(side)
    for channels in (2, w // 4, w // 2 + 1, w, 2 * w, WIDEST * w):
        build, source = GraphBuilder(), image(channels, side)
        scaled = build.multiply("multiply", source, build.global_average_pool("pool", source))
        build.activation("relu", build.add("add", source, scaled), "relu")
        yield graph_of(f"elementwise_{side}_{channels}", build, source)
        # A max pool branches on its numbers, half of which are zero behind a stem.
        build = GraphBuilder()
        build.max_pool("pool", build.activation("relu", source, "relu"))
        yield graph_of(f"pool_{side}_{channels}", build, source)


def stem_points(resolution: int, widths: Sequence[int]) -> Iterator[Point]:
    """Yield first convolutions on an image, and 3×3 convolutions on the map behind them."""
    for stride in (1, 2):
        for into in (1, 3):
            for out in widths:
                build, source = GraphBuilder(), image(into, resolution)
                build.conv("conv", source, out, 3, stride=stride, activation="relu")
                yield graph_of(f"stem_{stride}_{resolution}_{into}_{out}", build, source)
    half = resolution // 2
    for into, out in ((8, 8), (16, 16), (16, 32), (24, 24), (31, 33), (64, 64), (64, WIDEST_STEM)):
        build, source = GraphBuilder(), image(into, half)
        build.conv("conv", source, out, 3, activation="relu")
        yield graph_of(f"stem_1_{half}_{into}_{out}", build, source)


def float32_vectors() -> Iterator[Point]:
    """Yield 1×1 convolutions on 1×1 maps, with the functions of gates, and classifiers."""
    for into, out in (
        (2, 2), (8, 4), (8, 16), (16, 32), (24, 58), (58, 58), (58, 116), (116, 58), (87, 117),
        (232, 232), (163, 122), (488, 244), (488, 976), (976, 488), (1360, 1360), (2048, 1024),
    ):  # fmt: skip
        for function in GATE_FUNCTIONS:
            build, source = GraphBuilder(), image(into, 1)
            value = build.gate("conv", source, out)
            if function:
                build.activation("activation", value, function)
            yield graph_of(f"gate_{function}_{into}_{out}", build, source)
    for into in (16, 64, 256, 512, 1000, 1024, 2048):
        for classes in CLASSES:
            build, source = GraphBuilder(), image(into, 1)
            build.linear("linear", source, classes)
            yield graph_of(f"linear_{into}_{classes}", build, source)


LANES = 8
FEW = 8  # channels of the surrounding convolutions
GATES = (
    (2, 2), (8, 4), (8, 16), (16, 32), (24, 58), (58, 58), (58, 116), (116, 58), (87, 117),
    (232, 232), (163, 122), (488, 244), (488, 976), (976, 488), (1360, 1360), (61, 45), (45, 61),
    (120, 107), (107, 120), (338, 170), (170, 338), (2048, 1024),
)  # fmt: skip


def int8_points(side: int) -> Iterator[Point]:
    """Yield the points on maps of one side."""
    yield from _int8_pointwise(side)
    yield from _int8_depthwise(side)
    yield from _int8_moves(side)
    yield from _scaled(side)


def _int8_pointwise(side: int) -> Iterator[Point]:
    w = typical_width(side)
    quarter, half, even = w // 4, w // 2, w // 16 * 16
    pairs = [
        (2, 2), (5, 6), (quarter, quarter), (half, half), (half + 1, half + 1), (half, w),
        (w, half), (w, w), (w + 1, w - 2), (24, w), (w, 24), (2 * w, half), (half, 2 * w),
        (2 * w, 2 * w), (3 * w, w + 3), (quarter + 1, 3 * w + 2),
        *((even + 3 * index, even + index) for index in range(1, 8)),
        *((half + 5 * index, quarter + 8 + index) for index in range(8)),
    ]  # fmt: skip
    pairs.append((4 * w, 4 * w + 1) if side <= WIDE_SIDE else (3 * w, 3 * w))
    for into, out in dict.fromkeys(pairs):
        build, source = GraphBuilder(), image(into, side)
        build.conv("conv", source, out, activation="relu")
        yield graph_of(f"pointwise_{side}_{into}_{out}", build, source)


def _int8_depthwise(side: int) -> Iterator[Point]:
    """Yield depthwise kernels in a row: those of stride 1, then one of stride 2."""
    w = typical_width(side)
    lanes = max(LANES, w // LANES * LANES)
    whole = (
        LANES, 2 * LANES, 3 * LANES, 4 * LANES, 5 * LANES, lanes, lanes + LANES, 2 * lanes,
        2 * lanes + LANES, WIDEST * lanes,
    )  # fmt: skip
    ragged = (
        LANES + 1, lanes // 2 + 2, lanes + 1, lanes + 2, lanes + 4, lanes + 6, lanes + 7,
        2 * lanes + 3, 3 * lanes + 12, WIDEST * lanes - 3,
    )  # fmt: skip
    for channels in dict.fromkeys((*whole, *(c + (c % LANES == 0) for c in ragged))):
        for last in (3, 5, 7):
            build, source = GraphBuilder(), image(channels, side)
            value = source
            for kernel in (3, 5, 7) if last == 3 else ():
                value = build.conv(f"same{kernel}", value, channels, kernel, depthwise=True)
            build.conv("conv", value, channels, last, stride=2, depthwise=True)
            yield graph_of(f"depthwise_{last}_{side}_{channels}", build, source)


def _int8_moves(side: int) -> Iterator[Point]:
    w = typical_width(side)
    even = w - w % 2
    cuts = [
        (1, 2), (even // 4, even // 4), (even // 2, even // 2), (even, even), (even // 4, even),
        (even // 8 * 2 + 1, even // 2 + 1), (even, even // 8 * 2), (3 * even, 3 * even),
        (even // 2, even // 4, even // 2), (even // 8 + 1, even // 4, even // 8 + 3, even // 2),
        (even // 8,) * 8, (3, 7, 4, 9, 6, 5, 8, 11, 4, 7, 6, 10, 5, 9, 3, 7), (2, 2),
    ]  # fmt: skip
    for number, sizes in enumerate(cuts):
        yield _joined(f"joined_{side}_{number}", side, sizes)
        yield _cut(f"cut_{side}_{number}", side, sizes)
        if len(sizes) == 2 and sum(sizes) % 2 == 0:
            for residual in (False, True):
                yield _int8_unit(f"unit_{residual}_{side}_{number}", side, *sizes, residual)


def _joined(name: str, side: int, sizes: tuple[int, ...]) -> Point:
    """Join parallel convolutions pixel by pixel; two of an even width are also shuffled."""
    build, source = GraphBuilder(), image(FEW, side)
    parts = [build.conv(f"part{i}", source, size) for i, size in enumerate(sizes)]
    value = build.concat("concat", *parts)
    if len(sizes) == 2 and value.channels % 2 == 0:
        value = build.shuffle("shuffle", value)
    build.conv("end", value, FEW)
    return graph_of(name, build, source)


def _cut(name: str, side: int, sizes: tuple[int, ...]) -> Point:
    build, source = GraphBuilder(), image(FEW, side)
    cut = build.split("split", build.conv("start", source, sum(sizes)), sizes)
    parts = [build.conv(f"part{i}", value, FEW) for i, value in enumerate(cut)]
    build.conv("end", build.concat("concat", *parts), FEW)
    return graph_of(name, build, source)


def _int8_unit(name: str, side: int, passed: int, convolved: int, residual: bool) -> Point:
    """Build a unit as written, plane by plane, and the split of the next unit."""
    build, source = GraphBuilder(), image(passed + convolved, side)
    keep, into = build.split("split", source, (passed, convolved))
    value = build.conv("conv", into, convolved, activation=None if residual else "relu")
    if residual:
        value = build.activation("relu", build.add("add", into, value), "relu")
    value = build.shuffle("shuffle", build.concat("concat", keep, value))
    left, right = build.split("next", value, (passed, convolved))
    build.concat("last", left, build.conv("end", right, FEW))
    return graph_of(name, build, source)


def _scaled(side: int) -> Iterator[Point]:
    """Yield squeeze-and-excitation before a convolution and before a shuffle, and max pools."""
    w = typical_width(side)
    even = w // 16 * 16
    widths = (2, w // 4, w // 2 + 1, even, even + 4, even + 9, 2 * w, WIDEST * w)
    for channels in dict.fromkeys(widths):
        for planes in (False, True):
            build, source = GraphBuilder(), image(FEW, side)
            value = build.conv("start", source, channels, activation="relu")
            gates = build.gate("reduce", build.global_average_pool("pool", value), FEW)
            gates = build.activation("relu", gates, "relu")
            gates = build.activation("sigmoid", build.gate("expand", gates, channels), "sigmoid")
            value = build.multiply("multiply", value, gates)
            if planes:
                value = build.concat("concat", value, build.conv("beside", source, channels))
                value = build.shuffle("shuffle", value)
            build.conv("end", value, FEW)
            yield graph_of(f"scaled_{planes}_{side}_{channels}", build, source)
        build, source = GraphBuilder(), image(FEW, side)
        build.max_pool("pool", build.conv("start", source, channels, activation="relu"))
        yield graph_of(f"pool_{side}_{channels}", build, source)


def int8_vectors() -> Iterator[Point]:
    """Yield 1×1 convolutions on 1×1 maps, the gates of squeeze-and-excitation, and classifiers."""
    for into, out in GATES:
        build, source = GraphBuilder(), image(into, 1)
        value = build.activation("sigmoid", build.gate("conv", source, out), "sigmoid")
        build.gate("end", value, FEW)
        yield graph_of(f"gate_{into}_{out}", build, source)
    for into in (16, 64, 256, 512, 1000, 1024, 1280, MOST_CHANNELS):
        for classes in CLASSES:
            build, source = GraphBuilder(), image(FEW, 1)
            build.linear("linear", build.gate("conv", source, into), classes)
            yield graph_of(f"linear_{into}_{classes}", build, source)
