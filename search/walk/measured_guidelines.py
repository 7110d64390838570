"""Guidelines in a device's own time: a candidate is pruned for what it wastes there.

A guideline profile (`latency.guideline_profile`) estimates the time of a network and the share of
it that is wasted against an ideal network of the same FLOPs. How much waste is too much follows
from the space itself: networks within the budget are sampled, and a network may take no longer
than `FASTER` of them do that have no fewer FLOPs. A candidate that so many beat in time and FLOPs
at once is beaten on any front of latency and capacity, however far the estimate is off. For each
guideline by itself, the limit is the largest share among the sampled networks that pass so.
"""

import bisect
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_sv2.errors import InfeasibleError
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.waste import GUIDELINES, Waste
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.feasibility import RandomSuggester
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower

FASTER = 0.08
"""The share of sampled networks that have to be better in FLOPs and time at once.

On the emulated Cortex-A57, with estimates 4 % off, 2,000 draws of 200 networks: 2 % rejected 80 %
of them and lost 5 % of their front of latency and FLOPs, 4 % 68 % and 0.7 %, 6 % 60 % and 0.1 %,
10 % 45 % and none. Accuracy is not FLOPs, so more than the least is left to it.
"""
SAMPLED = 300
MOST_SAMPLES = 5000
MARGIN = 0.05
"""Of the time, beyond the largest share that was sampled."""
TOTAL = "waste"


@dataclass(frozen=True)
class AllowedTimes:
    """How long a network may take, by its FLOPs.

    Attributes:
        flops: Of sampled networks, ascending.
        us: What a network of at least so many FLOPs may take.
    """

    flops: Sequence[float]
    us: Sequence[float]

    @classmethod
    def of(cls, sampled: Sequence[tuple[float, float]]) -> "AllowedTimes":
        """From FLOPs and estimated µs of networks."""
        rank = max(1, math.ceil(FASTER * len(sampled)))
        flops: list[float] = []
        allowed: list[float] = []
        fastest: list[float] = []
        for at, us in sorted(sampled, reverse=True):
            bisect.insort(fastest, us)
            flops.append(at)
            allowed.append(fastest[rank - 1] if len(fastest) >= rank else math.inf)
        return cls(flops[::-1], allowed[::-1])

    def at(self, flops: float) -> float:
        """For a network of so many multiply-adds; without limit where too few have as many."""
        place = bisect.bisect_left(self.flops, flops)
        return self.us[place] if place < len(self.us) else math.inf


@dataclass(frozen=True)
class DeviceLimits:
    """A profile and what it allows.

    Attributes:
        profile: Estimates.
        allowed: Times.
        shares: The largest wasted share against each guideline.
    """

    profile: GuidelineProfile
    allowed: AllowedTimes
    shares: Mapping[str, float]

    def excesses(self, graph: Graph, flops: float) -> dict[str, float]:
        """How far a network is beyond each limit, as a share of it."""
        waste = self.profile.waste(graph)
        found = {name: waste.shares[name] / limit - 1 for name, limit in self.shares.items()}
        return found | {TOTAL: waste.us / self.allowed.at(flops) - 1}


@dataclass(frozen=True)
class MeasuredGuidelines:
    """The limits of one or several targets; what one of them lets pass is not pruned."""

    by_target: Mapping[str, DeviceLimits]

    @property
    def limits(self) -> Mapping[str, float]:
        """The largest wasted share of the time that any target allows, by guideline."""
        shares = {
            name: max(limits.shares[name] for limits in self.by_target.values())
            for name in GUIDELINES
        }
        return {**shares, TOTAL: 1.0}

    def excesses(self, graph: Graph) -> dict[str, float]:
        """How far `graph` is beyond each limit; `waste` is its time beyond what is allowed.

        Raises:
            MeasurementError: A profile has no estimate of one of its operators.
        """
        flops = cost_of(graph).flops
        found = [limits.excesses(graph, flops) for limits in self.by_target.values()]
        return {name: min(excesses[name] for excesses in found) for name in found[0]}


def limits_of(
    profile: GuidelineProfile, space: SearchSpace, budget: Budget, seed: int = 0
) -> DeviceLimits:
    """What `profile` allows networks of `space` within `budget`.

    Raises:
        InfeasibleError: Hardly any sampled network keeps the budget's limits on cost.
        MeasurementError: The profile has no estimate of an operator of the space.
    """
    suggester = RandomSuggester(random.Random(seed))
    sampled: list[tuple[float, Waste]] = []
    for _ in range(MOST_SAMPLES):
        graph = lower(space.sample(suggester))
        cost = cost_of(graph)
        excesses = budget.cost_excesses(flops=cost.flops, params=cost.params)
        if all(excess <= 0 for excess in excesses.values()):
            sampled.append((cost.flops, profile.waste(graph)))
        if len(sampled) == SAMPLED:
            break
    if not sampled:
        raise InfeasibleError(
            f"none of {MOST_SAMPLES} sampled networks of space {space.name} keeps "
            f"{budget.describe()}"
        )
    allowed = AllowedTimes.of([(flops, waste.us) for flops, waste in sampled])
    passing = [waste for flops, waste in sampled if waste.us <= allowed.at(flops)]
    shares = {
        name: MARGIN + max((waste.shares[name] for waste in passing), default=0.0)
        for name in GUIDELINES
    }
    return DeviceLimits(profile, allowed, shares)
