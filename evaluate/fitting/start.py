"""The start of a training from given weights: those taken, the parts frozen, rates of parts.

A weight is taken if its name and its shape are those of the network that is trained. All others
start fresh, such as a classifier of another number of classes.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.operators import Graph, Linear
from nas_sv2.space.runtimes.weights import BATCH_NORM_EPSILON, Weights, weight_shapes

LEAST_TAKEN = 0.5
"""Share of the parameters before the classifier that must be taken. The widths of two sizes of
ShuffleNet V2 agree in the stem and in little else; to start from so little would be a mistake."""
STATISTICS = ("running_mean", "running_var")
SHOWN = 3  # weights that start fresh, in the line on them


@dataclass(frozen=True, eq=False, slots=True)
class Taken:
    """The weights that a network takes.

    Attributes:
        names: Names of the weights that are taken.
        count: Number of all weights of the network.
        fresh: The reason for each weight that is not taken, by name.
        share: Share of the parameters before the classifier that are taken.
    """

    names: Sequence[str]
    count: int
    fresh: Mapping[str, str]
    share: float

    def describe(self, source: str) -> str:
        """Say in one line which weights of `source` are taken, and which are not."""
        said = f"weights of {source}: {len(self.names)} of {self.count} taken by name and shape"
        if not self.fresh:
            return said
        shown = [f"{name} ({why})" for name, why in list(self.fresh.items())[:SHOWN]]
        more = len(self.fresh) - len(shown)
        return f"{said}; fresh: {', '.join(shown)}" + (f" and {more} more" if more else "")


@dataclass(frozen=True, eq=False)
class Start:
    """The start of a training.

    Attributes:
        weights: Weights by name; those of other names or shapes are passed over.
        source: The user's words for them; empty if there are none.
        frozen: Parts that do not learn, as `stem` or `stage2.0`; their batch norms keep their
            statistics too.
        rates: Factors of the learning rate by part; the longest name that fits counts.
    """

    weights: Weights = field(default_factory=dict)
    source: str = ""
    frozen: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)

    def freezes(self, part: str) -> bool:
        """Whether a part of the network, such as an operator, is frozen."""
        return _is_in(f"{part}.", self.frozen)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name weights, frozen parts and rates."""
        content = hashlib.sha256(repr((self.frozen, sorted(self.rates.items()))).encode())
        for name in sorted(self.weights):
            content.update(f"{name}{self.weights[name].shape}".encode())
            content.update(np.ascontiguousarray(self.weights[name]).tobytes())
        return content.hexdigest()[:16]

    def check(self, graph: Graph) -> Taken:
        """Refuse a start that is not one for the network of `graph`; return the weights to take.

        Raises:
            ConfigError: The weights are of another network, there is no such part, a part that
                is to be frozen would start fresh, or nothing would learn.
        """
        taken = take(graph, self.weights)
        if self.source and taken.share < LEAST_TAKEN:
            allowed = (
                f"must be weights of this network: {taken.share:.0%} of its parameters before the "
                f"classifier have their name and shape there, and {LEAST_TAKEN:.0%} are needed"
            )
            raise ConfigError("weights", self.source, allowed)
        names = weight_shapes(graph)
        for option, parts in (("freeze", self.frozen), ("rates", tuple(self.rates))):
            for part in parts:
                if not any(_is_in(name, (part,)) for name in names):
                    tops = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
                    raise ConfigError(option, part, f"must be a part of the network: {tops}")
        self._check_frozen(names, taken)
        return taken

    def _check_frozen(self, names: Iterable[str], taken: Taken) -> None:
        """Refuse to freeze what is not given, what has a rate, or everything."""
        if self.frozen and not self.source:
            sentence = "must be left out without weights: fresh weights would stay as they are"
            raise ConfigError("freeze", ",".join(self.frozen), sentence)
        for name, why in taken.fresh.items():
            if _is_in(name, self.frozen):
                sentence = f"must name parts whose weights are given: {name} is not ({why})"
                raise ConfigError("freeze", ",".join(self.frozen), sentence)
        for part in self.rates:
            if self.freezes(part):
                raise ConfigError("rates", part, "must be a part that is not frozen")
        if all(_is_in(name, self.frozen) for name in names):
            raise ConfigError("freeze", ",".join(self.frozen), "must leave a part that learns")

    def apply(self, module: nn.Module, graph: Graph) -> Taken:
        """Give a fresh `module` of `graph` the weights, and freeze parts of it.

        Raises:
            ConfigError: As `check`.
        """
        taken = self.check(graph)
        state = module.state_dict()
        state.update({name: torch.from_numpy(self.weights[name]) for name in taken.names})
        module.load_state_dict(state)
        freeze(module, self.frozen)
        return taken

    def describe(self, graph: Graph) -> dict[str, Any]:
        """Return the start as plain data for a card."""
        taken = take(graph, self.weights)
        return {
            "weights": self.source,
            "digest": self.digest,
            "taken": len(taken.names),
            "of": taken.count,
            "fresh": list(taken.fresh),
            "frozen": list(self.frozen),
            "rates": dict(self.rates),
        }


def take(graph: Graph, weights: Weights) -> Taken:
    """Find the weights that fit the network of `graph` by name and shape."""
    shapes = weight_shapes(graph)
    ends = tuple(f"{op.name}." for op in graph.ops if isinstance(op.kind, Linear))
    names, fresh, before, found = [], dict[str, str](), 0, 0
    for name, shape in shapes.items():
        fits = name in weights and weights[name].shape == shape
        if fits:
            names.append(name)
        else:
            there = weights[name].shape if name in weights else None
            fresh[name] = "not there" if there is None else f"{there} there, {shape} here"
        if not name.startswith(ends) and not name.endswith(STATISTICS):
            size = int(np.prod(shape))
            before, found = before + size, found + fits * size
    return Taken(names, len(shapes), fresh, found / max(before, 1))


def freeze(module: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of `module` learn nothing; their batch norms keep their statistics for good."""
    if not parts:
        return
    from torchvision.ops import FrozenBatchNorm2d  # takes a second

    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.BatchNorm2d) and _is_in(name, parts):
            frozen = FrozenBatchNorm2d(layer.num_features, BATCH_NORM_EPSILON)
            frozen.load_state_dict(layer.state_dict())
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, frozen)
    for name, parameter in module.named_parameters():
        if _is_in(name, parts):
            parameter.requires_grad_(False)


def rate_of(name: str, rates: Mapping[str, float]) -> float:
    """Return the factor of the learning rate of a parameter: that of the longest part with it."""
    fitting = [part for part in rates if _is_in(name, (part,))]
    return rates[max(fitting, key=len)] if fitting else 1.0


def _is_in(name: str, parts: Sequence[str]) -> bool:
    return any(name.startswith(f"{part}.") for part in parts)
