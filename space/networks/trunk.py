"""The convolutional part of a classifier, as a detector uses it: its maps at two strides.

A detector has its own heads and an input that need not be square. So the trunk ends with the last
stage: the last 1×1 convolution (conv5), the pool and the classifier stay behind.
"""

from dataclasses import dataclass
from functools import cached_property

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.operators import AveragePool, Conv, Graph, MaxPool, Op
from nas_sv2.space.networks.lowering import Classifier, lower_at


@dataclass(frozen=True)
class Trunk:
    """A classifier without its head, cut before its last stage.

    Attributes:
        body: From the image to the map before the last stage (stride 16 in the paper's).
        tail: The last stage, to a map of stride 32 in the paper's networks.
    """

    body: Graph
    tail: Graph

    @property
    def height(self) -> int:
        """Height of the image."""
        return self.body.input.height

    @property
    def width(self) -> int:
        """Width of the image."""
        return self.body.input.width

    @cached_property
    def stride(self) -> int:
        """The factor by which the last map is smaller than the image, but for rounding."""
        return self.middle_stride * _stride_of(self.tail)

    @cached_property
    def middle_stride(self) -> int:
        """The factor by which the map before the last stage is smaller, but for rounding."""
        return _stride_of(self.body)

    @cached_property
    def graph(self) -> Graph:
        """Both parts as one."""
        return Graph(self.body.input, self.tail.output, self.body.ops + self.tail.ops)


def _stride_of(graph: Graph) -> int:
    writer = {value.name: op for op in graph.ops for value in op.outputs}
    value, stride = graph.output, 1
    while value != graph.input:
        op = writer[value.name]
        stride *= op.kind.stride if isinstance(op.kind, Conv | MaxPool | AveragePool) else 1
        value = op.source
    return stride


def trunk_of(network: Classifier, height: int, width: int) -> Trunk:
    """Cut the trunk out of `network`, on images of `height` × `width` pixels.

    Raises:
        ConfigError: The network has fewer than two stages, its last stage reads more than the map
            before it, or the image is too small.
    """
    graph = lower_at(network, height, width)
    stages: dict[str, list[Op]] = {}
    for op in graph.ops:
        if op.block.startswith("stage"):
            stages.setdefault(op.block.partition(".")[0], []).append(op)
    if len(stages) < 2:
        raise ConfigError("architecture", len(stages), "must have two stages or more")
    *_, last = stages
    inside = {op.name for op in stages[last]}
    first = next(index for index, op in enumerate(graph.ops) if op.name in inside)
    body, tail = graph.ops[:first], tuple(stages[last])
    written = {value.name for op in tail for value in op.outputs}
    entering = {value for op in tail for value in op.inputs if value.name not in written}
    if entering != {body[-1].output}:
        allowed = "must have a last stage that reads only the map of the stage before"
        raise ConfigError("architecture", last, allowed)
    return Trunk(
        Graph(graph.input, body[-1].output, body),
        Graph(body[-1].output, tail[-1].output, tail),
    )
