"""Readings of a device, and what they say against a measurement."""

import pytest

from nas_sv2.latency.agent.host_facts import conditions, machine_facts
from nas_sv2.latency.measurements.conditions import device_complaints

AT_REST = {"khz": 1.2e6, "celsius": 40.0, "ticks": 1000, "stolen_ticks": 5, "load": 0.1}


@pytest.mark.parametrize(
    ("later", "complaint"),
    [
        ({}, ""),
        ({"khz": 1.15e6}, ""),
        ({"khz": 0.6e6}, "the clock fell from 1200 to 600 MHz"),
        ({"throttle_count": 8}, "the device throttled at 70 °C"),
        ({"throttled": "throttled=0x50005"}, ""),  # not a number: nothing is known
        ({"throttled": "50005"}, "the device throttled at 70 °C"),
        ({"throttled": "50000"}, ""),  # it did once, but not now
        ({"gpu_throttled": "0x0000000000000001"}, ""),  # idle
        ({"gpu_throttled": "0x0000000000000008"}, "the device throttled"),
        ({"stolen_ticks": 65}, "3% of the time went to other machines"),
        ({"stolen_ticks": 15}, ""),
    ],
)
def test_what_readings_mean(later: dict[str, object], complaint: str) -> None:
    first = {**AT_REST, "throttle_count": 7}
    last = {**first, "ticks": 3000, "celsius": 70.0, **later}
    found = device_complaints([first, first, last])
    assert len(found) == bool(complaint)
    assert complaint in "".join(found)


def test_a_clock_at_rest_before_the_first_run_is_no_throttling() -> None:
    slow = {**AT_REST, "khz": 0.3e6}
    assert device_complaints([slow, AT_REST, AT_REST]) == []


def test_nothing_known_is_nothing_said() -> None:
    assert device_complaints([]) == []
    assert device_complaints([{}, {}, {}]) == []


def test_this_machine_is_read() -> None:
    facts, state = machine_facts(), conditions(0.0, gpu=True)
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert state["at_s"] > 0
    assert None not in [*facts.values(), *state.values()]
