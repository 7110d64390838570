"""The calibration grid for int8: tiny graphs whose kernels have the layouts of real networks.

The cost of a quantised kernel depends on remainders of its channels, so widths have every
remainder by 8 and 16. Convolutions surround the priced kernel. They set its layout to pixels, as
in a network, and give the parts of a concat different scales: equal scales would only be copied.
Every graph also prices the transposes at its ends and the quantising of its map.
"""

from collections.abc import Iterator

from nas_sv2.latency.calibration.point import (
    CLASSES,
    MOST_CHANNELS,
    WIDE_SIDE,
    WIDEST,
    Point,
    graph_of,
    image,
    typical_width,
)
from nas_sv2.space.graph.operators import GraphBuilder

LANES = 8
FEW = 8  # channels of the surrounding convolutions
GATES = (
    (2, 2), (8, 4), (8, 16), (16, 32), (24, 58), (58, 58), (58, 116), (116, 58), (87, 117),
    (232, 232), (163, 122), (488, 244), (488, 976), (976, 488), (1360, 1360), (61, 45), (45, 61),
    (120, 107), (107, 120), (338, 170), (170, 338), (2048, 1024),
)  # fmt: skip


def int8_points(side: int) -> Iterator[Point]:
    """Yield the points on maps of one side."""
    yield from _pointwise(side)
    yield from _depthwise(side)
    yield from _moves(side)
    yield from _scaled(side)


def _pointwise(side: int) -> Iterator[Point]:
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


def _depthwise(side: int) -> Iterator[Point]:
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


def _moves(side: int) -> Iterator[Point]:
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
                yield _unit(f"unit_{residual}_{side}_{number}", side, *sizes, residual)


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


def _unit(name: str, side: int, passed: int, convolved: int, residual: bool) -> Point:
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
