"""Which guidelines a search prunes by: the device's own profile, the paper's networks, or none."""

import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.feasibility import RandomSuggester
from nas_sv2.search.walk.measured_guidelines import FASTER, MeasuredGuidelines, limits_of
from nas_sv2.space.choices.levels import paper_limits
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import GuidelineLimits, Guidelines
from nas_sv2.space.networks.lowering import lower

CHOICES = ("measured", "paper", "off")
MEASURED = "measured"
"""In the identity of a study: the digests of its profiles, by target."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a search prunes by.

    Attributes:
        limits: On candidates.
        identity: What of it is part of what a study is.
        described: For people, a fact a line.
    """

    limits: GuidelineLimits
    identity: Mapping[str, Any]
    described: tuple[str, ...]


def check_choice(choice: str | None) -> None:
    """Refuse a word that is none of `CHOICES`; None leaves the choice to us.

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
    """The guidelines of a search.

    Args:
        choice: The user's word, or None: as the study was begun, else measured where every target
            has a profile.
        began: What the study was begun with (`Chosen.identity`); None for a new one.
        targets: Where latency counts.
        profiles: Where their profiles are.
        space: What is sampled.
        budget: Its limits on cost.

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
            raise ConfigError("guidelines", choice, _how_to_make(missing[0], profiles))
    limits = paper_limits(space, budget.flops or _usual_flops(space))
    shown = ", ".join(f"{name} ≤ {limit:.3g}" for name, limit in limits.limits.items())
    stale = [
        f"the profile of {name} is of another device, runtime or protocol and is not used; "
        f"nas-sv2 device guidelines --target {name} makes a new one"
        for name in targets
        if choice is None and name not in found and profiles.find_of_name(name) is not None
    ]
    return Chosen(limits, dict(limits.limits), (f"the paper's, {shown}", *stale))


def supernet_guidelines(choice: str, space: SearchSpace) -> GuidelineLimits:
    """What the random networks of a supernet's training are held against.

    A profile of a device is not asked for: a supernet is for all of them.

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


def _how_to_make(name: str, profiles: ProfileStore) -> str:
    command = f"nas-sv2 device guidelines --target {name}"
    if (other := profiles.find_of_name(name)) is None:
        return f"must be paper or off, or make a profile of {name} first: {command}"
    return (
        f"must be paper or off: the profile of {name} is of another device, runtime or protocol "
        f"({other.device}); {command} makes one of this"
    )


def _measured(
    profiles: Mapping[str, GuidelineProfile], space: SearchSpace, budget: Budget
) -> Chosen:
    limits = MeasuredGuidelines(
        {name: limits_of(profile, space, budget) for name, profile in profiles.items()}
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
