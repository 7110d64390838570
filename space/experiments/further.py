"""Further experiments than the paper's: each operator of our units on the maps of these units.

Widths are those of the ShuffleNet V2 spaces around 1×: a unit of stage 2, 3 and 4 convolves about
58, 116 and 232 channels on maps of 28, 14 and 7. A block is repeated so often that a network takes
about a millisecond on a desktop core, much longer than the call itself.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from nas_sv2.space.experiments.blocks import (
    Arrangement,
    Block,
    Depthwise,
    Fragments,
    GroupedPointwise,
    Head,
    Move,
    MovedPointwise,
    PointwisePair,
    ShrinkingDepthwise,
    ShrinkingUnit,
    Stem,
    Unit,
)
from nas_sv2.space.experiments.network import ExperimentNetwork
from nas_sv2.space.experiments.paper import Experiment, ExperimentTable
from nas_sv2.space.units.architecture import KERNELS

IMAGE_SIDE = 224
LAST_SIDE = 7
CONVOLVED = {56: 24, 28: 58, 14: 116, 7: 232}
"""By map: what a unit of 1× convolves there; on 56 what its stem emits."""
NEAR = {28: (64, 56, 60, 62, 61), 14: (128, 120, 124, 122, 123), 7: (240, 248, 236, 234, 235)}
"""By map: widths near one size that are multiples of 16, 8, 4, 2 and odd."""
MULTIPLES = ("of 16", "of 8", "of 4", "of 2", "odd")
UNITS: Mapping[str, dict[str, Any]] = {
    "unit": {},
    "with SE": {"se": True},
    "with residual": {"residual": True},
    "with wide field": {"wide_field": True},
}


def further_tables() -> tuple[ExperimentTable, ...]:
    """All of them; the groups of each are compared in one session."""
    return (*_width_tables(), *_kernel_tables(), *_unit_tables())


def _width_tables() -> tuple[ExperimentTable, ...]:
    return (
        _table(
            "whole blocks",
            "G1 to G3 at equal FLOPs, all channels, also of each group, multiples of 16",
            _whole_blocks,
        ),
        _table(
            "map", "1×1 convolutions on smaller maps with more channels, at equal FLOPs", _maps
        ),
        _table("ratio", "c1:c2 of 1×1 convolutions on the maps of the stages", _ratios),
        _table("multiple", "channels of 1×1 convolutions near one number", _pointwise_multiples),
        _table(
            "depthwise multiple",
            "channels of depthwise convolutions near one number",
            _depthwise_multiples,
        ),
    )


def _kernel_tables() -> tuple[ExperimentTable, ...]:
    return (
        _table("kernel", "side of the depthwise kernel, channels a multiple of 4", _kernels),
        _table(
            "kernel, even widths",
            "side of the depthwise kernel, channels a multiple of 2 only",
            _kernels_of_even_widths,
        ),
        _table(
            "kernel, narrow even widths",
            "the same of the spaces' narrowest stages, channels a multiple of 2 only",
            _narrow_even_kernels,
        ),
        _table("kernel, narrow", "the same of the spaces' narrowest stages", _narrow_kernels),
        _table("kernel, wide", "the same of the widest", _wide_kernels),
        _table(
            "kernel, stride 2", "side of the depthwise kernel where the map shrinks", _shrinking
        ),
    )


def _unit_tables() -> tuple[ExperimentTable, ...]:
    return (
        _table("unit", "options of the unit that keeps its width", _units),
        _table(
            "shrinking unit",
            "side of the depthwise kernel of the unit that halves the map",
            _halving,
        ),
        _table("moves", "moving channels before a 1×1 convolution with shortcut", _moves),
        _table("stem", "the first convolution and the max pool behind it", _stems),
        _table("head", "the last 1×1 convolution, pool and classifier", _heads),
    )


def _table(name: str, title: str, rows: Callable[[], Iterable[Experiment]]) -> ExperimentTable:
    return ExperimentTable(name, title, tuple(rows()))


def _row(variant: str, group: str, block: Block, side: int, repeats: int = 10) -> Experiment:
    return Experiment(variant, group, ExperimentNetwork(block, side, repeats))


def _whole_blocks() -> Iterable[Experiment]:
    """Widths grow in steps of 4: by √2, as the paper's, they would be no multiples of 16."""
    first, side = 128, 28
    for root in (1, 2, 4):
        pair = PointwisePair(first // root, first * root)
        yield _row(f"1:{root * root}", "G1: c1:c2", pair, side)
    for root in (1, 2, 4):
        grouped = GroupedPointwise(first * root, root * root)
        yield _row(f"{root * root}", "G2: groups", grouped, side)
    for arrangement in get_args(Arrangement):
        for root in (1, 2, 4):
            fragments = Fragments(first // root, root * root, arrangement)
            yield _row(f"{root * root}", f"G3: {arrangement}", fragments, side)


def _maps() -> Iterable[Experiment]:
    for first in (16, 40):
        for halvings, side in enumerate(CONVOLVED):
            width = first << halvings
            yield _row(f"{side}×{side}", f"c = {first} at 56", PointwisePair(width, width), side)


def _ratios() -> Iterable[Experiment]:
    for side, width in CONVOLVED.items():
        for ratio, block in (
            ("1:1", PointwisePair(width, width)),
            ("1:4", PointwisePair(width // 2, 2 * width)),
        ):
            yield _row(ratio, _on(side), block, side)


def _pointwise_multiples() -> Iterable[Experiment]:
    for side, widths in NEAR.items():
        for multiple, width in zip(MULTIPLES, widths, strict=True):
            yield _row(multiple, _on(side), PointwisePair(width, width), side)


def _depthwise_multiples() -> Iterable[Experiment]:
    for side, repeats in ((28, 20), (14, 40)):
        for multiple, width in zip(MULTIPLES, NEAR[side], strict=True):
            yield _row(multiple, _on(side), Depthwise(width, 3), side, repeats)


def _kernels() -> Iterable[Experiment]:
    return _depthwise((56, 24, 20), (28, 60, 30), (14, 116, 40), (7, 232, 60))


def _narrow_kernels() -> Iterable[Experiment]:
    return _depthwise((28, 16, 60), (14, 32, 80), (7, 64, 120))


def _wide_kernels() -> Iterable[Experiment]:
    return _depthwise((28, 120, 15), (14, 240, 20), (7, 464, 30))


def _depthwise(*maps: tuple[int, int, int]) -> Iterable[Experiment]:
    for side, width, repeats in maps:
        for kernel in KERNELS:
            yield _row(_square(kernel), _on(side), Depthwise(width, kernel), side, repeats)


def _kernels_of_even_widths() -> Iterable[Experiment]:
    return _depthwise((28, 58, 5), (14, 118, 5), (7, 234, 10))


def _narrow_even_kernels() -> Iterable[Experiment]:
    return _depthwise((28, 18, 15), (14, 34, 15), (7, 66, 30))


def _shrinking() -> Iterable[Experiment]:
    for side, width, branches in ((56, 24, 32), (28, 116, 32), (14, 232, 48), (28, 58, 4)):
        for kernel in KERNELS:
            block = ShrinkingDepthwise(width, kernel, branches)
            yield _row(_square(kernel), f"{_on(side)}, c = {width}", block, side, repeats=1)


def _units() -> Iterable[Experiment]:
    for side in (28, 14, 7):
        convolved = CONVOLVED[side]
        for variant, options in UNITS.items():
            block = Unit(2 * convolved, convolved, **options)
            yield _row(variant, _on(side), block, side, repeats=6)


def _halving() -> Iterable[Experiment]:
    for side, width, wider in ((56, 24, 116), (28, 116, 232), (14, 232, 464)):
        for kernel in KERNELS:
            block = ShrinkingUnit(width, wider, kernel)
            yield _row(_square(kernel), _on(side), block, side, repeats=1)


def _moves() -> Iterable[Experiment]:
    for side in (28, 14, 7):
        width = 2 * CONVOLVED[side]
        for move in get_args(Move):
            yield _row(move, _on(side), MovedPointwise(width, move), side, repeats=6)


def _stems() -> Iterable[Experiment]:
    for width in (16, 24, 32):
        for pool in (False, True):
            variant = "with max pool" if pool else "convolution"
            yield _row(variant, f"c = {width}", Stem(width, pool), IMAGE_SIDE, repeats=1)


def _heads() -> Iterable[Experiment]:
    for width in (192, 464, 704):
        for inner, classes in ((1024, 1000), (512, 1000), (1024, 10)):
            variant = f"{inner} channels, {classes} classes"
            yield _row(variant, f"c = {width}", Head(width, inner, classes), LAST_SIDE, repeats=1)


def _on(side: int) -> str:
    return f"{side}×{side}"


def _square(kernel: int) -> str:
    return f"{kernel}×{kernel}"
