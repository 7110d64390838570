"""What moved between two targets, and why."""

import dataclasses
from pathlib import Path

import pytest
from doubles import latency_of, record_of

from nas_sv2.database.database import Database
from nas_sv2.errors import MeasurementError
from nas_sv2.latency.breakdown.priced import Breakdown, breakdown_behind, breakdown_of
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.fused_estimate import FusedEstimate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.replay_comparison import Reasons, ReplayComparison, compare, tied

V2 = reference("shufflenet_v2_x0_5")
NETWORKS = [dataclasses.replace(V2, head=512 + 64 * index) for index in range(6)]
ACCURACIES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]


def records(ms: list[float], networks: list[Architecture] | None = None) -> dict[int, Record]:
    return {
        10 + index: record_of(accuracy, time, architecture=network)
        for index, (accuracy, time, network) in enumerate(
            zip(ACCURACIES, ms, networks or NETWORKS, strict=False)
        )
    }


def moved(old: list[float], new: list[float]) -> ReplayComparison:
    return compare(Front(records(old)), Front(records(new)), "t0", "t0")


def test_a_network_enters_where_its_rival_became_slower_than_it() -> None:
    # 11 was slower than 10 and less accurate; on the new target 10 takes three times as long.
    found = moved([2, 3, 1, 0.5, 0.4, 0.3], [6, 3, 1, 0.5, 0.4, 0.3])
    assert {move.number: move.change for move in found.moves} == {
        10: "stays", 11: "enters", 12: "stays", 13: "stays", 14: "stays", 15: "stays",
    }  # fmt: skip
    (move,) = found.changed
    assert (move.old_rival, move.new_rival, move.was_on, move.is_on) == (10, None, False, True)
    why = Reasons(found, None, None).why(move)
    assert why.startswith(
        "trial 11 enters: trial 10, no less accurate, beat it; that takes 0.67 of its time on t0, "
        "2.00 on t0"
    )
    assert found.typical == 1
    assert "trial 10 takes 3.00 × what the typical network lets expect" in why


def test_a_network_leaves_where_a_better_one_became_faster() -> None:
    found = moved([3, 2, 1, 0.5, 0.4, 0.3], [1.5, 2, 1, 0.5, 0.4, 0.3])
    (move,) = found.changed
    assert (move.number, move.change, move.new_rival) == (11, "leaves", 10)
    assert "beats it; that takes 1.50 of its time on t0, 0.75 on t0" in Reasons(
        found, None, None
    ).why(move)


def test_scores_in_nats_are_not_called_accuracies() -> None:
    def in_nats(ms: list[float]) -> dict[int, Record]:
        found = records(ms)
        for number, record in found.items():
            evaluation = dataclasses.replace(record.evaluation, scored_by="cross_entropy")
            found[number] = dataclasses.replace(record, evaluation=evaluation)
        return found

    old, new = [3.0, 2, 1, 0.5, 0.4, 0.3], [1.5, 2, 1, 0.5, 0.4, 0.3]
    found = compare(Front(in_nats(old)), Front(in_nats(new)), "t0", "t0")
    (move,) = found.changed
    why = Reasons(found, None, None).why(move)
    assert "trial 10, no worse by cross-entropy, beats it" in why


def test_the_fronts_are_those_that_estimates_give() -> None:
    def believed(*means: float) -> dict[int, FusedEstimate]:
        found = {
            10 + index: FusedEstimate(mean, mean - 0.1, mean + 0.1, 0.5, None, "accuracy")
            for index, mean in enumerate(means)
        }
        return found

    old = Front(
        {n + 5: record for n, record in records([3, 2, 1]).items()},
        {n + 5: each for n, each in believed(0.9, 0.8, 0.7).items()},
    )
    new = Front(records([1.5, 2, 1]), believed(0.9, 0.95, 0.7))
    assert not compare(old, new, "t0", "t0").changed
    (move,) = (found := compare(old, Front(new.records), "t0", "t0")).changed
    assert (move.number, move.change, found.expected) == (11, "leaves", False)
    worse = Front(new.records, believed(0.9, 0.5, 0.7))
    (move,) = (found := compare(old, worse, "t0", "t0")).changed
    assert (move.number, move.change, found.expected) == (11, "leaves", True)
    assert "trial 10, no worse by expected top-1, beats it" in Reasons(found, None, None).why(move)


def test_limits_are_named_before_rivals() -> None:
    old, new = records([3, 2, 1]), records([3, 2, 1])
    new[11] = dataclasses.replace(new[11], excesses={"flops": -0.1, "t0_ms": 0.25})
    (move,) = (found := compare(Front(old), Front(new), "t0", "t0")).changed
    assert Reasons(found, None, None).why(move) == "trial 11 leaves: it breaks t0_ms by 25.0%"
    (move,) = (found := compare(Front(new), Front(old), "t0", "t0")).changed
    assert Reasons(found, None, None).why(move) == "trial 11 enters: it broke t0_ms by 25.0%"


def test_only_networks_that_both_sides_know_count() -> None:
    """A network found later on one side alone would change a front for no reason of latency."""
    old = records([3, 2, 1, 0.5, 0.4, 0.3])
    new = records([3, 2, 1])
    found = compare(Front(old), Front(new), "t0", "t0")
    assert [move.number for move in found.moves] == [10, 11, 12]
    assert not found.changed


def test_numbers_are_those_of_the_new_study() -> None:
    old = records([3, 2, 1])
    new = {number + 5: record for number, record in records([3, 2, 1]).items()}
    assert [move.number for move in compare(Front(old), Front(new), "t0", "t0").moves] == [
        15,
        16,
        17,
    ]


def test_orders_agree_as_ranks_say() -> None:
    same = moved([6, 5, 4, 3, 2, 1], [12, 10, 8, 6, 4, 2])
    assert same.tau is not None
    assert same.rho is not None
    assert (same.tau.value, same.rho.value, same.typical) == pytest.approx((1, 1, 2))
    turned = moved([6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6])
    assert turned.tau is not None
    assert turned.tau.value == pytest.approx(-1)
    few = compare(Front(records([2, 1])), Front(records([2, 1])), "t0", "t0")
    assert few.tau is None


def test_ties_are_of_intervals_or_of_what_emulators_cannot_tell() -> None:
    def measured(low: float, high: float) -> Latency:
        return dataclasses.replace(latency_of((low + high) / 2), ci_ms=(low, high))

    assert not tied(measured(1, 2), measured(1.9, 3))
    assert tied(measured(1, 2), measured(1.4, 3))
    assert not tied(measured(1, 2), measured(2.1, 3))
    plain = dataclasses.replace(latency_of(1.0), ci_ms=None)
    assert tied(plain, dataclasses.replace(plain, ms=1.19, p95_ms=1.19))
    assert not tied(dataclasses.replace(plain, ms=1.22, p95_ms=1.22), plain)


def kinds(**shares: float) -> Breakdown:
    """The same shares for every network."""
    return Breakdown("a table", lambda network: shares)


def test_the_operator_is_the_one_whose_excess_is_largest() -> None:
    found = moved([2, 3, 1, 0.5, 0.4, 0.3], [6, 3, 1, 0.5, 0.4, 0.3])
    # Of trial 10: 6 ms where 2 are expected, conv 5.4 where 1.0 is, depthwise 0.6 where 1.0 is.
    reasons = Reasons(found, kinds(conv=0.5, depthwise=0.5), kinds(conv=0.9, depthwise=0.1))
    why = reasons.why(found.changed[0])
    assert "most of that is conv: 5.400 ms where 1.000 would be expected" in why
    assert reasons.sources() == ["reasons by operator: from a table and a table; priced, not run"]


def test_with_one_breakdown_a_network_is_compared_with_the_median_one() -> None:
    found = moved([2, 3, 1, 0.5, 0.4, 0.3], [6, 3, 1, 0.5, 0.4, 0.3])
    slow = found.find(10).after.architecture

    def shares(network: Network) -> dict[str, float]:
        return {"conv": 0.8, "pool": 0.2} if network == slow else {"conv": 0.3, "pool": 0.7}

    why = Reasons(found, None, Breakdown("a table", shares)).why(found.changed[0])
    assert "80% of its time there is conv, 30% in the median network" in why


def test_an_operator_without_a_price_is_named_and_no_reason_made_up() -> None:
    def shares(network: Network) -> dict[str, float]:
        raise MeasurementError("no estimate for stage1: no such kernel was timed")

    found = moved([2, 3, 1, 0.5, 0.4, 0.3], [6, 3, 1, 0.5, 0.4, 0.3])
    why = Reasons(found, None, Breakdown("a table", shares)).why(found.changed[0])
    assert why.endswith("no such kernel was timed")
    (line,) = Reasons(found, None, None, "t0 has no profile").sources()
    reason = "no operator of t0 is priced, so no reason is given by operator"
    assert line == f"{reason}; t0 has no profile"


def test_an_emulated_core_and_a_profile_have_breakdowns(
    tmp_path: Path, arm_profile: GuidelineProfile
) -> None:
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path}/m.db"))
    profiles, arm = ProfileStore(store.db), EmulatedArm.open()
    book = TargetBook.read()
    by_table = breakdown_of(arm, V2, profiles)
    behind = breakdown_behind(book, "arm", V2, arm.estimate(V2), profiles)
    assert by_table is not None
    assert behind is not None
    shares = by_table.shares(V2)
    assert sum(shares.values()) == pytest.approx(1)
    assert behind.shares(V2) == shares
    assert max(shares, key=shares.__getitem__).startswith("pointwise")
    elsewhere = dataclasses.replace(arm.estimate(V2), device="x")
    assert breakdown_behind(book, "arm", V2, elsewhere, profiles) is None
    # A measured device of the same operators' costs, as a profile that was fitted says.
    measured = dataclasses.replace(latency_of(2.0), device=arm_profile.device)
    assert breakdown_behind(book, "board", V2, measured, profiles) is None
    profiles.save(DeviceKey("board", "d", "p"), arm_profile)
    fitted = breakdown_behind(book, "board", V2, measured, profiles)
    assert fitted is not None
    for kind, share in fitted.shares(V2).items():
        assert share == pytest.approx(shares[kind], abs=0.05)
    assert breakdown_behind(book, "board", V2, latency_of(2.0), profiles) is None  # another device
    newer = dataclasses.replace(arm_profile, device="another board")
    profiles.save(DeviceKey("board", "e", "p"), newer)
    assert breakdown_behind(book, "board", V2, measured, profiles) is not None
    store.db.close()
