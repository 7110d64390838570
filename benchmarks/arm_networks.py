"""The paper's published ARM speeds and the networks they are of, in our vocabulary.

Speeds are images/s on a Snapdragon 810 (Cortex-A57), one thread, batch 1: ShuffleNet V2, Table 8.
The published networks shuffle as written, so they are emulated `plain`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from nas_sv2.latency.arm_cores import ArmPrecision
from nas_sv2.latency.arm_samples import write_model
from nas_sv2.space.graph import Conv, Graph, GraphBuilder, Op, Value
from nas_sv2.space.lowering import lower
from nas_sv2.space.reference import reference

AVERAGE = "average"  # a max pool of this name stands for an average pool, which has the same cost


@dataclass(frozen=True, slots=True)
class Row:
    """A published speed."""

    family: str
    name: str
    images_per_s: float
    graph: Graph

    @property
    def ms(self) -> float:
        """The latency it means."""
        return 1000 / self.images_per_s


def rows() -> Iterator[Row]:
    """All rows of Table 8 whose structure is published: ShuffleNet V1 and V2, both MobileNets."""
    for scale, speed in (("0_5", 57.0), ("1_0", 24.4), ("1_5", 11.8), ("2_0", 6.7)):
        name = f"shufflenet_v2_x{scale}"
        yield Row("ShuffleNet V2", name, speed, lower(reference(name)))
    for scale, stem, width, speed in (
        ("0.5", 12, 120, 56.8), ("1.0", 24, 240, 21.8),
        ("1.5", 24, 360, 10.3), ("2.0", 48, 480, 6.4),
    ):  # fmt: skip
        yield Row("ShuffleNet V1", f"shufflenet_v1_x{scale}", speed, shufflenet_v1(stem, width))
    for share, speed in ((0.25, 36.4), (0.5, 16.5), (0.75, 10.6), (1.0, 6.5)):
        yield Row("MobileNet V1", f"mobilenet_v1_x{share}", speed, mobilenet_v1(share))
    for share, side, speed in (
        (0.4, 160, 33.2), (0.15, 224, 33.6), (0.75, 192, 15.9),
        (0.6, 224, 14.9), (1.0, 224, 8.9), (1.4, 224, 5.4),
    ):  # fmt: skip
        name = f"mobilenet_v2_x{share}_{side}"
        yield Row("MobileNet V2", name, speed, mobilenet_v2(share, side))


def write_published(name: str, graph: Graph, precision: ArmPrecision, folder: Path) -> Path:
    """The ONNX model of a row, with its average pools."""
    path = write_model(name, graph, precision, folder)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "MaxPool" and AVERAGE in node.name:
            node.op_type = "AveragePool"
    path.write_bytes(model.SerializeToString())
    return path


def shufflenet_v1(stem: int, width: int, groups: int = 3) -> Graph:
    """Zhang et al. 2018 with g = 3; the first 1×1 of stage 2 is not grouped."""
    build, image = GraphBuilder(), Value("input", 3, 224, 224)
    value = build.max_pool(
        "stem.pool", build.conv("stem.0", image, stem, 3, stride=2, activation="relu")
    )
    for stage, depth in enumerate((4, 8, 4)):
        for index in range(depth):
            name, into, out = f"{stage}.{index}", value, width << stage
            first = index == 0
            grouped = 1 if stage == 0 and first else groups
            value = _grouped(build, f"{name}.reduce", into, out // 4, grouped)
            value = build.activation(f"{name}.reduce.relu", value, "relu")
            value = build.shuffle(f"{name}.shuffle", value, groups)
            value = build.conv(
                f"{name}.depthwise", value, out // 4, 3, stride=1 + first, depthwise=True
            )
            rest = out - into.channels if first else out
            value = _grouped(build, f"{name}.expand", value, rest, groups)
            if first:
                pool = build.max_pool(f"{name}.{AVERAGE}", into)
                value = build.concat(f"{name}.concat", pool, value)
            else:
                value = build.add(f"{name}.add", into, value)
            value = build.activation(f"{name}.relu", value, "relu")
    return _classified(build, image, value)


def _grouped(build: GraphBuilder, name: str, source: Value, channels: int, groups: int) -> Value:
    output = Value(name, channels, source.height, source.width)
    build.ops.append(Op(name, Conv(1, groups=groups), (source,), (output,)))
    return output


def mobilenet_v1(width: float) -> Graph:
    """Howard et al. 2017, Table 1."""
    build, image = GraphBuilder(), Value("input", 3, 224, 224)
    value = build.conv("stem", image, round(32 * width), 3, stride=2, activation="relu")
    plan = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5)
    for index, (channels, stride) in enumerate((*plan, (1024, 2), (1024, 1))):
        value = build.conv(
            f"{index}.depthwise", value, value.channels, 3,
            stride=stride, depthwise=True, activation="relu",
        )  # fmt: skip
        value = build.conv(f"{index}.project", value, round(channels * width), activation="relu")
    return _classified(build, image, value)


def mobilenet_v2(width: float, side: int) -> Graph:
    """Sandler et al. 2018, Table 2; ReLU stands for ReLU6, which onnxruntime fuses as well."""
    build, image = GraphBuilder(), Value("input", 3, side, side)
    value = build.conv("stem", image, _by_8(32 * width), 3, stride=2, activation="relu")
    plan = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    for stage, (expansion, channels, depth, first_stride) in enumerate(plan):
        for index in range(depth):
            name, into = f"{stage}.{index}", value
            stride, out = (1 if index else first_stride), _by_8(channels * width)
            if expansion > 1:
                value = build.conv(
                    f"{name}.expand", value, into.channels * expansion, activation="relu"
                )
            value = build.conv(
                f"{name}.depthwise", value, value.channels, 3,
                stride=stride, depthwise=True, activation="relu",
            )  # fmt: skip
            value = build.conv(f"{name}.project", value, out)
            if index:
                value = build.add(f"{name}.add", into, value)
    value = build.conv("head", value, max(1280, _by_8(1280 * width)), activation="relu")
    return _classified(build, image, value)


def _by_8(channels: float) -> int:
    """The authors' rounding: to a multiple of 8, and never by more than a tenth down."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _classified(build: GraphBuilder, image: Value, value: Value) -> Graph:
    value = build.linear("classifier", build.global_average_pool("pool", value), 1000)
    return Graph(image, value, tuple(build.ops))
