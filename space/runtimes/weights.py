"""The numbers of a network: their names, shapes, random values, and batch norm folded into them.

A weight is named by its operator, as torch names the lowered module's state. A convolution has
`NAME.conv.weight`, `NAME.conv.bias` and `NAME.norm.weight|bias|running_mean|running_var`. A norm
of its own has the latter four, and the classifier `NAME.weight|bias`.
"""

import errno
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from nas_sv2.errors import ConfigError
from nas_sv2.files import read_bounded
from nas_sv2.plain_data import printable
from nas_sv2.space.graph.cost import kernel_shape
from nas_sv2.space.graph.operators import Conv, Graph, Linear, Norm, Op

MOST_WEIGHT_BYTES = 1 << 30
"""The limit of a file of weights or of a model; the paper's largest has 508 MiB."""
MOST_HEADER_BYTES = 1 << 20
"""The limit of the names and shapes in a file of weights; a name and shape take 100 bytes."""

Array = NDArray[np.float32]
Weights = Mapping[str, Array]

BATCH_NORM_EPSILON = 1e-5  # torch's default, which torchvision's published weights assume
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
LEAST_WEIGHT = 1e-30
"""Weights closer to 0 are exported as 0.

A processor calculates up to a hundred times slower with denormal numbers, which are below 1.2e-38.
Products of smaller weights and activations are denormal, and far below the rounding of any sum."""


def weight_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Name and shape of every number that `graph` needs, in running order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for op in graph.ops:
        match op.kind:
            case Conv(batch_norm=batch_norm, bias=bias):
                shapes[f"{op.name}.conv.weight"] = kernel_shape(op)
                if bias:
                    shapes[f"{op.name}.conv.bias"] = (op.output.channels,)
                if batch_norm:
                    shapes |= _norm_shapes(op)
            case Norm():
                shapes |= _norm_shapes(op)
            case Linear():
                shapes[f"{op.name}.weight"] = kernel_shape(op)
                shapes[f"{op.name}.bias"] = (op.output.channels,)
    return shapes


def _norm_shapes(op: Op) -> dict[str, tuple[int, ...]]:
    return {f"{op.name}.norm.{part}": (op.output.channels,) for part in NORM_PARTS}


def random_weights(graph: Graph, seed: int) -> dict[str, Array]:
    """He-normal kernels and identity batch norms, so that activations keep their scale.

    They are enough to measure latency. The time of a dense network depends on its weights only
    if these make activations denormal or infinite.
    """
    generator = np.random.default_rng(seed)
    weights: dict[str, Array] = {}
    for name, shape in weight_shapes(graph).items():
        if len(shape) > 1:
            scale = np.float32(math.sqrt(2 / math.prod(shape[1:])))
            weights[name] = generator.standard_normal(shape, np.float32) * scale
        elif name.endswith(("norm.weight", "running_var")):
            weights[name] = np.ones(shape, np.float32)
        else:
            weights[name] = np.zeros(shape, np.float32)
    return weights


def flush(array: Array) -> Array:
    """The same with 0 for every number that is closer to 0 than `LEAST_WEIGHT`."""
    return np.where(np.abs(array) < LEAST_WEIGHT, np.float32(0), array)


def fold_batch_norm(op: Op, weights: Weights) -> tuple[Array, Array]:
    """Kernel and bias of a convolution with its batch norm folded in."""
    assert isinstance(op.kind, Conv)
    kernel = weights[f"{op.name}.conv.weight"]
    bias = weights.get(f"{op.name}.conv.bias", np.zeros(len(kernel), np.float32))
    if not op.kind.batch_norm:
        return kernel, bias
    gamma, beta, mean, variance = (weights[f"{op.name}.norm.{part}"] for part in NORM_PARTS)
    scale = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
    return kernel * scale[:, None, None, None], beta + (bias - mean) * scale


def count_flushed(graph: Graph, weights: Weights) -> int:
    """The number of weights, as given and with batch norm folded in, that `flush` sets to 0."""
    held = {name: flush(array) for name, array in weights.items()}
    folded = (fold_batch_norm(op, held) for op in graph.ops if isinstance(op.kind, Conv))
    everything = (*weights.values(), *(array for pair in folded for array in pair))
    return int(sum(np.count_nonzero(array != flush(array)) for array in everything))


def parse_weights(content: bytes) -> dict[str, Array]:
    """Return the arrays of a safetensors file, by name.

    Raises:
        ValueError: The content is not a whole safetensors file, or holds other than float32.
    """
    header_bytes = int.from_bytes(content[:8], "little")
    if header_bytes > MOST_HEADER_BYTES:
        raise ValueError(f"its header has {header_bytes:,} bytes")
    try:
        weights: dict[str, Array] = safetensors.numpy.load(content)
    except (SafetensorError, LookupError, TypeError) as error:
        raise ValueError(printable(str(error))) from error
    for name, array in weights.items():
        if array.dtype != np.float32:
            raise ValueError(f"{printable(name, 80)} is {array.dtype}, not float32")
    return weights


def read_weights(path: Path) -> dict[str, Array]:
    """Return the arrays of a safetensors file, by name.

    Raises:
        OSError: The file cannot be read, is not regular, is too large or not whole.
    """
    try:
        return parse_weights(read_bounded(path, MOST_WEIGHT_BYTES))
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from error


def check_weights(graph: Graph, weights: Weights) -> None:
    """Refuse weights that are not exactly those of `graph`.

    Raises:
        ConfigError: A name is missing or unknown, or a shape differs; names the first.
    """
    shapes = weight_shapes(graph)
    for name in shapes.keys() ^ weights.keys():
        allowed = "must be exactly the weights of this architecture"
        raise ConfigError("weights", name, allowed)
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ConfigError(f"weights {name}", weights[name].shape, f"must have shape {shape}")
