"""Table 8 on a device: what follows from written times, and how they come about."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nas_sv2.database.database import Database
from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.devices.local import GPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.kernel_table import KernelTable
from nas_sv2.latency.measurements.head_to_head import emulated_orders
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.paper import comparison as comparisons
from nas_sv2.studies.paper.comparison import (
    YOURS,
    PaperComparison,
    Row,
    Session,
    arm_speed,
    distinct,
    gpu_speed,
    run_comparison,
)
from nas_sv2.studies.paper.comparison_orders import (
    OrderAgreement,
    RankedPair,
    agreement,
    inversions,
)
from nas_sv2.studies.paper.published_figures import PublishedRow, table8
from nas_sv2.studies.storage.named_networks import Named
from nas_sv2.testing import FakeDevice

# Written times


def row_of(
    name: str,
    mflops: float,
    ms: float,
    arm: float | None = None,
    *,
    level: str = "140M",
    family: str = "other",
    reconstructed: str = "",
    side: int = 0,
) -> Row:
    """A row; rows of one `side` are of one network."""
    published = PublishedRow(level, name, family, name, 224, mflops, 30.0, None, arm)
    latency = Latency(ms, None, None, "emulated", "made up", None, None, "")
    network = replace(reference("shufflenet_v2_x0_5"), resolution=32 + (side or int(100 * ms)))
    cost = Cost(flops=round(mflops * 1e6))
    return Row(level, name, family, name, published, network, cost, reconstructed, latency)


def comparison_of(*rows: Row) -> PaperComparison:
    latencies = [row.latency for row in rows if row.latency is not None]
    session = Session(rows, emulated_orders(latencies))
    return PaperComparison("fake", "made up", "emulated", 1, rows, (session,))


def test_fewer_flops_and_slower_is_an_inversion_the_worst_first() -> None:
    found = inversions(
        comparison_of(
            row_of("lean", 120, 40.0, arm=20),
            row_of("fast", 150, 20.0, arm=10),
            row_of("middling", 149, 30.0, arm=40),
            row_of("as fast", 151, 20.5),  # a tie with "fast": no order, so no inversion
            row_of("far", 300, 10.0),  # twice the FLOPs is another complexity
        )
    )
    assert [(one.slower.name, one.faster.name) for one in found] == [
        ("lean", "fast"),
        ("lean", "as fast"),
        ("middling", "fast"),
        ("middling", "as fast"),
        ("lean", "middling"),
    ]
    assert found[0].ratio == pytest.approx(2.0)
    assert found[0].published_ratio(arm_speed) == pytest.approx(0.5)  # no inversion there
    assert found[2].published_ratio(arm_speed) == pytest.approx(0.25)
    assert found[1].published_ratio(arm_speed) is None
    assert found[0].published_ratio(gpu_speed) is None


def test_equal_flops_are_an_inversion_and_the_other_way_round_is_none() -> None:
    same = comparison_of(row_of("slow", 140, 30.0), row_of("fast", 140, 20.0))
    assert [one.slower.name for one in inversions(same)] == ["slow"]
    assert not inversions(comparison_of(row_of("lean", 130, 20.0), row_of("fat", 150, 30.0)))


def test_agreement_counts_pairs_of_equal_flops_and_level() -> None:
    rows = (
        row_of("a", 140, 10.0, arm=30),
        row_of("b", 150, 20.0, arm=20),
        row_of("c", 145, 30.0, arm=20.5),  # the published order of b and c is a tie, and ours not
        row_of("d", 150, 15.0, arm=20, reconstructed="widths"),  # no published order with b
        row_of("e", 400, 1.0, arm=1),  # of other FLOPs
        row_of("f", 140, 2.0, arm=1, level="300M"),  # of another level
        row_of("g", 140, 3.0),  # no published speed
    )
    comparison = comparison_of(*rows)
    found = agreement(comparison, arm_speed)
    assert found.networks == 6
    assert [shown(pair) for pair in found.pairs] == [
        ("d", "a", True, True, True),
        ("b", "a", True, True, True),
        ("c", "a", True, True, True),
        ("c", "d", False, False, True),
        ("c", "b", False, False, True),
    ]
    assert len(found.apart) == 3
    assert found.against == list(found.pairs[3:])
    known = agreement(comparison, arm_speed, known_only=True)
    assert known.networks == 5
    assert [(pair.slower.name, pair.faster.name) for pair in known.pairs] == [
        ("b", "a"),
        ("c", "a"),
        ("c", "b"),
    ]
    assert agreement(comparison, gpu_speed) == OrderAgreement(0, None, None, ())


def shown(pair: RankedPair) -> tuple[str, str, bool, bool, bool]:
    return pair.slower.name, pair.faster.name, pair.in_order, pair.apart, pair.settled


def test_a_tie_here_is_no_settled_pair() -> None:
    """An emulated order within 20 % is a tie."""
    comparison = comparison_of(row_of("a", 140, 10.0, arm=30), row_of("b", 140, 10.9, arm=50))
    found = agreement(comparison, arm_speed)
    assert [shown(pair) for pair in found.pairs] == [("b", "a", False, True, False)]
    assert not found.settled


@pytest.mark.parametrize(("speeds", "expected"), [((30, 20, 10), 1.0), ((10, 20, 30), -1.0)])
def test_rank_correlations(speeds: tuple[float, ...], expected: float) -> None:
    rows = [
        row_of(str(arm), 140, ms, arm) for ms, arm in zip((1.0, 2.0, 3.0), speeds, strict=True)
    ]
    found = agreement(comparison_of(*rows), arm_speed)
    assert (found.spearman, found.kendall) == pytest.approx((expected, expected))


def test_a_network_of_two_rows_counts_once() -> None:
    rows = (
        row_of("1.0", 300, 10.0, arm=8.9, side=5),
        row_of("1.0 (our impl.)", 301, 10.0, arm=8.9, side=5),
        row_of("other", 300, 11.0, arm=5, side=6),
    )
    assert [row.name for row in distinct(rows)] == ["1.0", "other"]
    comparison = replace(comparison_of(rows[0], rows[2]), rows=rows)
    found = agreement(comparison, arm_speed)
    assert (found.networks, len(found.pairs)) == (2, 1)


def test_speeds_are_relative_to_v2_of_the_level() -> None:
    v2 = row_of("v2", 146, 20.0, arm=24, family="ShuffleNet V2")
    other = row_of("other", 150, 40.0, arm=18)
    lonely = row_of("lonely", 300, 40.0, arm=18, level="300M")
    comparison = comparison_of(v2, other, lonely)
    assert comparison.speed(other) == pytest.approx(0.5)
    assert comparison.published_speed(other, arm_speed) == pytest.approx(0.75)
    assert comparison.published_speed(other, gpu_speed) is None
    assert comparison.speed(lonely) is None
    assert comparison.images_per_s(other) == pytest.approx(25.0)
    assert replace(comparison, batch=8).images_per_s(other) == pytest.approx(200.0)


# Measured and priced


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path / 'studies.db'}"))
    yield store
    store.db.close()


@pytest.fixture
def device() -> FakeDevice:
    """1 ms for every 100 million multiply-adds."""
    return FakeDevice("gpu")


NETWORKS = len({row.network for row in table8() if row.level == "40M" and row.network})


def test_a_level_is_measured_in_one_session_and_found_again(
    device: FakeDevice, store: MeasurementStore
) -> None:
    target = MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1), store))
    begun: list[str] = []
    found = run_comparison(target, ("40M",), begun=begun.append)
    assert begun == ["40M"]
    assert len(device.measured) == NETWORKS
    (session,) = found.sessions
    assert len(session.rows) == NETWORKS
    assert "all" in session.orders.rule
    assert (found.provenance, found.batch, found.target) == ("measured", 8, "gpu")
    for row in found.rows:
        assert row.cost is not None
        assert row.latency is not None
        assert row.latency.ms == pytest.approx(row.cost.flops / 1e8, rel=1e-3)
        assert row.latency.ratio == pytest.approx(row.cost.flops / 145_814_296, rel=1e-3)
    assert not inversions(found)  # times that are FLOPs order as FLOPs do

    assert run_comparison(target, ("40M",)).rows == found.rows
    assert len(device.measured) == NETWORKS
    run_comparison(MeasuredTarget(replace(target.device, fresh=True)), ("40M",))
    assert len(device.measured) == 2 * NETWORKS
    target.device.measure_together(
        [reference("shufflenet_v2_x0_5")]
    )  # V2 is now of another session
    run_comparison(target, ("40M",))
    assert len(device.measured) == 3 * NETWORKS + 1


def test_a_row_that_we_have_not_built_is_shown_without_a_latency(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    v2, *others = (row for row in table8() if row.level == "40M")
    rows = (v2, replace(others[0], network=""))
    monkeypatch.setattr(comparisons, "table8", lambda: rows)
    found = run_comparison(
        MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1))), ("40M",)
    )
    assert found.rows[0].latency is not None
    assert (found.rows[1].latency, found.rows[1].lacks) == (None, "not built")
    assert found.rows[1].model == others[0].model
    assert agreement(found, arm_speed).networks == 1


def test_more_networks_than_a_session_holds_are_linked_by_the_reference(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "MOST_NETWORKS", 3)
    found = run_comparison(
        MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1))), ("40M",)
    )
    assert [len(session.rows) for session in found.sessions][:-1] == [3] * ((NETWORKS - 1) // 3)
    last = found.sessions[-1].rows[-1]
    v2 = found.rows[0]
    assert last.cost is not None
    assert v2.cost is not None
    assert found.speed(last) == pytest.approx(v2.cost.flops / last.cost.flops, rel=1e-3)


def test_found_networks_stand_with_the_nearest_level(device: FakeDevice) -> None:
    target = MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1)))
    network = replace(reference("shufflenet_v2_se_x1_0"), head=512)
    others = [Named("study:3", network), Named("same", reference("shufflenet_v2_x0_5"))]
    found = run_comparison(target, ("40M", "140M"), others)
    (mine,) = (row for row in found.rows if row.model == "study:3")
    assert (mine.level, mine.family, mine.published) == ("140M", YOURS, None)
    assert found.published_speed(mine, arm_speed) is None
    assert found.speed(mine) is not None
    (same,) = (row for row in found.rows if row.model == "same")
    assert (same.level, same.latency) == ("40M", found.rows[0].latency)
    (nearest,) = (
        row for row in run_comparison(target, ("40M",), others).rows if row.model == "study:3"
    )
    assert nearest.level == "40M"


def test_an_emulated_target_says_what_it_does_not_cover() -> None:
    table = KernelTable.load()
    entries = {key: one for key, one in table.entries.items() if key != "depthwise 3x3 s1 @112"}
    target = EmulatedArm(replace(table, entries=entries, formulas={}))
    network = PaperNetwork("mobilenet_v1_x0_25")
    missing = target.uncovered(network)
    assert missing == ["depthwise 3x3 s1 @112 with relu"]
    with pytest.raises(MeasurementError):
        target.estimate(network)
    found = run_comparison(target, ("40M",))
    rows = {row.name: row for row in found.rows}
    assert rows["shufflenet_v2_x0_5"].latency is not None
    mobile = rows["mobilenet_v1_x0_25"]
    assert (mobile.latency, mobile.lacks) == (None, f"not covered: {missing[0]}")
    assert mobile.name not in [row.name for session in found.sessions for row in session.rows]


def test_a_target_that_covers_nothing_is_an_error() -> None:
    empty = EmulatedArm(replace(KernelTable.load(), entries={}))
    with pytest.raises(MeasurementError, match="no latency of any"):
        run_comparison(empty, ("40M",))


def test_a_device_that_fails_is_no_empty_row(device: FakeDevice) -> None:
    device.fault = lambda number: DeviceError("unplugged")
    with pytest.raises(DeviceError, match="unplugged"):
        run_comparison(
            MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1))), ("40M",)
        )


def test_the_emulated_core_keeps_the_papers_order() -> None:
    """Of networks whose structure is known: all that it settles, 95 % of what the paper does."""
    comparison = run_comparison(EmulatedArm.open(), ("40M", "140M", "300M", "500M"))
    found = agreement(comparison, arm_speed, known_only=True)
    assert found.networks == 17
    assert all(pair.in_order for pair in found.settled)
    assert sum(pair.in_order for pair in found.apart) >= 0.95 * len(found.apart)
