"""Checks by sampling that a budget can be met, before the search rather than by a hang in it.

Sampling shows that a budget can be met, or how near the sampled networks come. It cannot prove
that no network of the space meets it, so the message gives the number of sampled networks.
"""

import random

from nas_sv2.errors import InfeasibleError
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester as RandomSuggester
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.units.architecture import Architecture

SAMPLES = 2000  # about 8 s on one slow core; fewer if networks that fit come earlier
ENOUGH = 200  # networks within the limits on cost, of which the cheapest are timed
TIMED = 8  # cheapest networks to time; each takes about a second on a device


def check_feasible(space: SearchSpace, walk: Walk, seed: int) -> None:
    """Return as soon as a sampled network keeps every limit.

    Raises:
        InfeasibleError: If none of `SAMPLES` networks does; the message has the nearest figure.
    """
    suggester = RandomSuggester(random.Random(seed))
    nearest: tuple[float, str] | None = None
    within: list[tuple[int, Architecture]] = []
    for _ in range(SAMPLES):
        architecture = space.sample(suggester)
        cost, excesses = walk.weigh(architecture)
        worst = max(excesses, key=excesses.__getitem__, default="")
        if worst and excesses[worst] > 0:
            nearest = min(nearest or (float("inf"), ""), (excesses[worst], _figure(worst, cost)))
            continue
        if not walk.budget.latency_ms:
            return
        within.append((cost.flops, architecture))
        if len(within) == ENOUGH:
            break
    if not within:
        raise InfeasibleError(
            f"none of {SAMPLES} sampled networks of space {space.name} keeps "
            f"{walk.budget.describe()} and the guidelines: the nearest has "
            f"{nearest[1] if nearest else 'nothing'}"
        )
    _check_latency(space, walk, [a for _, a in sorted(within, key=lambda pair: pair[0])[:TIMED]])


def _check_latency(space: SearchSpace, walk: Walk, cheapest: list[Architecture]) -> None:
    """Time the cheapest networks until one keeps the limits on latency."""
    nearest = (float("inf"), "")
    for architecture in cheapest:
        latencies = {n: target.estimate(architecture) for n, target in walk.targets.items()}
        times = {name: latency.ms for name, latency in latencies.items()}
        excesses = walk.budget.latency_excesses(times)
        worst = max(excesses, key=excesses.__getitem__)
        if excesses[worst] <= 0:
            return
        target = worst.removesuffix("_ms")
        figure = f"{times[target]:.3g} ms on {target} ({latencies[target].provenance})"
        nearest = min(nearest, (excesses[worst], figure))
    raise InfeasibleError(
        f"none of the {len(cheapest)} cheapest sampled networks of space {space.name} keeps "
        f"{walk.budget.describe()}: the nearest takes {nearest[1]}"
    )


def _figure(constraint: str, cost: Cost) -> str:
    match constraint:
        case "flops":
            return f"{cost.flops / 1e6:.4g} MFLOPs"
        case "params":
            return f"{cost.params / 1e6:.4g} M params"
        case _:
            return f"{constraint} beyond its limit"
