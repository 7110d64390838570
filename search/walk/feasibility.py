"""Checks by sampling that a budget can be met, before the search rather than by a hang in it.

Sampling shows that a budget can be met, or how near the sampled networks come. It cannot prove
that no network of the space meets it, so the message gives the number of sampled networks.
"""

import dataclasses
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nas_sv2.errors import ConfigError, InfeasibleError, MeasurementError
from nas_sv2.resolution import in_pixels
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.extremes import smallest
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.space.units.architecture import Architecture

SAMPLES = 2000  # fewer if networks that fit come earlier, or the time is up
LONGEST_S = 5.0  # a user waits so long without a word; the last network may take 3 s more
ENOUGH = 200  # networks within the limits on cost, of which the cheapest are timed
TIMED = 8  # cheapest networks to time; each takes about a second on a device
SHALLOW = 16  # units of a stage, which are weighed before hundreds of them
FEW = 0.02  # share of networks within the limits on cost, below which a line says so


def check_feasible(
    space: SearchSpace, walk: Walk, seed: int, notify: Callable[[str], None] = lambda line: None
) -> None:
    """Return as soon as a sampled network keeps every limit.

    Args:
        space: The space.
        walk: The limits and the targets.
        seed: Seed of the sampled networks.
        notify: Called with a line if few networks keep the limits on cost.

    Raises:
        ConfigError: If a target cannot price the input of the space.
        InfeasibleError: If no sampled network keeps the limits; the message has the nearest
            figure.
    """
    _check_priced(space, walk)
    sampled = _sample(space, walk, seed)
    if not sampled.within:
        raise InfeasibleError(
            f"none of {sampled.count} sampled networks of space {space.name} keeps "
            f"{_limits(walk)}: the nearest has {sampled.nearest[1]}{_kept_by(space, walk)}"
        )
    share = len(sampled.within) / sampled.count
    if share < FEW:
        notify(
            f"few networks of space {space.name} keep the limits on cost: {len(sampled.within)} "
            f"of {sampled.count} sampled; most candidates will be rejected"
        )
    if walk.budget.latency_ms:
        cheapest = sorted(sampled.within, key=lambda pair: pair[0])[:TIMED]
        _check_latency(space, walk, [architecture for _, architecture in cheapest])


def _limits(walk: Walk) -> str:
    """Return the limits that hold without a measurement, of which there is one at least."""
    cost = dataclasses.replace(walk.budget, latency_ms={})
    limits = [cost.describe()] if cost.cost_limits else []
    return " and ".join(limits + ["the guidelines"] * bool(walk.guidelines.limits))


def _kept_by(space: SearchSpace, walk: Walk) -> str:
    """Return the way to networks that keep the limits, if one is known."""
    _, excesses = walk.weigh(smallest(space))
    broken = {name for name, excess in excesses.items() if excess > 0}
    if not broken:
        return "; the smallest one keeps them: narrow the space, by --space FILE"
    only = broken <= walk.guidelines.limits.keys()
    return "; --guidelines off searches without the guidelines" if only else ""


@dataclass
class _Sampled:
    """Networks that were sampled.

    Attributes:
        count: Number of all.
        within: FLOPs and network of those within the limits on cost.
        nearest: The least excess of the others, and its figure.
    """

    count: int = 0
    within: list[tuple[int, Architecture]] = field(default_factory=list)
    nearest: tuple[float, str] = (float("inf"), "nothing")


def _sample(space: SearchSpace, walk: Walk, seed: int) -> _Sampled:
    """Sample networks until enough are within the limits on cost, or the time is up."""
    suggester, found = RandomSuggester(random.Random(seed)), _Sampled()
    enough = ENOUGH if walk.budget.latency_ms else 1
    ends = time.monotonic() + LONGEST_S
    while found.count < SAMPLES and len(found.within) < enough:
        if found.count and time.monotonic() > ends:
            break
        found.count += 1
        architecture = space.sample(suggester)
        cost, excess, worst = _weigh(walk, architecture)
        if excess > 0:
            figure = _figure(worst, cost, excess, walk.budget)
            found.nearest = min(found.nearest, (excess, figure))
        else:
            found.within.append((cost.flops, architecture))
    return found


def _weigh(walk: Walk, architecture: Architecture) -> tuple[Cost, float, str]:
    """Return cost, largest excess and its limit; of a deep network first those of a shallow one.

    A network of hundreds of units takes seconds to build. If fewer units are beyond a limit on
    cost already, so are all.
    """
    stages = tuple(
        dataclasses.replace(stage, depth=min(stage.depth, SHALLOW))
        for stage in architecture.stages
    )
    cost, excesses = walk.weigh(dataclasses.replace(architecture, stages=stages))
    limits = [excesses[name] for name in walk.budget.cost_limits]
    if stages != architecture.stages and max(limits, default=0.0) <= 0:
        cost, excesses = walk.weigh(architecture)
    worst = max(excesses, key=excesses.__getitem__, default="")
    return cost, excesses.get(worst, 0.0), worst


def _check_priced(space: SearchSpace, walk: Walk) -> None:
    """Refuse a space whose input a target cannot price, rather than trial by trial."""
    for name, target in walk.targets.items():
        if target.provenance == "measured":  # a device runs any size, and takes seconds
            continue
        try:
            target.estimate(smallest(space))
        except MeasurementError as error:
            raise ConfigError(
                "target", name, f"must price networks of the space: {error}"
            ) from None


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
        f"none of the {len(cheapest)} cheapest sampled networks of space {space.name} at "
        f"{in_pixels(space.resolution)} keeps {walk.budget.describe()}: "
        f"the nearest takes {nearest[1]}; {_faster(space)}"
    )


def _faster(space: SearchSpace) -> str:
    """Return the ways to faster networks than those of a space."""
    levels = list(LEVELS)
    smaller = levels[: levels.index(space.name)] if space.name in levels else []
    level = f"--space {smaller[-1]} has smaller networks, and " if smaller else ""
    return f"{level}a smaller --input is faster"


def _figure(constraint: str, cost: Cost, excess: float, budget: Budget) -> str:
    match constraint:
        case "flops":
            return f"{cost.flops / 1e6:.4g} MFLOPs"
        case "params":
            return f"{cost.params / 1e6:.4g} M params"
        case "memory":
            return memory_in_words((budget.memory_bytes or 0) * (1 + excess))
        case _:
            return f"{constraint} beyond its limit"
