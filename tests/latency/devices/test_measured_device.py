"""How many sessions a command holds, and what becomes of them."""

import dataclasses
from typing import Any

import pytest
from scripted import FACTS, PLAN, ROUNDS, RUNS, ScriptedDevice, measurement_of, samples_of

from nas_sv2.errors import DeviceError
from nas_sv2.latency.devices import measured_device
from nas_sv2.latency.devices.measured_device import FEWEST_SESSIONS, SESSIONS, MeasuredDevice
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import FakeDevice

NETWORK = reference("shufflenet_v2_x0_5")


def measured(device: ScriptedDevice, **changes: Any) -> Measurement:
    (found,) = MeasuredDevice("cpu", device, PLAN.changed(**changes)).measure_together([NETWORK])
    return found


def test_every_session_has_an_agent_of_its_own_and_its_share_of_the_plan() -> None:
    device = ScriptedDevice()
    found = measured(device, heat_s=9.0)
    assert device.calls == ["measure", *["close", "measure"] * (SESSIONS - 1)]
    assert found.plan == PLAN.changed(heat_s=9.0)
    assert len(found.starts) == SESSIONS
    assert found.runs == SESSIONS * ROUNDS * RUNS
    assert found.session == "s0"


@pytest.mark.parametrize("sessions", [1, 2, 7])
def test_as_many_sessions_are_held_as_were_asked_for(
    sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_device, "LONGEST_S", 0.0)
    assert len(measured(ScriptedDevice(), sessions=sessions).starts) == sessions


def test_slow_sessions_are_fewer_and_together_have_the_runs_of_the_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measured_device, "LONGEST_S", 0.0)
    device = FakeDevice()
    (found,) = MeasuredDevice("cpu", device, PLAN).measure_together([NETWORK])
    assert len(found.starts) == FEWEST_SESSIONS
    assert PLAN.min_runs <= found.runs < PLAN.min_runs + FEWEST_SESSIONS


def test_sessions_that_differ_leave_more_open() -> None:
    times = (3.0, 3.6, 2.6, 3.1)
    device = ScriptedDevice(lambda number: measurement_of(samples_of([times[number]] * ROUNDS)))
    restless, steady = measured(device), measured(ScriptedDevice())
    assert restless.ci_ms is not None and steady.ci_ms is not None
    assert restless.ci_ms[1] - restless.ci_ms[0] > 1.2 * (steady.ci_ms[1] - steady.ci_ms[0])


def test_a_device_that_changes_between_sessions_gives_no_figure() -> None:
    def script(number: int) -> Measurement:
        return measurement_of(facts={**FACTS, "runtime_version": str(number)})

    with pytest.raises(DeviceError, match="runtime_version was '0' and is '1'"):
        measured(ScriptedDevice(script))


def test_networks_of_one_command_share_all_sessions() -> None:
    device = MeasuredDevice("cpu", ScriptedDevice(), PLAN)
    first, second = device.measure_together([NETWORK, dataclasses.replace(NETWORK, classes=10)])
    assert first.starts == second.starts
    assert first.relative_to(second) == (1.0, (1.0, 1.0))
