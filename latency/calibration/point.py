"""A point of the calibration grids: a tiny graph in our own vocabulary."""

from dataclasses import dataclass

from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value

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
        priced: Key of the one kernel that is priced; if empty, all kernels are.
    """

    name: str
    graph: Graph
    priced: str = ""


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
