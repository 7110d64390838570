"""Networks of a space that have, between them, every operator at its widest.

No single network has them all. The main branch of a unit that changes the width emits c − c_in
channels (the authors' form), the most of them behind a narrow stage. So the combinations of input
width, width and share that sampling can reach are worked out, stage after stage.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nas_sv2.space.choices.search_space import SearchSpace, StageChoices, splittable
from nas_sv2.space.choices.suggesters import EndSuggester
from nas_sv2.space.units.architecture import OPTIONS, Architecture, Stage

_Met = tuple[int, int, int]
"""Channels that enter a stage, that it emits, that it convolves: c_in, c, c′."""
_Path = tuple[tuple[int, ...], tuple[Stage, ...]]
"""The stem, and the stages so far."""
_WIDEST: tuple[Callable[[_Met], int], ...] = (
    lambda met: met[0],
    lambda met: met[1],
    lambda met: met[2],
    lambda met: met[1] - met[0],
    lambda met: met[1] - met[2],
)


def largest(space: SearchSpace) -> Architecture:
    """The network with the most of everything."""
    return space.sample(EndSuggester(highest=True))


def smallest(space: SearchSpace) -> Architecture:
    """The network with the least of everything."""
    return space.sample(EndSuggester(highest=False))


def widest_networks(space: SearchSpace) -> list[Architecture]:
    """Networks of which one has the most channels of each operator, and one the largest kernel.

    Some end after a stage, with the head behind it, and do not belong to the space. Each is there
    with and without residuals if the space offers both.
    """
    found = [largest(replace(space, stem=(stem,))) for stem in space.stem]
    paths: dict[int, _Path] = {stem[-1]: (stem, ()) for stem in space.stem}
    for choices in space.stages:
        met = _met(choices, paths)
        for width_of in _WIDEST:
            stem, stages = met[max(met, key=width_of)]
            found.append(replace(found[0], stem=stem, stages=stages))
        paths = {width: path for (_, width, _), path in met.items()}
    residuals = {flag for choices in space.stages for flag in choices.residual}
    return [_with_residuals(one, space, flag) for one in found for flag in sorted(residuals)]


def _with_residuals(network: Architecture, space: SearchSpace, wanted: bool) -> Architecture:
    """Return `network` with or without residuals, in every stage that allows it."""
    stages = (
        replace(stage, residual=wanted if wanted in choices.residual else not wanted)
        for stage, choices in zip(network.stages, space.stages, strict=False)
    )
    return replace(network, stages=tuple(stages))


def _met(choices: StageChoices, paths: dict[int, _Path]) -> dict[_Met, _Path]:
    """All that can meet in a stage, each with a way to it."""
    met: dict[_Met, _Path] = {}
    most: dict[str, Any] = {option.name: max(getattr(choices, option.name)) for option in OPTIONS}
    del most["residual"]  # both forms are wanted (`_with_residuals`)
    for width_in, (stem, before) in paths.items():
        for split in choices.split:
            for wanted in choices.width.numbers:
                stage = Stage(
                    choices.depth.high,
                    splittable(wanted, split, more_than=width_in),
                    split,
                    stride=choices.stride,
                    **most,
                )
                met[width_in, stage.width, stage.convolved] = (stem, (*before, stage))
    return met
