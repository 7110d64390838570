"""From the description to the operators: the one place that says what a network consists of."""

from nas_sv2.space.experiments.network import ExperimentNetwork
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.units.architecture import FIRST_STAGE, Architecture
from nas_sv2.space.units.shuffle_unit import basic_unit, downsample_unit

Classifier = Architecture | PaperNetwork
"""Networks that turn an image into logits of `classes` classes."""

Network = Classifier | ExperimentNetwork
"""These, and the networks of controlled experiments, which end in a map."""


def lower(network: Network) -> Graph:
    """The operators of `network` at its own resolution, in running order."""
    return _lowered(network) if isinstance(network, Architecture) else network.graph


def _lowered(architecture: Architecture) -> Graph:
    build = GraphBuilder()
    side = architecture.resolution
    value = image = Value("input", architecture.channels, side, side)
    for index, width in enumerate(architecture.stem):
        stride = architecture.stem_stride if index == 0 else 1
        value = build.conv(f"stem.{index}", value, width, 3, stride=stride, activation="relu")
    if architecture.stem_pool:
        value = build.max_pool("stem.pool", value)
    for number, stage in enumerate(architecture.stages, FIRST_STAGE):
        name = f"stage{number}"
        value = downsample_unit(build, f"{name}.0", value, stage, architecture.downsample)
        for index in range(1, stage.depth):
            value = basic_unit(build, f"{name}.{index}", value, stage)
    value = build.conv("head.conv", value, architecture.head, activation="relu")
    value = build.global_average_pool("head.pool", value)
    value = build.linear("head.classifier", value, architecture.classes)
    return Graph(image, value, tuple(build.ops))
