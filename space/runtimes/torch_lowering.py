"""Operators become a torch module, to be trained.

The module's state is named after the operators (`stage2.0.main.expand.conv.weight`), so that its
numbers are the weights of the ONNX lowering too.
"""

from collections.abc import Callable
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn

from nas_sv2.space.graph.operators import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    Function,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Pool,
    Rearrangement,
    Select,
    Shift,
    Shuffle,
    Split,
)
from nas_sv2.space.runtimes.weights import BATCH_NORM_EPSILON, Array, Weights, check_weights

Run = Callable[..., Tensor | tuple[Tensor, ...]]

FUNCTIONS: dict[Function, Run] = {
    "relu": torch.relu,
    "relu6": nn.functional.relu6,
    "sigmoid": torch.sigmoid,
}


def shuffled(value: Tensor, groups: int) -> Tensor:
    """`torch.channel_shuffle`, which takes twice as long for a channels-last tensor on a CPU.

    Args:
        value: (N, C, H, W); what is returned lies in memory as it does.
        groups: The channels are taken from so many runs in turn.
    """
    if value.is_contiguous() or not value.is_contiguous(memory_format=torch.channels_last):
        return torch.channel_shuffle(value, groups)
    count, channels, height, width = value.shape
    in_groups = value.permute(0, 2, 3, 1).reshape(count, height, width, groups, -1)
    in_turn = in_groups.transpose(3, 4).reshape(count, height, width, channels)
    return in_turn.permute(0, 3, 1, 2)


class Convolution(nn.Conv2d):
    """A convolution; with a kernel of 1 it is a product of matrices.

    So it is on a CPU, if the channels of a pixel lie side by side. A training step of V2 0.5x and
    1x takes 13 to 20 % less time for it (one thread, AVX-512).
    """

    def reset_parameters(self) -> None:
        """Draw nothing, least of all from torch's global generator; see `build_module`."""

    def forward(self, value: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        is_product = self.kernel_size == self.stride == (1, 1) and self.groups == 1
        if not is_product or value.stride(1) != 1 or value.device.type != "cpu":
            return super().forward(value)
        rows = value.permute(0, 2, 3, 1)
        return nn.functional.linear(rows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class Classifier(nn.Linear):
    """A fully connected layer."""

    def reset_parameters(self) -> None:
        """Draw nothing, as `Convolution`."""


class ConvNorm(nn.Module):
    """A convolution and, where the operator has one, its batch norm."""

    def __init__(self, op: Op) -> None:
        """Hold the layers of `op`, not yet filled with numbers."""
        super().__init__()
        assert isinstance(op.kind, Conv)
        self.conv = Convolution(
            op.source.channels,
            op.output.channels,
            op.kind.kernel,
            op.kind.stride,
            padding=op.kind.padding,
            groups=op.kind.groups,
            bias=op.kind.bias,
        )
        self.norm = (
            nn.BatchNorm2d(op.output.channels, BATCH_NORM_EPSILON) if op.kind.batch_norm else None
        )

    def forward(self, value: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        value = self.conv(value)
        return value if self.norm is None else self.norm(value)


class LoneNorm(nn.Module):
    """A batch norm of its own."""

    def __init__(self, channels: int) -> None:
        """Hold the layer, not yet filled with numbers."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, BATCH_NORM_EPSILON)

    def forward(self, value: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        normed: Tensor = self.norm(value)
        return normed


class GraphModule(nn.Module):
    """A network as torch runs it: (N, C, H, W) to logits (N, classes), or to the map it ends in.

    A value is dropped after its last reader, so that inference holds no more than it needs.
    """

    def __init__(self, graph: Graph) -> None:
        """Build the layers of `graph` under the names of its operators."""
        super().__init__()
        last_reader = {value.name: op.name for op in graph.ops for value in op.inputs}
        self._input, self._output = graph.input.name, graph.output.name
        self._ends_in_map = not isinstance(graph.ops[-1].kind, Linear)
        self._names = [op.name for op in graph.ops]
        self._steps: list[tuple[Run, list[str], list[str], list[str]]] = []
        for op in graph.ops:
            inputs = [value.name for value in op.inputs]
            outputs = [value.name for value in op.outputs]
            done = [name for name in dict.fromkeys(inputs) if last_reader[name] == op.name]
            self._steps.append((self._runner(op), inputs, outputs, done))

    def forward(self, images: Tensor) -> Tensor:
        """The output for a batch of images."""
        values = {self._input: images}
        for run, inputs, outputs, done in self._steps:
            result = run(*(values[name] for name in inputs))
            for name in done:
                del values[name]
            if isinstance(result, tuple):
                values.update(zip(outputs, result, strict=True))
            else:
                values[outputs[0]] = result
        return values[self._output] if self._ends_in_map else values[self._output].flatten(1)

    def wrap_steps(self, wrapped: Callable[[str, Run], Run]) -> None:
        """Let every operator run as `wrapped` of its name and what runs it, so as to trace it."""
        self._steps = [
            (wrapped(name, run), inputs, outputs, done)
            for name, (run, inputs, outputs, done) in zip(self._names, self._steps, strict=True)
        ]

    def _runner(self, op: Op) -> Run:
        match op.kind:
            case Conv():
                return self._registered(op.name, ConvNorm(op))
            case Norm():
                return self._registered(op.name, LoneNorm(op.source.channels))
            case Linear():
                layer = self._registered(
                    op.name, Classifier(op.source.channels, op.output.channels)
                )
                return partial(_classified, layer)  # a copy of it has the copied layer
            case MaxPool() | AveragePool() | GlobalAveragePool():
                return _pool(op.kind)
            case Shift() | Select() | Split() | Concat() | Shuffle():
                return _rearrangement(op.kind)
            case Activation(function=function):
                return FUNCTIONS[function]
            case Add():
                return torch.add
            case Multiply():
                return torch.mul
            case _:
                assert_never(op.kind)

    def _registered(self, name: str, layer: nn.Module) -> nn.Module:
        parent: nn.Module = self
        *path, leaf = name.split(".")
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(leaf, layer)
        return layer


def _classified(layer: nn.Module, value: Tensor) -> Tensor:
    logits: Tensor = layer(value.flatten(1))
    return logits


def _pool(kind: Pool) -> Run:
    match kind:
        case MaxPool(kernel=side, stride=stride):
            return nn.MaxPool2d(side, stride, padding=side // 2)
        case AveragePool(kernel=side, stride=stride):
            return nn.AvgPool2d(side, stride, kind.padding, count_include_pad=False)
        case GlobalAveragePool():
            return lambda value: value.mean((2, 3), keepdim=True)


def _rearrangement(kind: Rearrangement) -> Run:
    """Return the function that moves values or channels and computes nothing."""
    match kind:
        case Shift():
            return lambda value: nn.functional.pad(value, (-1, 1, -1, 1))
        case Select(channels=channels):
            return lambda value: value[:, list(channels)]
        case Split(sizes=sizes):
            return lambda value: torch.split(value, list(sizes), dim=1)
        case Concat():
            return lambda *values: torch.cat(values, dim=1)
        case Shuffle(groups=groups):
            return lambda value: shuffled(value, groups)


def build_module(graph: Graph, generator: torch.Generator | None = None) -> GraphModule:
    """The network of `graph`, initialised from `generator` (seed 0 if there is none).

    Convolutions are He-normal (fan-out), and the classifier is N(0, 0.01). The batch norm before a
    residual sum starts at zero: a deep network starts as a shallow one (Goyal et al. 2017, section
    5.1).
    """
    module = GraphModule(graph)
    _initialise(module, graph, generator or torch.Generator().manual_seed(0))
    return module


def weights_of(module: nn.Module) -> dict[str, Array]:
    """The numbers of a module, as the ONNX lowering takes them and safetensors keeps them."""
    return {
        # Trained are kernels that lie channels-last; safetensors writes memory as it lies, and
        # takes it for an array in order.
        name: tensor.detach().float().cpu().contiguous().numpy()
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def load_weights(module: nn.Module, graph: Graph, weights: Weights) -> None:
    """Fill a module of `graph` with `weights`.

    Raises:
        ConfigError: The weights are not those of `graph`.
    """
    check_weights(graph, weights)
    state = module.state_dict()
    state.update({name: torch.from_numpy(array) for name, array in weights.items()})
    module.load_state_dict(state)


def _initialise(module: nn.Module, graph: Graph, generator: torch.Generator) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01, generator=generator)
            nn.init.zeros_(layer.bias)
    for name in last_before_sum(graph):
        norm = module.get_submodule(f"{name}.norm")
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)


def last_before_sum(graph: Graph) -> list[str]:
    """The normed convolution whose output a sum adds, scaled or not, to what its branch read."""
    writer = {value.name: op for op in graph.ops for value in op.outputs}
    names = []
    for op in graph.ops:
        if isinstance(op.kind, Add):
            identity, value = op.inputs
            normed = None
            while value.name in writer and value.name != identity.name:
                before = writer[value.name]
                if normed is None and isinstance(before.kind, Conv) and before.kind.batch_norm:
                    normed = before.name
                value = before.source
            if normed is not None and value.name == identity.name:
                names.append(normed)
    return names
