"""A candidate at a share of its widths: cheaper to train, perhaps in the same order."""

import dataclasses
import math

from nas_sv2.space.units.architecture import Architecture


def narrowed(architecture: Architecture, factor: float) -> Architecture:
    """`architecture` with its widths times `factor`, each rounded to what can be built.

    That is the nearest even width which its split divides and which, where the shortcut keeps its
    channels, is above the width that enters; depth, kernels and all else stay.
    """
    if factor == 1:
        return architecture
    stem = tuple(max(1, round(width * factor)) for width in architecture.stem)
    stages, width_in = [], stem[-1]
    for stage in architecture.stages:
        step = math.lcm(2, stage.split.denominator)
        width = max(1, round(stage.width * factor / step)) * step
        if architecture.downsample == "paper" and width <= width_in:
            width = (width_in // step + 1) * step
        stages.append(dataclasses.replace(stage, width=width))
        width_in = width
    head = max(1, round(architecture.head * factor))
    return dataclasses.replace(architecture, stem=stem, stages=tuple(stages), head=head)
