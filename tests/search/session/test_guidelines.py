"""Limits in a device's own time, and which guidelines a search takes."""

import dataclasses
import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, InfeasibleError
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.search.session import guidelines
from nas_sv2.search.session.guidelines import (
    FASTER,
    TOTAL,
    AllowedTimes,
    DeviceLimits,
    MeasuredGuidelines,
    choose,
    derive_limits,
)
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import Guidelines, Relaxed
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

SPACE, BUDGET = named_space("140M"), Budget(flops=140e6)
ARM = EmulatedArm.open()


@pytest.fixture(scope="module")
def profile(arm_profile: GuidelineProfile) -> GuidelineProfile:
    return arm_profile


@pytest.fixture(scope="module")
def limits(profile: GuidelineProfile) -> DeviceLimits:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(guidelines, "SAMPLED", 120)  # a third of the time
        return derive_limits(profile, SPACE, BUDGET)


@pytest.fixture
def profiles(tmp_path: Path) -> Iterator[ProfileStore]:
    with Database.open(f"sqlite:///{tmp_path / 'p.db'}") as db:
        yield ProfileStore(db)


@given(
    st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=80),
    st.tuples(st.floats(1, 100), st.floats(1, 100)),
)
def test_what_many_beat_in_both_is_not_allowed(
    sampled: list[tuple[float, float]], asked: tuple[float, float]
) -> None:
    flops, us = asked
    faster = sum(f >= flops and t < us for f, t in sampled)
    enough = max(1, math.ceil(FASTER * len(sampled)))
    assert (us > AllowedTimes.of(sampled).at(flops)) == (faster >= enough)


def test_more_flops_are_allowed_more_time() -> None:
    allowed = AllowedTimes.of([(10.0 * n, 1.0 + n) for n in range(1, 11)])
    assert [allowed.at(flops) for flops in (5, 10, 55, 100, 101)] == [2, 2, 7, 11, math.inf]


def test_the_papers_networks_pass_and_slow_ones_do_not(limits: DeviceLimits) -> None:
    guidelines = MeasuredGuidelines({"arm": limits})
    for form in ("", "se_", "residual_", "star_"):
        graph = lower(reference(f"shufflenet_v2_{form}x1_0"))
        assert max(guidelines.excesses(graph).values()) <= 0
    slow = dataclasses.replace(
        reference("shufflenet_v2_x1_0"),
        stages=tuple(
            dataclasses.replace(stage, kernel=7, wide_field=True, se=True, residual=True)
            for stage in reference("shufflenet_v2_x0_5").stages
        ),
    )
    excesses = guidelines.excesses(lower(slow))
    assert excesses[TOTAL] > 0
    assert excesses.keys() == guidelines.limits.keys()


def test_what_one_target_lets_pass_is_not_pruned(limits: DeviceLimits) -> None:
    strict = dataclasses.replace(limits, shares=dict.fromkeys(limits.shares, 1e-6))
    graph = lower(reference("shufflenet_v2_x1_0"))
    assert MeasuredGuidelines({"b": strict}).excesses(graph)["G4"] > 0
    both = MeasuredGuidelines({"a": limits, "b": strict})
    assert both.excesses(graph) == MeasuredGuidelines({"a": limits}).excesses(graph)
    assert both.limits == MeasuredGuidelines({"a": limits}).limits


def test_it_prunes_much_and_none_of_the_front(limits: DeviceLimits) -> None:
    suggester = RandomSuggester(random.Random(11))
    points: list[tuple[float, float, bool]] = []
    while len(points) < 80:
        network = SPACE.sample(suggester)
        graph = lower(network)
        flops = cost_of(graph).flops
        if flops <= 147e6:
            excess = max(MeasuredGuidelines({"arm": limits}).excesses(graph).values())
            points.append((ARM.estimate(network).ms, flops, excess > 0))
    front = [p for p in points if not any(q[0] < p[0] and q[1] >= p[1] for q in points)]
    assert not any(pruned for *_, pruned in front)
    assert sum(pruned for *_, pruned in points) / len(points) > 0.3


def test_a_budget_that_nothing_keeps_is_said(
    profile: GuidelineProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidelines, "MOST_SAMPLES", 50)
    with pytest.raises(InfeasibleError, match="space 140M keeps 1 MFLOPs"):
        derive_limits(profile, SPACE, Budget(flops=1e6))


def test_relaxed_limits_are_wider_by_their_slack() -> None:
    graph = lower(reference("shufflenet_v2_x1_0"))
    plain = Guidelines({"G3": 0.5, "G4": 0.1})
    relaxed = Relaxed(plain, {"G4": 2.0})
    assert relaxed.limits == {"G3": 0.5, "G4": 0.2}
    assert relaxed.excesses(graph) == pytest.approx(
        Guidelines({"G3": 0.5, "G4": 0.2}).excesses(graph)
    )


# What a search takes


@pytest.fixture
def limits_at_once(limits: DeviceLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampling the space takes seconds, and is tested above."""

    def at_once(profile: GuidelineProfile, *_: object) -> DeviceLimits:
        return dataclasses.replace(limits, profile=profile)

    monkeypatch.setattr(guidelines, "derive_limits", at_once)


def chosen(
    choice: str | None, began: dict[str, object] | None, profiles: ProfileStore
) -> tuple[str, object]:
    found = choose(choice, began, {"arm": ARM}, profiles, SPACE, BUDGET)
    return found.described[0].split(",")[0].split(":")[0], found.identity


def test_without_a_profile_the_papers_limits_count(profiles: ProfileStore) -> None:
    assert chosen(None, None, profiles)[0] == "the paper's"
    assert chosen("off", None, profiles) == ("off", {})
    with pytest.raises(ConfigError, match="there is no profile of arm; nas-sv2 device guidelines"):
        chosen("measured", None, profiles)


@pytest.mark.usefixtures("limits_at_once")
def test_with_a_profile_it_counts_unless_told_otherwise(
    profiles: ProfileStore, profile: GuidelineProfile
) -> None:
    profiles.save(DeviceKey.of(ARM), profile)
    identity = {"measured": {"arm": profile.digest}}
    assert chosen(None, None, profiles) == ("measured", identity)
    assert chosen("measured", None, profiles) == ("measured", identity)
    assert chosen("paper", None, profiles)[0] == "the paper's"


@pytest.mark.usefixtures("limits_at_once")
def test_a_study_goes_on_as_it_was_begun(
    profiles: ProfileStore, profile: GuidelineProfile
) -> None:
    paper = chosen("paper", None, profiles)[1]
    profiles.save(DeviceKey.of(ARM), profile)
    began = chosen(None, None, profiles)[1]
    later = dataclasses.replace(profile, fitted_at="2030-01-01T00:00:00+00:00")
    profiles.save(DeviceKey.of(ARM), later)
    assert chosen(None, began, profiles)[1] == began  # type: ignore[arg-type]
    assert chosen(None, paper, profiles)[1] == paper  # type: ignore[arg-type]
    assert chosen(None, {}, profiles) == ("off", {})
    assert chosen(None, None, profiles)[1] == {"measured": {"arm": later.digest}}


def test_a_profile_of_another_device_is_refused_with_how_to_make_one(
    profiles: ProfileStore, profile: GuidelineProfile
) -> None:
    other = DeviceKey.of(dataclasses.replace(ARM, table=ARM.table.with_scale(1e3, "slower")))
    profiles.save(other, profile)
    with pytest.raises(ConfigError, match=r"another device, .*guidelines --target arm --storage"):
        chosen("measured", None, profiles)
    found = choose(None, None, {"arm": ARM}, profiles, SPACE, BUDGET)
    command = f"nas-sv2 device guidelines --target arm --storage {profiles.db.url} makes one"
    assert f"is not used; {command}" in found.described[1]
