"""The learning rate of a step: one linear climb, and one descent."""

import math

from nas_sv2.evaluate.recipes.recipe import Schedule


def one_cycle(
    step: int, steps: int, peak: float, warm_up: float, schedule: Schedule = "linear"
) -> float:
    """The rate at `step` of `steps`, counted from 0.

    Climbs from near 0 to `peak` over the share `warm_up` and falls to 0, in a line or along half a
    cosine, which it would reach one step after the last: the last weights are then an average over
    small moves and worth scoring.
    """
    position = (step + 1) / (steps + 1)
    if position < warm_up:
        return peak * position / warm_up
    if warm_up == 1:
        return peak
    if schedule == "cosine":
        return peak * (1 + math.cos(math.pi * (position - warm_up) / (1 - warm_up))) / 2
    return peak * (1 - position) / (1 - warm_up)
