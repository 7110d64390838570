"""Tables of experiments on a target: one session each, relative times, and what is refused."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_sv2.database.database import Database
from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.guidelines.experiment_run import (
    ExperimentTime,
    platform_of,
    run_experiments,
    time_table,
    times_of,
    with_one_image,
)
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.experiments.blocks import Depthwise, PointwisePair
from nas_sv2.space.experiments.further import further_tables
from nas_sv2.space.experiments.network import ExperimentNetwork
from nas_sv2.space.experiments.paper import Experiment, ExperimentTable, paper_tables
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.testing import FakeDevice


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path / 'measurements.db'}"))
    yield store
    store.db.close()


def table(*widths: int, side: int = 56) -> ExperimentTable:
    """Two groups of 1×1 convolutions of these widths."""
    return ExperimentTable(
        "widths",
        "wider and wider",
        tuple(
            Experiment(str(width), f"{repeats} blocks", network)
            for repeats in (2, 4)
            for width in widths
            for network in [ExperimentNetwork(PointwisePair(width, width), side, repeats)]
        ),
    )


def test_a_table_is_one_session_and_times_are_relative_to_the_first_of_the_group() -> None:
    device = FakeDevice()
    asked = table(16, 32)
    timed = time_table(
        MeasuredTarget(MeasuredDevice("fake", device, CPU_PLAN.changed(sessions=1))), asked
    )
    assert device.measured == [each.network.digest for each in asked.experiments]
    assert [row.experiment for row in timed.rows] == list(asked.experiments)
    assert [row.relative for row in timed.rows] == pytest.approx([1, 4, 1, 4], rel=1e-3)
    assert timed.rows[0].relative_ci is None
    assert timed.rows[1].relative_ci == pytest.approx((4, 4), rel=1e-3)
    assert timed.orders.ranking == (0, 2, 1, 3)
    for time in timed.timed:
        assert isinstance(time, ExperimentTime)
        assert time.latency.ms == pytest.approx(cost_of(lower(time.network)).flops / 1e8, rel=1e-3)
        assert time.latency.provenance == "measured"


def test_a_stored_session_is_taken_whole_or_not_at_all(store: MeasurementStore) -> None:
    device = FakeDevice()
    target = MeasuredTarget(MeasuredDevice("fake", device, CPU_PLAN.changed(sessions=1), store))
    first = time_table(target, table(16, 32))
    assert len(device.measured) == 4
    assert time_table(target, table(16, 32)) == first
    assert len(device.measured) == 4, "nothing new was asked"
    time_table(target, table(16, 24, 32))
    assert len(device.measured) == 10, "a further network: all are timed again, together"
    time_table(MeasuredTarget(dataclasses.replace(target.device, fresh=True)), table(16, 32))
    assert len(device.measured) == 14
    target.device.measure_together([table(16).experiments[0].network])
    time_table(target, table(16, 32))
    assert len(device.measured) == 19, "one of them has a newer figure from another session"


def test_all_tables_are_timed_with_one_image_and_the_widths_of_the_processor() -> None:
    device = FakeDevice()
    target = MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1)))
    heard: list[tuple[str, int, int]] = []
    found = run_experiments(with_one_image(target), lambda *told: heard.append(told))
    expected = (*paper_tables("GPU"), *further_tables())
    assert [timed.table for timed in found] == list(expected)
    assert [(done, total) for _, done, total in heard] == [
        (number, len(expected)) for number in range(len(expected))
    ]
    assert heard[0][0].startswith("G1: ")
    times = times_of(found)
    assert len(times) == sum(len(each.experiments) for each in expected) == len(device.measured)
    assert all("batch 1" in time.latency.device for time in times)
    assert target.device.plan.batch == 8, "the user's target is as it was"


def test_the_widths_are_those_of_the_papers_platform() -> None:
    device = FakeDevice()
    assert (
        platform_of(MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1))))
        == "GPU"
    )
    assert (
        platform_of(MeasuredTarget(MeasuredDevice("cpu", device, CPU_PLAN.changed(sessions=1))))
        == "ARM"
    )
    assert platform_of(EmulatedArm.open()) == "ARM"


def test_what_a_device_cannot_do_ends_the_run() -> None:
    device = FakeDevice(fault=lambda number: DeviceError("unplugged") if number == 2 else None)
    with pytest.raises(DeviceError, match="unplugged"):
        run_experiments(
            MeasuredTarget(MeasuredDevice("gpu", device, GPU_PLAN.changed(sessions=1)))
        )


def core_without(kind: str) -> EmulatedArm:
    core = EmulatedArm.open()
    entries, formulas = (
        {key: cost for key, cost in costs.items() if not key.startswith(kind)}
        for costs in (core.table.entries, core.table.formulas)
    )
    assert len(entries) < len(core.table.entries)
    table = dataclasses.replace(core.table, entries=entries, formulas=formulas)
    return dataclasses.replace(core, table=table)


def test_an_emulated_core_refuses_by_name_what_its_table_lacks_and_prices_the_rest() -> None:
    networks = {
        "priced": ExperimentNetwork(Depthwise(32, 3)),
        "priced too": ExperimentNetwork(Depthwise(32, 7)),
        "other kernel": ExperimentNetwork(Depthwise(32, 5)),
    }
    asked = ExperimentTable(
        "kernels", "", tuple(Experiment(name, "all", each) for name, each in networks.items())
    )
    timed = time_table(core_without("depthwise 5x5"), asked)
    priced, too, refused = timed.rows
    assert priced.time is not None
    assert too.time is not None
    assert priced.time.latency.provenance == "emulated"
    assert too.relative == pytest.approx(too.time.latency.ms / priced.time.latency.ms)
    assert (too.relative_ci, priced.relative) == (None, 1)
    assert (refused.time, refused.relative) == (None, None)
    assert refused.not_covered == ("depthwise 5x5 s1",)
    assert timed.orders.ranking == (0, 1)


def test_without_the_first_of_a_group_nothing_is_relative() -> None:
    networks = {kernel: ExperimentNetwork(Depthwise(32, kernel)) for kernel in (5, 3)}
    rows = tuple(Experiment(str(kernel), "all", each) for kernel, each in networks.items())
    timed = time_table(core_without("depthwise 5x5"), ExperimentTable("kernels", "", rows))
    assert timed.rows[1].time is not None
    assert timed.rows[1].relative is None


def test_a_core_that_covers_nothing_is_an_error() -> None:
    core = EmulatedArm.open()
    bare = dataclasses.replace(
        core, table=dataclasses.replace(core.table, entries={}, formulas={})
    )
    with pytest.raises(MeasurementError, match="no latency of any"):
        run_experiments(bare)
