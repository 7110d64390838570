"""Do the guidelines prune what is slow for its FLOPs, and nothing of the front?

    python benchmarks/pruning.py [TARGET [LEVEL [DATABASE]]]

Samples 200 networks of a level's space within its FLOPs (seed 1; the limits were sampled with
another seed), times every one of them, and holds the front of latency and multiply-adds against
what the device's measured guidelines and the paper's constants would have pruned. The guideline
profile is the stored one of the device, else it is made first.
"""

import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from nas_sv2.database.database import Database
from nas_sv2.latency.guidelines.experiment_run import run_experiments, times_of
from nas_sv2.latency.guidelines.profile import GuidelineProfile, profile_device
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.session.guidelines import MeasuredGuidelines, derive_limits
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.levels import FLOPS_OF_LEVEL, named_space, paper_limits
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.graph.guidelines import GuidelineLimits
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

NETWORKS = 200
SEED = 1
TOGETHER = 4


@dataclass(frozen=True)
class Candidate:
    """A sampled network and how long it takes relative to V2 1×, or in ms where emulated."""

    graph: Graph
    cost: Cost
    time: float


def main(name: str = "cpu", level: str = "140M", database: str = "sqlite:///nas-sv2.db") -> None:
    """Print what each kind of guidelines prunes, and what of the front survives."""
    space, budget = named_space(level), Budget(flops=FLOPS_OF_LEVEL[level])
    with (
        Database.open(database) as db,
        closing(TargetBook.read().open(name, store=MeasurementStore(db))) as target,
    ):
        profile = _profile(target, db)
        print(f"{profile.device}: {profile.provenance}; {profile.accuracy.describe()}", flush=True)
        suggester = RandomSuggester(random.Random(SEED))
        networks: list[Architecture] = []
        while len(networks) < NETWORKS:
            architecture = space.sample(suggester)
            cost = cost_of(lower(architecture))
            if budget.cost_excesses(cost.flops, cost.params)["flops"] <= 0:
                networks.append(architecture)
        times = _times(target, networks)
    candidates = [
        Candidate(graph, cost_of(graph), time)
        for network, time in zip(networks, times, strict=True)
        for graph in [lower(network)]
    ]
    measured = MeasuredGuidelines({name: derive_limits(profile, space, budget)})
    _errors(profile, candidates)
    guidelines: Mapping[str, GuidelineLimits] = {
        "measured on this device": measured,
        "the paper's constants": paper_limits(space, FLOPS_OF_LEVEL[level]),
    }
    for capacity in ("flops", "params"):
        front = _front(candidates, capacity)
        print(f"\n{NETWORKS} networks, front of latency and {capacity}: {sum(front)} networks")
        for label, limits in guidelines.items():
            _report(label, limits, candidates, front)


def _report(
    label: str, limits: GuidelineLimits, candidates: Sequence[Candidate], front: Sequence[bool]
) -> None:
    excesses = [limits.excesses(candidate.graph) for candidate in candidates]
    pruned = [max(each.values()) > 0 for each in excesses]
    survivors = sum(on and not cut for on, cut in zip(front, pruned, strict=True))
    by = {name: sum(each[name] > 0 for each in excesses) for name in excesses[0]}
    print(
        f"{label:<24} rejected {sum(pruned) / len(pruned):6.1%}   of the front survive "
        f"{survivors} of {sum(front)} ({survivors / sum(front):.1%})   "
        + ", ".join(f"{name} {count}" for name, count in by.items() if count)
    )


def _errors(profile: GuidelineProfile, candidates: Sequence[Candidate]) -> None:
    """How far the profile's estimates are off on these networks, at one pace for all."""
    ratios = sorted(profile.waste(each.graph).us / each.time for each in candidates)
    middle = ratios[len(ratios) // 2]
    errors = sorted(abs(ratio / middle - 1) for ratio in ratios)
    print(
        f"estimates of the {len(ratios)} networks, at one pace: typical error "
        f"{errors[len(errors) // 2]:.1%}, {sum(e <= 0.1 for e in errors) / len(errors):.0%} "
        "within ±10 %"
    )


def _front(candidates: Sequence[Candidate], capacity: str) -> list[bool]:
    """Which no other beats in both: less time with no less capacity, or as little with more."""
    points = [(each.time, float(getattr(each.cost, capacity))) for each in candidates]
    return [
        not any(
            other[0] <= time and other[1] >= size and other != (time, size) for other in points
        )
        for time, size in points
    ]


def _times(target: Target, networks: Sequence[Architecture]) -> list[float]:
    """Relative to the reference network where that runs beside, else ms."""
    if target.device is None:
        return [target.estimate(network).ms for network in networks]
    found = []
    for start in range(0, len(networks), TOGETHER):
        print(f"\r{start} of {len(networks)} measured", end="", file=sys.stderr, flush=True)
        session = target.device.session(networks[start : start + TOGETHER])
        found += [one.median_ms if one.ratio is None else one.ratio[0] for one in session]
    return found


def _profile(target: Target, db: Database) -> GuidelineProfile:
    profiles = ProfileStore(db)
    key = DeviceKey.of(target)
    if (found := profiles.find(key)) is not None:
        return found
    times = times_of(run_experiments(target))
    profile = profile_device(target, times)
    profiles.save(key, profile)
    return profile


if __name__ == "__main__":
    main(*sys.argv[1:])
