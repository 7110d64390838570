"""The learning rate of a step: one linear climb, one linear descent."""


def one_cycle(step: int, steps: int, peak: float, warm_up: float) -> float:
    """The rate at `step` of `steps`, counted from 0.

    Climbs from near 0 to `peak` over the share `warm_up` and falls to 0, which it would reach one
    step after the last: the last weights are then an average over small moves and worth scoring.
    """
    position = (step + 1) / (steps + 1)
    if position < warm_up:
        return peak * position / warm_up
    return peak * (1 - position) / (1 - warm_up) if warm_up < 1 else peak
