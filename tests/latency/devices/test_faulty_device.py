"""Whatever a device answers, it is a measurement or one error of ours, and a search goes on."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.plan import MeasurePlan

AGENT = Path(__file__).parents[2] / "stand_ins" / "faulty_agent.py"
PLAN = MeasurePlan(reference=None, timeout_s=5.0)
MODEL = Payload("0" * 16, b"a model")
CODES = r"'\x1b]0;T\x07\x1b[2J'"


def columns(name: str, *values: str) -> list[str]:
    return [f"n.update({name}={value}) or a" for value in values]


ANSWERS = {
    "measure": [
        *columns("wall_ns", "[NAN] * 30", "[INF] * 30", "[10**400] * 30", "[0] * 30", "[-1] * 30"),
        *columns("wall_ns", "[True] * 30", "['5'] * 30", "[1.5] * 30"),
        *columns("wall_ns", "[]", "[[1]] * 30", "'9' * 30"),
        *columns("wall_ns", "[1] * 29", "[10**16] * 30", "{}", "None", "[None] * 30", "1"),
        *columns("cpu_ns", "[0] * 30, switches=[5] * 30"),
        *columns("cpu_ns", "[-1] * 30", "[NAN] * 30"),
        *columns("cpu_ns", "[10**9] * 30", "[990_000] * 31", "'x'", "[10**400] * 30", "None"),
        *columns("rounds", "[10**30] * 30", "[-1] * 30"),
        *columns("rounds", "list(range(30))[::-1]", "[0] * 3", "[0.5] * 30"),
        *columns("switches", "[-1] * 30", "[None] * 30", "[0]"),
        *columns("switches", "0", "[True] * 30", "[1e308] * 30"),
        *columns("warmup_runs", CODES, "-1", "NAN", "10**30", "None", "True", "2.5"),
        *columns("stationary", "1", "'yes'", "None"),
        *columns("digest", "'00'", "None", "7", CODES),
        *columns("series", f"{{{CODES}: [1.0]}}", "{'a': ['x']}"),
        *columns("series", "{'a': []}", "[]", "{'a': [NAN]}"),
        *columns("series", "{'a': [-1.0]}", "{'a' * 99: [1.0]}", "{'a': [1e308]}"),
        *columns("unknown", "1"),
        "n.pop('wall_ns') and a",
        "n.pop('series') or a",
        "a.pop('fingerprint') and a",
        "a.update(networks=[]) or a",
        "a.update(networks=[n, n]) or a",
        "a.update(networks={}) or a",
        "a.update(networks='x') or a",
        "a.update(unknown=1) or a",
        "a.update(conditions=['x']) or a",
        "a.update(conditions=[{'runnable': 'many'}]) or a",
        "a.update(conditions=[{'runnable': NAN}]) or a",
        "a.update(conditions=[{'celsius': 1e300}]) or a",
        "a.update(conditions=[{'celsius': True}]) or a",
        f"a.update(conditions=[{{'throttled': {CODES}}}]) or a",
        f"a.update(conditions=[{{{CODES}: 1}}]) or a",
        "a.update(conditions=None) or a",
        "a.update(heating=[[1]]) or a",
        "a.update(heating=[[1, -1.0]]) or a",
        "a.update(heating=[['1', 1.0]]) or a",
        "a.update(heating=7) or a",
        f"facts.update(cpu={CODES}) or a",
        f"facts.update({{{CODES}: 1}}) or a",
        "facts.update(cpu='x' * 10_000) or a",
        "facts.update(cpu={'a': 1}) or a",
        "facts.update(max_khz=NAN) or a",
        "facts.update(max_khz=1e300) or a",
        "facts.update(affinity=['a']) or a",
        "facts.update(affinity=[-1]) or a",
        "facts.update(threads=64) or a",
        "facts.update(threads=True) or a",
        "facts.update(runtime='another') or a",
        "facts.update(runtime_version=None, runtime=None) or a",
        "facts.clear() or a",
        "a.update(fingerprint=['a']) or a",
        "'[' * 200_000",
        "'{\"networks\":' + '[' * 200_000",
        "json.dumps(a)[:-1] + ', \"heating\": []}'",
        "json.dumps(a).replace('1000000', 'NaN', 1)",
        "json.dumps(a).replace('1000000', '1e999', 1)",
        "json.dumps(a).replace('1000000', '0' * 400, 1)",
        "json.dumps(a).replace('1000000', '1' * 5000, 1)",
        "json.dumps(a).encode('utf-16')",
        "b'\\xff\\xfe\\x00' * 1000",
        "''",
        "'null'",
        "'[]'",
        "'7'",
        "'{}'",
        "'[' + '[],' * 600_000 + '[]]'",
        "{'error': 'device', 'message': " + CODES + "}",
        "{'error': " + CODES + ", 'message': None}",
        "{'error': {}, 'message': 'x' * 100_000}",
        "{'error': 'model'}",
    ],
    "fingerprint": [
        "{'fingerprint': ['a']}",
        "{'fingerprint': {}}",
        "{'fingerprint': 0}",
        "{'fingerprint': {'a': 1}}",
        "{'fingerprint': None}",
        "{}",
        f"facts.update(cpu={CODES}) or a",
        "facts.update(cpu=[1]) or a",
        "facts.update(threads=NAN) or a",
        "'[' * 100_000",
    ],
    "profile": [
        "{'nodes': 'abc'}",
        "{'nodes': 7}",
        "{'nodes': [['a', 'b', 'x']]}",
        "{'nodes': [['a', 'b', NAN]]}",
        "{'nodes': [['a', 'b', -1.0]]}",
        "{'nodes': [['a', 'b', 1e308]]}",
        "{'nodes': [['a', 'b']]}",
        "{'nodes': [['a', 'b', True]]}",
        f"{{'nodes': [[{CODES}, 'b', 1.0]]}}",
        f"{{'nodes': [['a', {CODES}, 1.0]]}}",
        "{'nodes': [['a' * 10_000, 'b', 1.0]]}",
        "{'nodes': {}}",
        "{}",
    ],
    "outputs": [
        "{'outputs': 0}",
        "{'outputs': ['1']}",
        "{'outputs': [NAN]}",
        "{'outputs': [True]}",
        "{'outputs': [[1.0]]}",
        "{'outputs': None}",
        "{}",
    ],
    "greet": ["'[' * 100_000", "{'agent': '1'}", "{'agent': " + CODES + "}", "{'agent': ['2']}"],
}  # fmt: skip


def ask(device: AgentDevice, operation: str) -> Any:
    if operation == "fingerprint":
        return device.fingerprint(PLAN)
    if operation == "profile":
        return device.profile(MODEL, PLAN, 5.0)
    if operation == "outputs":
        return device.outputs(MODEL, PLAN)
    return device.measure([MODEL], PLAN)


def faulty(operation: str, change: str) -> AgentDevice:
    return AgentDevice("board", (sys.executable, "-S", str(AGENT), operation, change))


@pytest.mark.parametrize("operation", ["measure", "fingerprint", "profile", "outputs"])
def test_its_good_answers_are_good(operation: str) -> None:
    with faulty(operation, "a") as device:
        assert ask(device, operation)


@pytest.mark.parametrize(
    ("operation", "change"),
    [(operation, change) for operation, changes in ANSWERS.items() for change in changes],
)
def test_nonsense_is_one_line_that_names_the_device(operation: str, change: str) -> None:
    with faulty(operation, change) as device:
        device.start()
        began = time.thread_time()
        with pytest.raises((MeasurementError, DeviceError), match=r"^board: ") as refused:
            ask(device, operation)
        assert time.thread_time() - began < 1
    assert "ended with code" not in str(refused.value)  # the answer itself was refused
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 2500
