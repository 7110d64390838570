"""A graph on another input: the same operators, with the shapes that follow from it."""

from dataclasses import replace

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.operators import (
    AveragePool,
    Conv,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Op,
    Value,
    windowed,
)


def resized(graph: Graph, image: Value) -> Graph:
    """Return `graph` with `image` as its input.

    The image may have other channels if only convolutions without groups read it.

    Raises:
        ConfigError: The image leaves a map without a pixel.
    """
    values = {graph.input.name: image}
    ops = []
    for op in graph.ops:
        moved = reading(op, tuple(values[value.name] for value in op.inputs))
        if min(moved.output.height, moved.output.width) < 1:
            allowed = f"must be larger: no pixel is left at {op.name}"
            raise ConfigError("input", f"{image.height}x{image.width}", allowed)
        values.update((value.name, value) for value in moved.outputs)
        ops.append(moved)
    return Graph(image, values[graph.output.name], tuple(ops))


def reading(op: Op, inputs: tuple[Value, ...]) -> Op:
    """Return `op` with other inputs, and outputs of the shapes that follow."""
    return replace(op, inputs=inputs, outputs=_outputs(op, inputs[0]))


def _outputs(op: Op, source: Value) -> tuple[Value, ...]:
    match op.kind:
        case Conv(kernel=kernel, stride=stride, padding=padding):
            pass
        case MaxPool(kernel=kernel, stride=stride):
            padding = kernel // 2
        case AveragePool(kernel=kernel, stride=stride, padding=padding):
            pass
        case GlobalAveragePool() | Linear():
            return op.outputs
        case _:
            height, width = source.height, source.width
            return tuple(replace(value, height=height, width=width) for value in op.outputs)
    name, channels = op.output.name, op.output.channels
    return (windowed(name, source, channels, kernel, stride, padding),)
