"""The calibration grid for float32: a tiny graph for every kernel of our spaces.

The product's own ONNX lowering writes the graphs, so that the priced kernels are those that ship.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nas_sv2.latency.calibration.point import (
    CLASSES,
    WIDE_SIDE,
    WIDEST,
    Point,
    graph_of,
    image,
    typical_width,
)
from nas_sv2.space.graph.operators import Function, GraphBuilder

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
