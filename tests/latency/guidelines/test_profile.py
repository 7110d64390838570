"""A device's guideline profile: fitted to whole networks, kept, found again."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import FakeTarget, latency_of
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, MeasurementError, StoreError
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.gtx_1080ti import EmulatedGtx1080Ti
from nas_sv2.latency.guidelines.experiment_run import ExperimentRow, TimedTable
from nas_sv2.latency.guidelines.profile import (
    FEWEST,
    GuidelineProfile,
    check_covered,
    fit_profile,
    is_covered,
)
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.latency.measurements.head_to_head import emulated_orders
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.experiments.further import further_tables
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

V2 = reference("shufflenet_v2_x1_0")


@pytest.fixture(scope="module")
def arm() -> EmulatedArm:
    return EmulatedArm.open()


@pytest.fixture(scope="module")
def profile(arm_profile: GuidelineProfile) -> GuidelineProfile:
    return arm_profile


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ProfileStore]:
    with Database.open(f"sqlite:///{tmp_path / 'p.db'}") as db:
        yield ProfileStore(db)


def test_it_tells_the_time_of_networks_that_it_has_not_seen(
    arm: EmulatedArm, profile: GuidelineProfile
) -> None:
    networks = sampled(named_space("140M"), 20)
    errors = [
        abs(profile.waste(lower(network)).us / 1e3 / arm.estimate(network).ms - 1)
        for network in networks
    ]
    assert sum(errors) / len(errors) < 0.05
    assert profile.accuracy.typical < 0.05


def test_a_target_that_prices_too_few_experiments_says_what_it_lacks() -> None:
    table, lacks = further_tables()[0], ("conv 9x9", "conv 7x7", "conv 5x5")
    rows = tuple(ExperimentRow(each, None, not_covered=lacks) for each in table.experiments)
    with pytest.raises(ConfigError) as caught:
        check_covered("gpu", [TimedTable(table, rows, emulated_orders([]))])
    said = str(caught.value)
    assert "it has one of 0 of the" in said and "and of 20 others" in said
    assert "none for conv 5x5, conv 7x7 and 1 more; a search needs no profile" in said


def sampled(space: SearchSpace, count: int) -> list:  # type: ignore[type-arg]
    import random

    from nas_sv2.space.choices.suggesters import RandomSuggester

    suggester = RandomSuggester(random.Random(3))
    return [space.sample(suggester) for _ in range(count)]


def test_options_that_cost_time_without_flops_waste_more(profile: GuidelineProfile) -> None:
    def share(form: str) -> float:
        return profile.waste(lower(reference(f"shufflenet_v2_{form}x1_0"))).shares["G4"]

    plain = share("")
    assert all(share(form) > plain for form in ("se_", "residual_", "star_"))


def test_every_option_of_the_spaces_has_an_estimate(profile: GuidelineProfile) -> None:
    for level in ("40M", "500M"):
        for network in sampled(named_space(level), 8):
            waste = profile.waste(lower(network))
            assert 0 < waste.total < 1
            assert min(waste.wasted_us.values()) >= 0
            blocks = profile.waste_by_block(lower(network))
            assert sum(block.us for block in blocks.values()) == pytest.approx(waste.us)


def test_it_survives_json(profile: GuidelineProfile) -> None:
    again = GuidelineProfile.from_json(json.loads(json.dumps(profile.to_json())))
    assert again.digest == profile.digest
    assert again.waste(lower(V2)).us == profile.waste(lower(V2)).us


def test_too_few_networks_make_no_profile() -> None:
    timed = [(V2, latency_of(5.0))] * (FEWEST - 1)
    with pytest.raises(MeasurementError, match=f"needs {FEWEST} networks"):
        fit_profile(timed, "plain")


def test_the_newest_of_the_same_device_is_found(
    arm: EmulatedArm, profile: GuidelineProfile, store: ProfileStore
) -> None:
    key = DeviceKey.of(arm)
    assert store.find(key) is None
    older = dataclasses.replace(profile, fitted_at="2020-01-01T00:00:00+00:00")
    for each in (older, profile):
        store.save(key, each)
    found = store.find(key)
    assert found is not None
    assert found.digest == profile.digest
    kept = store.find_digest(older.digest)
    assert kept is not None
    assert kept.fitted_at == older.fitted_at


def test_a_damaged_profile_says_what_makes_a_new_one(
    arm: EmulatedArm, profile: GuidelineProfile, store: ProfileStore
) -> None:
    key = DeviceKey.of(arm)
    store.save(key, profile)
    with store.db.begin() as connection:
        connection.execute(text("UPDATE nas_guideline_profiles SET document = '{}'"))
    with pytest.raises(StoreError, match=r"cannot be read: .*; nas-sv2 device guidelines makes"):
        store.find(key)
    store.save(key, profile)
    assert store.find(key) == profile


def test_another_device_of_the_name_is_not_the_same(
    arm: EmulatedArm, profile: GuidelineProfile, store: ProfileStore
) -> None:
    store.save(DeviceKey.of(arm), profile)
    slower = dataclasses.replace(arm, table=arm.table.with_scale(1e3, "slower"))
    plain = dataclasses.replace(arm, lowering="plain")
    for other in (slower, plain):
        assert store.find(DeviceKey.of(other)) is None
        assert store.find_of_name("arm") is not None


def test_a_target_of_another_kind_has_no_profile() -> None:
    with pytest.raises(DeviceError, match="fake has no profile, as it does not say which device"):
        DeviceKey.of(FakeTarget())


def test_a_target_with_too_few_prices_is_not_told_to_make_a_profile(store: ProfileStore) -> None:
    few = EmulatedGtx1080Ti()
    assert not is_covered(few)
    why = "gtx-1080ti has no profile, as it has a price of too few networks"
    assert store.remedy(few) == why
