"""The paper's published ARM speeds, and those networks of it that our operators can express.

Speeds are images/s on a Snapdragon 810 (Cortex-A57), one thread, batch 1: ShuffleNet V2, Table 8.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nas_sv2.space.graph import Graph, GraphBuilder, Value
from nas_sv2.space.lowering import lower
from nas_sv2.space.reference import reference

# One number between cycles and milliseconds for all networks. A prototype of ours fitted it to 18
# rows of Table 8 (V2, V1, MobileNet V1 and V2, each emulated whole); `check` repeats 14 of them.
CYCLES_PER_MS = 1.29e6
SCALE_ORIGIN = (
    "one factor fitted to 18 rows of the ShuffleNet V2 paper's Table 8, ARM column (Snapdragon "
    "810): 1.29 Gcycle/s; the core's nominal 1.96 GHz less caches, memory and branches, which the "
    "cycles leave out, and the difference between the paper's library and onnxruntime"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A published speed."""

    name: str
    images_per_s: float
    graph: Graph

    @property
    def ms(self) -> float:
        """The latency it means."""
        return 1000 / self.images_per_s


def rows() -> Iterator[Row]:
    """ShuffleNet V2 and both MobileNets; V1 needs average pools, which are not in the space."""
    for scale, speed in (("0_5", 57.0), ("1_0", 24.4), ("1_5", 11.8), ("2_0", 6.7)):
        name = f"shufflenet_v2_x{scale}"
        yield Row(name, speed, lower(reference(name)))
    for width, speed in ((0.25, 36.4), (0.5, 16.5), (0.75, 10.6), (1.0, 6.5)):
        yield Row(f"mobilenet_v1_x{width}", speed, mobilenet_v1(width))
    for width, side, speed in (
        (0.4, 160, 33.2), (0.15, 224, 33.6), (0.75, 192, 15.9),
        (0.6, 224, 14.9), (1.0, 224, 8.9), (1.4, 224, 5.4),
    ):  # fmt: skip
        yield Row(f"mobilenet_v2_x{width}_{side}", speed, mobilenet_v2(width, side))


def mobilenet_v1(width: float) -> Graph:
    """Howard et al. 2017, Table 1."""
    build, image = GraphBuilder(), Value("input", 3, 224, 224)
    value = build.conv("stem", image, round(32 * width), 3, stride=2, relu=True)
    plan = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5)
    for index, (channels, stride) in enumerate((*plan, (1024, 2), (1024, 1))):
        value = build.conv(
            f"{index}.depthwise", value, value.channels, 3,
            stride=stride, depthwise=True, relu=True,
        )  # fmt: skip
        value = build.conv(f"{index}.project", value, round(channels * width), relu=True)
    return _classified(build, image, value)


def mobilenet_v2(width: float, side: int) -> Graph:
    """Sandler et al. 2018, Table 2; ReLU stands for ReLU6, which onnxruntime fuses as well."""
    build, image = GraphBuilder(), Value("input", 3, side, side)
    value = build.conv("stem", image, _by_8(32 * width), 3, stride=2, relu=True)
    plan = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    for stage, (expansion, channels, depth, first_stride) in enumerate(plan):
        for index in range(depth):
            name, into = f"{stage}.{index}", value
            stride, out = (1 if index else first_stride), _by_8(channels * width)
            if expansion > 1:
                value = build.conv(f"{name}.expand", value, into.channels * expansion, relu=True)
            value = build.conv(
                f"{name}.depthwise", value, value.channels, 3,
                stride=stride, depthwise=True, relu=True,
            )  # fmt: skip
            value = build.conv(f"{name}.project", value, out)
            if index:
                value = build.add(f"{name}.add", into, value)
    value = build.conv("head", value, max(1280, _by_8(1280 * width)), relu=True)
    return _classified(build, image, value)


def _by_8(channels: float) -> int:
    """The authors' rounding: to a multiple of 8, and never by more than a tenth down."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _classified(build: GraphBuilder, image: Value, value: Value) -> Graph:
    value = build.linear("classifier", build.global_average_pool("pool", value), 1000)
    return Graph(image, value, tuple(build.ops))
