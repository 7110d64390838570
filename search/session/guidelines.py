"""The guidelines that a search prunes by: a device's own profile, the paper's networks, or none.

A guideline profile (`latency.guidelines`) estimates the time of a network. It also gives the share
of the time that is wasted against an ideal network of the same FLOPs. The limits follow from the
space: networks within the budget are sampled. A candidate is too slow if a share `FASTER` of them
have no fewer FLOPs and take less time. Such a candidate is off any front of latency and capacity,
even if the estimate is inexact. The limit of each single guideline is the largest share of waste
among the sampled networks that are fast enough.
"""

import bisect
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import ConfigError, InfeasibleError
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.guidelines.waste import GUIDELINES, Waste
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.levels import paper_limits
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import GuidelineLimits, Guidelines
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower

CHOICES = ("measured", "paper", "off")
MEASURED = "measured"
"""In the identity of a study: the digests of its profiles, by target."""
FASTER = 0.08
"""The share of sampled networks that have to be better in FLOPs and time at once.

Measured on the emulated Cortex-A57, with estimates 4 % off and 2,000 draws of 200 networks:

    share   networks rejected   front of latency and FLOPs lost
    2 %     80 %                5 %
    4 %     68 %                0.7 %
    6 %     60 %                0.1 %
    10 %    45 %                0 %

Accuracy does not follow FLOPs exactly, so the share is above the least that loses little.
"""
SAMPLED = 300
MOST_SAMPLES = 5000
MARGIN = 0.05
"""Share of the time that is allowed beyond the largest sampled share."""
TOTAL = "waste"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The guidelines that prune the candidates of a search.

    Attributes:
        limits: The limits on candidates.
        identity: The part that belongs to the study's identity.
        described: The description, one fact a line.
    """

    limits: GuidelineLimits
    identity: Mapping[str, Any]
    described: tuple[str, ...]


def check_choice(choice: str | None) -> None:
    """Refuse a word that is not one of `CHOICES`; None leaves the choice to us.

    Raises:
        ConfigError: It is another word.
    """
    if choice is not None and choice not in CHOICES:
        raise ConfigError("guidelines", choice, "must be one of " + ", ".join(CHOICES))


def choose(
    choice: str | None,
    began: Mapping[str, Any] | None,
    targets: Mapping[str, Target],
    profiles: ProfileStore,
    space: SearchSpace,
    budget: Budget,
) -> Chosen:
    """Choose the guidelines of a search.

    Args:
        choice: The user's word, or None: as the study was begun, else `measured` if every target
            has a profile.
        began: The guidelines that the study was begun with (`Chosen.identity`); None for a new
            one.
        targets: The targets whose latency counts.
        profiles: The store of their profiles.
        space: The space that is sampled.
        budget: The limits of the search on cost.

    Raises:
        ConfigError: `measured` was asked for, and a target has no profile of this device.
        InfeasibleError: Hardly any network keeps the budget.
        MeasurementError: A profile lacks an operator of the space.
    """
    if choice == "off" or (choice is None and began is not None and not began):
        return Chosen(Guidelines({}), {}, ("off",))
    if choice is None and began is not None and MEASURED not in began:
        choice = "paper"
    found: dict[str, GuidelineProfile] = {}
    if choice != "paper":
        digests = (began or {}).get(MEASURED, {})
        found = {
            name: profile
            for name, target in targets.items()
            if (profile := _profile_of(target, digests.get(name), profiles)) is not None
        }
        missing = [name for name in targets if name not in found]
        if not missing:
            return _measured(found, space, budget)
        if choice == "measured":
            raise ConfigError("guidelines", choice, _how_to_make(targets[missing[0]], profiles))
    limits = paper_limits(space, budget.flops or _usual_flops(space))
    shown = ", ".join(f"{name} ≤ {limit:.3g}" for name, limit in limits.limits.items())
    stale = [
        f"the profile of {name} is of another device, runtime or protocol and is not used; "
        f"{profiles.remedy(target)}"
        for name, target in targets.items()
        if choice is None and name not in found and profiles.find_of_name(name) is not None
    ]
    return Chosen(limits, dict(limits.limits), (f"the paper's, {shown}", *stale))


def supernet_guidelines(choice: str, space: SearchSpace) -> GuidelineLimits:
    """Return the limits for the random networks of a supernet's training.

    A profile of a device plays no part: a supernet is for all devices.

    Raises:
        ConfigError: The word is neither `paper` nor `off`.
    """
    if choice not in ("paper", "off"):
        raise ConfigError("guidelines", choice, "must be paper or off")
    return Guidelines({}) if choice == "off" else paper_limits(space, _usual_flops(space))


def _profile_of(
    target: Target, digest: str | None, profiles: ProfileStore
) -> GuidelineProfile | None:
    """The profile that the study was begun with, else the newest of this very device."""
    return profiles.find_digest(digest) if digest else profiles.find_of(target)


def _how_to_make(target: Target, profiles: ProfileStore) -> str:
    why = f"there is no profile of {target.name}"
    if (other := profiles.find_of_name(target.name)) is not None:
        why = (
            f"the profile of {target.name} is of another device, runtime or protocol "
            f"({other.device})"
        )
    return f"must be paper or off: {why}; {profiles.remedy(target)}"


def _measured(
    profiles: Mapping[str, GuidelineProfile], space: SearchSpace, budget: Budget
) -> Chosen:
    limits = MeasuredGuidelines(
        {name: derive_limits(profile, space, budget) for name, profile in profiles.items()}
    )
    shown = ", ".join(
        f"{name} ≤ {limit:.1%}" for name, limit in limits.limits.items() if limit < 1
    )
    return Chosen(
        limits,
        {MEASURED: {name: profile.digest for name, profile in profiles.items()}},
        (
            f"measured: wasted share of the time {shown}; no slower than the fastest {FASTER:.0%} "
            "of the networks that have no fewer FLOPs",
            *(
                f"profile of {name}: {profile.provenance}, {profile.accuracy.describe()}"
                for name, profile in profiles.items()
            ),
        ),
    )


def _usual_flops(space: SearchSpace) -> float:
    suggester = RandomSuggester(random.Random(0))
    return statistics.median(cost_of(lower(space.sample(suggester))).flops for _ in range(31))


@dataclass(frozen=True)
class AllowedTimes:
    """How long a network may take, by its FLOPs.

    Attributes:
        flops: FLOPs of sampled networks, ascending.
        us: The time allowed for these FLOPs, µs.
    """

    flops: Sequence[float]
    us: Sequence[float]

    @classmethod
    def of(cls, sampled: Sequence[tuple[float, float]]) -> "AllowedTimes":
        """Derive the times from the FLOPs and estimated µs of networks."""
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
        """The time allowed for `flops`, µs; infinite if too few sampled networks have as many."""
        place = bisect.bisect_left(self.flops, flops)
        return self.us[place] if place < len(self.us) else math.inf


@dataclass(frozen=True)
class DeviceLimits:
    """A profile and the limits that follow from it.

    Attributes:
        profile: Estimates times and waste.
        allowed: Limits on the time.
        shares: The largest wasted share against each guideline.
    """

    profile: GuidelineProfile
    allowed: AllowedTimes
    shares: Mapping[str, float]

    def excesses(self, graph: Graph, flops: float) -> dict[str, float]:
        """The excess of a network over each limit, as a share of the limit."""
        waste = self.profile.waste(graph)
        found = {name: waste.shares[name] / limit - 1 for name, limit in self.shares.items()}
        return found | {TOTAL: waste.us / self.allowed.at(flops) - 1}


@dataclass(frozen=True)
class MeasuredGuidelines:
    """The limits of one or several targets; a candidate breaks a limit if it does so on all."""

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
        """The excess of `graph` over each limit; `waste` is that over the time allowed.

        Raises:
            MeasurementError: If a profile lacks an estimate of one of its operators.
        """
        flops = cost_of(graph).flops
        found = [limits.excesses(graph, flops) for limits in self.by_target.values()]
        return {name: min(excesses[name] for excesses in found) for name in found[0]}


def derive_limits(
    profile: GuidelineProfile, space: SearchSpace, budget: Budget, seed: int = 0
) -> DeviceLimits:
    """Derive the limits of `profile` for networks of `space` within `budget`.

    Raises:
        InfeasibleError: If no sampled network keeps the budget's limits on cost.
        MeasurementError: If the profile lacks an estimate of an operator of the space.
    """
    suggester = RandomSuggester(random.Random(seed))
    sampled: list[tuple[float, Waste]] = []
    for _ in range(MOST_SAMPLES):
        graph = lower(space.sample(suggester))
        cost = cost_of(graph)
        excesses = budget.excesses_of(graph)
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
