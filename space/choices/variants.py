"""What a network would be if one thing were otherwise: the variants that say what a thing costs.

Each differs from the network in one choice of one stage, in the direction that the paper or its
guidelines call the plain one: no squeeze-and-excitation, no residual, no wide field, the 3×3
kernel, half of the channels convolved, a width that fills a runtime's blocks, one unit less.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import FIRST_STAGE, OPTIONS, Architecture

HALF = Fraction(1, 2)
MULTIPLE = 16
"""Channels that fill the blocks of every runtime we met: onnxruntime's are of 8 or 16."""


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A variant of a network.

    Attributes:
        name: What is otherwise, as `SE off in stage 4`.
        architecture: The variant.
        original: What the network costs on paper.
        cost: What the variant costs.
    """

    name: str
    architecture: Architecture
    original: Cost
    cost: Cost

    @property
    def flops_change(self) -> int:
        """Multiply-adds that it has more than the network; negative where it has less."""
        return self.cost.flops - self.original.flops

    @property
    def promise(self) -> float:
        """The shares of multiply-adds and memory access that it saves, added; of no device."""
        flops = self.flops_change / self.original.flops
        access = self.cost.memory_access_bytes / self.original.memory_access_bytes - 1
        return -(flops + access)


def counterfactuals(architecture: Architecture) -> list[Counterfactual]:
    """All variants that can be built and change an operator, the most promising first."""
    original = lower(architecture)
    before = cost_of(original)
    found = []
    for index in range(len(architecture.stages)):
        for name, changed in _changes(architecture, index):
            graph = lower(changed)
            if graph.ops != original.ops:
                where = f"{name} in stage {FIRST_STAGE + index}"
                found.append(Counterfactual(where, changed, before, cost_of(graph)))
    return sorted(found, key=lambda variant: variant.promise, reverse=True)


def _changes(architecture: Architecture, index: int) -> Iterator[tuple[str, Architecture]]:
    stage = architecture.stages[index]
    wanted: list[tuple[str, dict[str, Any]]] = []
    for option in OPTIONS:
        plain = option.values[0]
        if getattr(stage, option.name) != plain:
            wanted.append((option.words_of(plain), {option.name: plain}))
    if stage.split != HALF:
        wanted.append((f"split {HALF}", {"split": HALF}))
    if stage.depth > 1:
        wanted.append(("one unit less", {"depth": stage.depth - 1}))
    for name, fields in wanted:
        if (changed := _with_stage(architecture, index, fields)) is not None:
            yield name, changed
    if stage.width % MULTIPLE:
        below = stage.width // MULTIPLE * MULTIPLE
        nearest = sorted((below, below + MULTIPLE), key=lambda width: abs(width - stage.width))
        for width in nearest:
            if (changed := _with_stage(architecture, index, {"width": width})) is not None:
                yield f"width {width} for {stage.width}, a multiple of {MULTIPLE},", changed
                break


def _with_stage(
    architecture: Architecture, index: int, fields: dict[str, Any]
) -> Architecture | None:
    """The same but for these fields of one stage, or None where that cannot be built."""
    stages = list(architecture.stages)
    stages[index] = replace(stages[index], **fields)
    try:
        return replace(architecture, stages=tuple(stages))
    except ConfigError:
        return None
