"""Networks that are timed before the first candidate, on targets that have to run them."""

import dataclasses
from pathlib import Path

import optuna
from doubles import EventRecorder, FakeEvaluator, FakeTarget, small_space

from nas_sv2.database.database import Database
from nas_sv2.errors import MeasurementError
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.search.asking.first_timings import FIRST, timed_first
from nas_sv2.search.asking.sampler import SamplerSetting
from nas_sv2.search.events.events import Notice
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.guidelines import Guidelines, g4_elementwise
from nas_sv2.space.networks.lowering import lower
from nas_sv2.testing import FakeDevice

BUDGET, LIMITS = Budget(flops=1.2e6), Guidelines({"G4": 0.5})


def test_networks_that_cover_the_space_are_timed_once_and_kept(tmp_path: Path) -> None:
    """A network without a latency is left out, and a target that keeps nothing is not asked."""
    db = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    store = MeasurementStore(db)
    third = {3: MeasurementError("no time")}
    device = FakeDevice(fault=third.get)
    kept = MeasuredTarget(MeasuredDevice("kept", device, MeasurePlan(sessions=1), store))
    own = FakeTarget("own")
    walk = Walk(LIMITS, BUDGET, {"kept": kept, "own": own}, FakeEvaluator())
    search = SamplerSetting(small_space(), walk, LIMITS, Audit(0.0))
    study, heard = optuna.create_study(), EventRecorder()
    found = timed_first(search, 0, study, heard)
    assert found.keys() == {"kept"} and own.asked == []
    timed = [one.architecture for one, _ in found["kept"]]
    assert len({one.digest for one in timed}) == FIRST - 1 == len(device.measured)
    assert all(cost_of(lower(one)).flops <= 1.2e6 * 1.05 for one in timed)
    assert all(g4_elementwise(lower(one)) <= 0.5 for one in timed)
    notices = [event.reason for event in heard.events if isinstance(event, Notice)]
    began, left = notices
    assert began == "kept: timing 12 networks, so that the search knows it"
    assert left.endswith(" is left out of the first measurements: no time")
    assert left.startswith("kept: ") and left[6:14] not in [one.digest[:8] for one in timed]
    for one, ms in found["kept"]:
        latency = kept.estimate(one.architecture)
        assert (latency.ms, latency.provenance) == (ms, "measured")
    again = dataclasses.replace(search)
    assert timed_first(again, 0, study, heard).keys() == found.keys()
    resumed = [(one.architecture, ms) for one, ms in timed_first(again, 0, study, heard)["kept"]]
    assert resumed == [(one.architecture, ms) for one, ms in found["kept"]]
    assert len(device.measured) == FIRST - 1
