"""The controlled experiments: the paper's Tables 1 to 4, as tables of networks to be timed.

Networks of one table are compared with each other, so all of them fit into one session. Those of a
*group* differ in one respect only, and the first of a group is what its others are held against.
Further experiments are in the module `further`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from nas_sv2.space.experiments.blocks import (
    Block,
    Bottleneck,
    Fragments,
    GroupedPointwise,
    PointwisePair,
)
from nas_sv2.space.experiments.network import ExperimentNetwork

Platform = Literal["GPU", "ARM"]
"""The paper's columns: each platform had widths of its own in Tables 1 to 3."""

SCALES = (1, 2, 4)
"""The paper's x1, x2, x4, which multiply the channels."""
G1_WIDTHS: dict[Platform, tuple[tuple[int, int], ...]] = {
    "GPU": ((128, 128), (90, 180), (52, 312), (36, 432)),
    "ARM": ((32, 32), (22, 44), (13, 78), (9, 108)),
}
G1_RATIOS = ("1:1", "1:2", "1:6", "1:12")
G2_WIDTHS: dict[Platform, tuple[int, ...]] = {
    "GPU": (128, 180, 256, 360),
    "ARM": (64, 90, 128, 180),
}
GROUPS = (1, 2, 4, 8)
G3_WIDTHS: dict[Platform, int] = {"GPU": 128, "ARM": 64}
G4_WIDTHS = (32, 64, 128)
BOTTLENECK = 4
"""Table 4's c is the outer width and c/4 the width inside: with c for all three convolutions its
ARM column would need three times what such a core can do."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A network of a table.

    Attributes:
        variant: The setting that is asked about, as `1:2`.
        group: The setting that is held equal, as `x2`.
        network: The network that is timed.
    """

    variant: str
    group: str
    network: ExperimentNetwork


@dataclass(frozen=True, slots=True)
class ExperimentTable:
    """Networks that are compared with each other.

    Attributes:
        name: `G1` to `G4`, or what is asked.
        title: The question in words.
        experiments: By group; the first of a group is what its others are held against.
    """

    name: str
    title: str
    experiments: tuple[Experiment, ...]

    @property
    def groups(self) -> list[list[Experiment]]:
        """The experiments that differ in one respect only."""
        return [list(group) for _, group in groupby(self.experiments, lambda each: each.group)]


def paper_tables(platform: Platform) -> tuple[ExperimentTable, ...]:
    """Tables 1 to 4 with the widths of a column: ten blocks each, on maps of 56×56."""
    return (
        ExperimentTable(
            "G1",
            "input and output channels c1:c2 of 1×1 convolutions, at equal FLOPs",
            tuple(_g1(platform)),
        ),
        ExperimentTable("G2", "groups of 1×1 convolutions, at equal FLOPs", tuple(_g2(platform))),
        ExperimentTable(
            "G3",
            "1×1 convolutions in fragments, one after the other or side by side, at equal FLOPs",
            tuple(_g3(platform)),
        ),
        ExperimentTable("G4", "ReLU and shortcut of ResNet's bottleneck", tuple(_g4())),
    )


def _g1(platform: Platform) -> Iterable[Experiment]:
    for scale in SCALES:
        for ratio, (width, inner) in zip(G1_RATIOS, G1_WIDTHS[platform], strict=True):
            yield _scaled(ratio, scale, PointwisePair(width * scale, inner * scale))


def _g2(platform: Platform) -> Iterable[Experiment]:
    for scale in SCALES:
        for groups, width in zip(GROUPS, G2_WIDTHS[platform], strict=True):
            fitting = -(-width * scale // groups) * groups  # 180 channels make no 8 groups: 184
            block = GroupedPointwise(fitting, groups)
            yield _scaled(f"{groups} group{'s' * (groups > 1)}", scale, block)


def _g3(platform: Platform) -> Iterable[Experiment]:
    first = G3_WIDTHS[platform]
    for scale in SCALES:
        yield _scaled("1-fragment", scale, Fragments(first * scale, 1, "series"))
        for arrangement in ("series", "parallel"):
            for count in (2, 4):
                width = round(first / math.sqrt(count)) * scale  # for equal FLOPs
                name = f"{count}-fragment-{arrangement}"
                yield _scaled(name, scale, Fragments(width, count, arrangement))


def _g4() -> Iterable[Experiment]:
    for width in G4_WIDTHS:
        for relu in (True, False):
            for shortcut in (True, False):
                block = Bottleneck(width, width // BOTTLENECK, relu, shortcut)
                yield Experiment(
                    f"{'ReLU' if relu else 'no ReLU'}, {'' if shortcut else 'no '}shortcut",
                    f"c = {width}",
                    ExperimentNetwork(block),
                )


def _scaled(variant: str, scale: int, block: Block) -> Experiment:
    return Experiment(variant, f"x{scale}", ExperimentNetwork(block))
