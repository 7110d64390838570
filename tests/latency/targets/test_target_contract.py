"""Our own targets, and a user's, keep to the shipped contract; no code asks which one it has."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from csv_target import CsvTable

from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.emulated.gtx_1080ti import EmulatedGtx1080Ti
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import MeasuredTarget, Target
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import FakeDevice, TargetTests

ROOT = Path(__file__).parents[3]
KINDS = r"(\w*Target|EmulatedArm|EmulatedGtx1080Ti|MeasuredDevice)"
ASKS = re.compile(rf"isinstance\([^)]*\b{KINDS}\b|\bcase {KINDS}\(|hasattr\(target\b")


class TestMeasured(TargetTests):
    @pytest.fixture
    def target(self) -> Target:
        return MeasuredTarget(MeasuredDevice("board", FakeDevice("board"), MeasurePlan()))


@pytest.fixture(scope="module")
def this_machine() -> Iterator[Target]:
    target = TargetBook.read().open("cpu")
    limits_s = {"time_limit_s": 0.2, "noisy_time_limit_s": 0.2, "warmup_limit_s": 0.5}
    yield target.with_plan(min_runs=20, max_runs=40, warmup_runs=3, sessions=1, **limits_s)
    target.close()


class TestThisMachine(TargetTests):
    """Small networks and a short plan; the connection is one for all tests."""

    @pytest.fixture
    def target(self, this_machine: Target) -> Target:
        return this_machine

    @pytest.fixture
    def network(self) -> Architecture:
        return dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64)

    @pytest.fixture
    def larger(self) -> Architecture:
        return dataclasses.replace(reference("shufflenet_v2_x2_0"), resolution=64)


class TestEmulated(TargetTests):
    @pytest.fixture
    def target(self) -> Target:
        return EmulatedArm.open()


class TestPapersGpu(TargetTests):
    @pytest.fixture
    def target(self) -> Target:
        return EmulatedGtx1080Ti()


class TestUsersTable(TargetTests):
    @pytest.fixture
    def target(self, latency_table: Path) -> CsvTable:
        return CsvTable(latency_table)


def test_no_product_code_asks_which_kind_of_target_it_has() -> None:
    folders = ("nas_sv2", "search", "studies", "latency", "evaluate", "space", "benchmarks")
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for folder in folders
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if ASKS.search(line)
    ]
    assert not found


def test_the_pattern_finds_what_it_looks_for() -> None:
    for line in ("if isinstance(target, MeasuredTarget):", "case EmulatedArm(name=name):"):
        assert ASKS.search(line)
