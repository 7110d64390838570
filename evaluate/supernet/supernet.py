"""One set of weights for every network of a space.

Every network lowers to operators with names. For each name, the supernet holds parameters of the
largest shape that any network of the space has there. A network runs on slices of them. The slices
are views, so a gradient through a network reaches its own slices and nothing else.

The slices, with the reasons:

- *The last channels*, of inputs and outputs alike. A unit passes its first channels and convolves
  its last c′ (concatenated in that order). At one width, the last c′ of a smaller share are then
  among those of a larger share. Every unit reads and writes them at the same places of the map;
  the first channels would be shifted against each other. At every width the shuffle sends channel
  k to 2k, both counted from 0 at the end. So half of the channels also keep their meaning across
  widths. Squeeze-and-excitation scales the output of the branch and follows it. If a unit changes
  the width, the branches meet in the same order.
- *The centre of a kernel*, as in once-for-all (Cai et al. 2020).
- *The first units of a stage*: a shallow network is the beginning of a deep one.
- *Residual branches have weights of their own.* A branch without a sum gives the new channels; a
  residual branch gives a change to them. Only the last batch norm of a residual branch starts at
  zero (`space/runtimes/torch_lowering.py`).

Statistics of batch norms are not part of the weights: they belong to a network, not to slices.
See Yu & Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas_sv2.space.choices.extremes import widest_networks
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import GraphModule, last_before_sum
from nas_sv2.space.runtimes.weights import weight_shapes
from nas_sv2.space.units.architecture import Architecture

RESIDUAL = "residual"
"""Replaces `main` in the names of shared weights of residual branches."""
CACHED = 16  # modules kept at a time; the largest and the smallest run at every step
_STATISTICS = ("running_mean", "running_var")

Shape = tuple[int, ...]
Adapt = Callable[[Architecture], Architecture]


@dataclass(frozen=True)
class Slice:
    """The place of a network's weight in the supernet.

    Attributes:
        shared: The name of the shared weight.
        index: The part of the shared weight.
    """

    shared: str
    index: tuple[slice, ...]


class Supernet(nn.Module):
    """The shared weights of the networks of `space`.

    Weights have the names of a network (`stage2.1.main.expand.conv.weight`), except in residual
    branches (`stage2.1.residual.expand.conv.weight`).
    """

    def __init__(self, space: SearchSpace, adapt: Adapt, generator: torch.Generator) -> None:
        """Draw fresh weights from `generator`.

        Args:
            space: The space of the networks.
            adapt: Gives the form in which a network of the space is trained.
            generator: Source of the weights.
        """
        super().__init__()
        self.space, self.adapt = space, adapt
        self.shapes = shared_shapes(lower(adapt(one)) for one in widest_networks(space))
        self._weights = nn.ParameterDict(
            {_key(name): _drawn(name, shape, generator) for name, shape in self.shapes.items()}
        )
        self._network = lru_cache(CACHED)(lambda adapted: _bare(adapted, self.shapes))

    def forward(self, images: Tensor, architecture: Architecture) -> Tensor:
        """Logits (N, classes) of a network of the space for `images`, (N, C, H, W)."""
        module, slices = self._network(self.adapt(architecture))
        module.train(self.training)
        weights = {name: self._view(one) for name, one in slices.items()}
        logits: Tensor = functional_call(module, weights, (images,))
        return logits

    def extract(self, architecture: Architecture) -> GraphModule:
        """A network of the space with copied weights, without norm statistics."""
        module, slices = _bare(self.adapt(architecture), self.shapes)
        for name, one in slices.items():
            parent, _, leaf = name.rpartition(".")
            copy = self._view(one).detach().clone(memory_format=torch.contiguous_format)
            setattr(module.get_submodule(parent), leaf, nn.Parameter(copy))
        return module.to(memory_format=torch.channels_last)

    def weights(self) -> dict[str, Tensor]:
        """The shared weights by name, not copied."""
        return {name: self._weights[_key(name)].detach() for name in self.shapes}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Load `weights` of a supernet of this space."""
        with torch.no_grad():
            for name, weight in weights.items():
                self._weights[_key(name)].copy_(weight)

    def _view(self, one: Slice) -> Tensor:
        whole: Tensor = self._weights[_key(one.shared)]
        return whole[one.index]


def shared_shapes(graphs: Iterable[Graph]) -> dict[str, Shape]:
    """The largest shape of each weight among `graphs`, by its shared name."""
    shapes: dict[str, Shape] = {}
    for graph in graphs:
        for _, shared, shape in _learnt(graph):
            shapes[shared] = tuple(map(max, shapes.get(shared, shape), shape))
    return shapes


def slices_of(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, Slice]:
    """The place of each weight of `graph` in shared weights of `shapes`."""
    slices = {}
    for name, shared, shape in _learnt(graph):
        whole = shapes[shared]
        assert all(map(operator.ge, whole, shape)), f"{name} is wider than the supernet"
        channels = [slice(total - part, total) for total, part in zip(whole, shape, strict=True)]
        kernel = [
            slice((total - part) // 2, (total + part) // 2)
            for total, part in zip(whole[2:], shape[2:], strict=True)
        ]
        slices[name] = Slice(shared, (*channels[:2], *kernel))
    return slices


def _learnt(graph: Graph) -> Iterator[tuple[str, str, Shape]]:
    """Yield name, shared name and shape of each weight that is learnt."""
    branches = {name.rpartition(".")[0] for name in last_before_sum(graph)}  # stage2.1.main, ...
    for name, shape in weight_shapes(graph).items():
        if name.endswith(_STATISTICS):
            continue
        path = name.split(".")
        if ".".join(path[:3]) in branches:
            path[2] = RESIDUAL
        yield name, ".".join(path), shape


def _bare(
    adapted: Architecture, shapes: Mapping[str, Shape]
) -> tuple[GraphModule, dict[str, Slice]]:
    """The module of a network without values of its parameters, and their slices."""
    graph = lower(adapted)
    with torch.device("meta"):
        module = GraphModule(graph)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            count = layer.num_features
            layer.running_mean, layer.running_var = torch.zeros(count), torch.ones(count)
            layer.num_batches_tracked = torch.zeros((), dtype=torch.long)
    return module, slices_of(graph, shapes)


def _drawn(name: str, shape: Shape, generator: torch.Generator) -> nn.Parameter:
    """Draw values as `build_module` does: He-normal, for the widest network that uses them.

    A batch norm follows every kernel but those of squeeze-and-excitation and the classifier, so
    that the scale hardly matters to a narrower network.
    """
    weight = torch.empty(shape)
    if len(shape) == 4:
        fan_out = shape[0] * math.prod(shape[2:])
        nn.init.normal_(weight, 0, math.sqrt(2 / fan_out), generator=generator)
    elif len(shape) == 2:
        nn.init.normal_(weight, 0, 0.01, generator=generator)
    elif name.endswith("norm.weight") and not name.endswith(f".{RESIDUAL}.project.norm.weight"):
        nn.init.ones_(weight)
    else:
        nn.init.zeros_(weight)
    return nn.Parameter(weight)


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter of torch has no dot in its name
