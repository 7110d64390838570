"""The calibration grid of LiteRT: tiny graphs, each with one kernel to price.

LiteRT's package has no profiler, so a graph runs whole. From its cycles, those of a run and of the
other kernels in it are taken, which earlier graphs of the grid have priced. XNNPACK computes in
tiles of pixels and channels, and its cost is a formula of both. A grid of small maps is
therefore enough: it has many remainders by the tiles, and costs little to emulate.
"""

from collections.abc import Iterator
from dataclasses import replace

from nas_sv2.latency.calibration.space_grid import Point, chains, graph_of, image
from nas_sv2.space.graph.operators import Function, GraphBuilder

Sizes = tuple[int, ...]

POINTWISE = (
    (2, 2, 28), (3, 5, 20), (8, 8, 28), (16, 16, 28), (8, 16, 56), (16, 8, 40), (6, 58, 15),
    (58, 6, 15), (24, 24, 5), (24, 58, 14), (58, 58, 14), (58, 58, 7), (116, 24, 14),
    (24, 116, 14), (116, 116, 7), (232, 232, 7), (64, 64, 10), (61, 45, 9), (45, 61, 11),
    (30, 33, 13), (31, 34, 12), (29, 35, 6), (27, 36, 14), (26, 37, 7), (25, 38, 8),
    (232, 24, 7), (24, 232, 7), (464, 64, 7), (64, 464, 7), (976, 32, 7), (32, 976, 7),
    (96, 24, 20), (24, 144, 20), (144, 24, 17), (128, 128, 10), (200, 300, 4), (300, 200, 5),
    (1024, 128, 4), (512, 512, 2), (1920, 100, 3), (100, 1000, 3), (1024, 256, 2),
    (2, 16, 28), (24, 1530, 3), (32, 1536, 4), (300, 612, 2), (3072, 16, 2), (1536, 64, 3),
)  # fmt: skip
VECTORS = (
    (2, 2), (8, 4), (8, 16), (16, 32), (24, 58), (45, 61), (61, 45), (58, 58), (58, 116),
    (116, 58), (87, 117), (163, 122), (232, 232), (488, 244), (488, 976), (976, 488),
    (1360, 680), (2048, 1024), (1238, 622), (622, 1238), (1530, 1530),
    (2, 8), (64, 2560), (2560, 64),
)  # fmt: skip
CLASSIFIERS = (
    (16, 2), (64, 10), (16, 100), (256, 100), (512, 10), (64, 1000), (512, 1000), (1000, 10),
    (1000, 1000), (1024, 1000), (2048, 100), (2304, 200), (24, 16), (200, 8),
)  # fmt: skip
CONVOLUTIONS = {
    1: (
        (1, 8, 28), (3, 16, 48), (3, 24, 32), (3, 64, 30), (4, 37, 17), (8, 8, 28), (12, 20, 9),
        (16, 16, 20), (16, 32, 20), (24, 24, 28), (31, 33, 14), (64, 64, 12), (64, 128, 10),
        (128, 128, 7),
    ),
    2: (
        (1, 8, 31), (1, 24, 64), (3, 8, 64), (3, 24, 64), (3, 24, 112), (3, 20, 21), (3, 30, 45),
        (3, 32, 56), (3, 58, 32), (3, 64, 48), (4, 16, 48), (4, 37, 33), (16, 32, 20),
        (64, 64, 14),
    ),
}  # fmt: skip
DEPTHWISE = (
    (2, 28), (8, 28), (13, 20), (24, 7), (29, 14), (24, 28), (46, 11), (58, 14), (61, 9), (58, 5),
    (116, 14), (232, 7), (136, 8), (464, 4), (100, 3), (60, 2),
    (1500, 3), (58, 1), (232, 1), (1200, 1), (464, 2), (1200, 2),
)  # fmt: skip
MAPS = (
    (2, 28), (8, 14), (13, 20), (24, 28), (58, 14), (61, 7), (116, 14), (464, 7), (232, 4),
    (1536, 3), (1530, 1),
)  # fmt: skip
WITH_RELU = (24, 58, 116)  # channels of sums that end in a ReLU, which is a kernel more
FEWEST_SHUFFLED = 8  # channels; two are moved as they are
POOLED = ((8, 28), (24, 56), (24, 20), (58, 14), (13, 18), (64, 28), (30, 12), (128, 14))
AVERAGED = (*MAPS, (1024, 7), (1000, 4), (512, 2), (256, 1), (24, 56))
JOINED: tuple[tuple[int, Sizes, int], ...] = (
    (2, (24, 24), 28), (2, (58, 58), 14), (2, (13, 13), 20), (2, (116, 116), 7), (2, (4, 4), 14),
    (3, (29,) * 3, 14), (4, (29,) * 4, 14), (4, (58,) * 4, 7), (8, (7,) * 8, 14),
    (8, (30,) * 8, 7), (20, (6,) * 20, 10), (2, (768, 768), 3), (2, (300, 300), 2),
    (4, (60,) * 4, 1),
)  # fmt: skip
CUTS: tuple[tuple[int, Sizes], ...] = (
    (28, (1, 1)), (14, (29, 29)), (14, (58, 58)), (28, (24, 24)), (14, (29, 87)), (20, (13, 45)),
    (7, (116, 116)), (7, (232, 116)), (14, (58, 58, 58)), (14, (29,) * 4), (14, (7,) * 8),
    (10, (2,) * 32), (7, (14, 200, 18)), (3, (768, 768)), (2, (300, 301)), (1, (60,) * 4),
)  # fmt: skip


def litert_points() -> Iterator[Point]:
    """Yield the graphs; each is priced by itself and by kernels of earlier ones."""
    yield from chains()
    yield from _convolutions()
    yield from _elementwise()
    yield from _pools()
    yield from _moves()


def _convolutions() -> Iterator[Point]:
    for into, out, side in POINTWISE:
        for function in _functions(into, out):
            build, source = GraphBuilder(), image(into, side)
            build.conv("conv", source, out, activation=function)
            yield graph_of(f"pointwise_{function}_{side}_{into}_{out}", build, source)
    for into, out in VECTORS:
        build, source = GraphBuilder(), image(into, 1)
        build.gate("conv", source, out)
        yield graph_of(f"vector_{into}_{out}", build, source)
    for into, out in CLASSIFIERS:
        build, source = GraphBuilder(), image(into, 1)
        build.linear("linear", source, out)
        yield graph_of(f"linear_{into}_{out}", build, source)
    for stride, sizes in CONVOLUTIONS.items():
        for into, out, side in sizes:
            build, source = GraphBuilder(), image(into, side)
            build.conv("conv", source, out, 3, stride=stride, activation="relu")
            yield graph_of(f"conv_{stride}_{side}_{into}_{out}", build, source)
    for kernel in (3, 5, 7):
        for stride in (1, 2):
            for channels, side in DEPTHWISE:
                build, source = GraphBuilder(), image(channels, side)
                build.conv("conv", source, channels, kernel, stride=stride, depthwise=True)
                yield graph_of(f"depthwise_{kernel}_{stride}_{side}_{channels}", build, source)


def _functions(into: int, out: int) -> tuple[Function | None, ...]:
    """Return the functions at the end of a convolution: all of them for a few."""
    return ("relu", "relu6", None) if (into, out) in ((30, 33), (58, 58)) else ("relu",)


def _elementwise() -> Iterator[Point]:
    functions: tuple[Function, ...] = ("relu", "relu6", "sigmoid")
    for channels, side in (*MAPS, (58, 1), (464, 1)):
        for function in functions:
            build, source = GraphBuilder(), image(channels, side)
            build.activation("activation", source, function)
            yield graph_of(f"{function}_{side}_{channels}", build, source)
    for channels, side in MAPS:
        for end in (None, "relu") if channels in WITH_RELU else (None,):
            build, source = GraphBuilder(), image(channels, side)
            value = build.add("add", source, source)
            if end:
                build.activation("relu", value, "relu")
            yield graph_of(f"add_{end}_{side}_{channels}", build, source)


def _pools() -> Iterator[Point]:
    for channels, side in AVERAGED:
        build, source = GraphBuilder(), image(channels, side)
        build.global_average_pool("pool", source)
        yield graph_of(f"average_{side}_{channels}", build, source)
    for channels, side in MAPS:
        build, source = GraphBuilder(), image(channels, side)
        build.multiply("multiply", source, build.global_average_pool("pool", source))
        yield replace(graph_of(f"multiply_{side}_{channels}", build, source), priced="multiply")
    for channels, even in POOLED:
        for side in (even, even + 1):  # odd maps are padded by the pool itself
            build, source = GraphBuilder(), image(channels, side)
            build.max_pool("pool", build.activation("relu", source, "relu"))
            yield replace(graph_of(f"max_{side}_{channels}", build, source), priced="max pool")


def _moves() -> Iterator[Point]:
    for parts, sizes, side in JOINED:
        build, source = GraphBuilder(), image(sizes[0], side)
        build.concat("concat", *(source,) * parts)
        yield graph_of(f"concat_{side}_{parts}_{sizes[0]}", build, source)
    for number, (side, sizes) in enumerate(CUTS):
        build, source = GraphBuilder(), image(sum(sizes), side)
        build.concat("concat", *build.split("split", source, sizes))
        yield replace(graph_of(f"split_{number}", build, source), priced="split")
    for channels, side in MAPS:
        if channels < FEWEST_SHUFFLED:
            continue
        even = channels + channels % 2
        build, source = GraphBuilder(), image(even, side)
        # A reshape at an end of the graph would copy, so other operators surround the shuffle.
        value = build.shuffle("shuffle", build.activation("before", source, "relu"))
        build.activation("after", value, "relu")
        yield replace(graph_of(f"shuffle_{side}_{even}", build, source), priced="shuffle")
