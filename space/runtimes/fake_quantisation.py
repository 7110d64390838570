"""Networks that learn with the rounding of their int8 form (Jacob et al., CVPR 2018, section 3).

The rounded values and their first ranges are read from the file that onnxruntime quantises. So
training and export round at the same places. Biases are not rounded: their steps are far smaller
than those of any value. Weights are rounded symmetrically
by output channel, activations to unsigned integers. Gradients pass the rounding unchanged within
the range (straight-through). Batch norms are folded with their running statistics, which no longer
change (Krishnamoorthi, arXiv 1806.08342, section 3.2.2). Ranges are moving averages of the least
and the most of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_sv2.space.graph.operators import Conv, Graph, Linear, Op
from nas_sv2.space.runtimes.onnx_lowering import OUTPUT, build_onnx
from nas_sv2.space.runtimes.quantization import Range, quantize, ranges_in
from nas_sv2.space.runtimes.shuffle_free import with_shuffles, without_shuffles
from nas_sv2.space.runtimes.torch_lowering import (
    ConvNorm,
    GraphModule,
    Run,
    build_module,
    load_weights,
    weights_of,
)
from nas_sv2.space.runtimes.weights import Array, Weights

MOMENTUM = 0.01
"""Weight of a batch in the ranges; torch's own observer of a moving average has the same."""
LEAST_SCALE = 1e-12
RANGES = "activation_ranges"
"""Name of the buffer with the least and the most of each rounded value, (values, 2)."""


@dataclass(frozen=True, eq=False)
class FakeQuantised:
    """A network in which values are rounded as its int8 form rounds them.

    Attributes:
        module: The network without shuffles, to be trained and validated.
        graph: The network as it was, with shuffles.
        values: Names of the rounded values, in the order of the ranges.
    """

    module: GraphModule
    graph: Graph
    values: tuple[str, ...]

    @classmethod
    def of(cls, graph: Graph, weights: Weights, images: Array) -> "FakeQuantised":
        """Make it from trained weights.

        Args:
            graph: The network.
            weights: Its weights.
            images: Images that set the first ranges, normalised, (N, C, H, W).
        """
        free, ordered = without_shuffles(graph, weights)
        ranges = ranges_in(quantize(build_onnx(free, ordered, batch=None), images))
        module = build_module(free)
        load_weights(module, free, ordered)
        names = {value.name for op in free.ops for value in (*op.inputs, *op.outputs)} | {OUTPUT}
        values = tuple(name for name in ranges if name in names)
        module.register_buffer(RANGES, torch.tensor([ranges[name] for name in values]))
        places = {name: place for place, name in enumerate(values)}
        if OUTPUT in places:
            places[free.output.name] = places[OUTPUT]
        ops = {op.name: op for op in free.ops}
        module.wrap_steps(lambda name, run: _rounded(module, free, ops[name], run, places))
        return cls(module, graph, values)

    @property
    def weights(self) -> dict[str, Array]:
        """The weights of the network as it was."""
        held = weights_of(self.module)
        del held[RANGES]
        return with_shuffles(self.graph, held)

    @property
    def ranges(self) -> dict[str, Range]:
        """The learned ranges by value."""
        found = self.module.get_buffer(RANGES).tolist()
        return {name: (low, high) for name, (low, high) in zip(self.values, found, strict=True)}


def _rounded(module: nn.Module, graph: Graph, op: Op, run: Run, places: Mapping[str, int]) -> Run:
    """Return the run of one operator with rounded weights and outputs."""
    if isinstance(op.kind, Conv):
        layer = module.get_submodule(op.name)
        assert isinstance(layer, ConvNorm)
        run = partial(_convolved, layer)
    elif isinstance(op.kind, Linear):
        classifier = module.get_submodule(op.name)
        assert isinstance(classifier, nn.Linear)
        run = partial(_classified, classifier)
    first = places.get(graph.input.name) if graph.input in op.inputs else None
    after = [places.get(value.name) for value in op.outputs]

    def rounded(*values: Tensor) -> Tensor | tuple[Tensor, ...]:
        if first is not None:
            values = tuple(rounded_value(module, first, value) for value in values)
        found = run(*values)
        if isinstance(found, Tensor):
            return found if after[0] is None else rounded_value(module, after[0], found)
        return tuple(
            one if place is None else rounded_value(module, place, one)
            for place, one in zip(after, found, strict=True)
        )

    return rounded


def rounded_value(module: nn.Module, place: int, value: Tensor) -> Tensor:
    """Round an activation to unsigned integers; in training its range follows the batch."""
    ends = module.get_buffer(RANGES)[place]
    if module.training:
        with torch.no_grad():
            ends.lerp_(torch.stack(torch.aminmax(value.detach())).to(ends.dtype), MOMENTUM)
    low, high = ends[0].clamp(max=0), ends[1].clamp(min=0)
    scale = ((high - low) / 255).clamp(min=LEAST_SCALE)
    zero = (-low / scale).round().clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(value, scale, zero, 0, 255)


def rounded_weight(weight: Tensor) -> Tensor:
    """Round a weight to -127 ... 127, with a scale for each output channel."""
    largest = weight.detach().flatten(1).abs().amax(1)
    scale = (largest / 127).clamp(min=LEAST_SCALE)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def _convolved(layer: ConvNorm, value: Tensor) -> Tensor:
    conv, norm = layer.conv, layer.norm
    weight, bias = conv.weight, conv.bias
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = weight * factor[:, None, None, None]
        before = -norm.running_mean if bias is None else bias - norm.running_mean
        bias = norm.bias + before * factor
    rounded = rounded_weight(weight)
    return functional.conv2d(value, rounded, bias, conv.stride, conv.padding, groups=conv.groups)


def _classified(layer: nn.Linear, value: Tensor) -> Tensor:
    return functional.linear(value.flatten(1), rounded_weight(layer.weight), layer.bias)
