"""What a device that is used in turn does about agents that end: real processes end here."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.devices.command import CommandTemplate
from nas_sv2.latency.devices.open_device import device_at
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice
from nas_sv2.latency.measurements.plan import MeasurePlan

PLAN = MeasurePlan(reference=None, timeout_s=5)
NETWORK = Payload("0123456789abcdef", b"a model")
# Greets as the agent does, and answers with what the rest of the text makes of a request. `starts`
# is how often it was started.
AGENT = """
import json, os, sys
stdin = sys.stdin.buffer
for _ in range(int(stdin.readline())):
    stdin.read(int(stdin.readline()))
with open(os.environ["COUNT"], "a+") as file:
    file.write("x")
    file.seek(0)
    starts = len(file.read())
print('{"agent": "2"}', flush=True)
FACTS = {"runtime": "onnxruntime", "threads": 1, "precision": "fp32"}
times = {"wall_ns": [5, 5], "cpu_ns": [5, 5], "rounds": [0, 1], "switches": None}
def die(words):
    os.write(2, words.encode())
    os._exit(134)
def answer(**facts):
    print(json.dumps(facts), flush=True)
def measured(networks, cpu):
    runs = [
        {"digest": n["digest"], **times, "series": {}, "warmup_runs": 1, "stationary": True}
        for n in networks
    ]
    facts = {"cpu": cpu, "runtime_version": "1", **FACTS}
    answer(networks=runs, fingerprint=facts, conditions=[], heating=[])
while True:
    request = json.loads(stdin.readline())
    networks = request["networks"]
    for network in networks:
        stdin.read(network["bytes"])
"""

Board = Callable[[str], ReconnectingDevice]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """Gives a device whose agent answers as the text says."""
    opened: list[ReconnectingDevice] = []
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))

    def board(text: str) -> ReconnectingDevice:
        agent = tmp_path / "agent.py"
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        agent.write_text(AGENT + indented)
        words = (sys.executable, "-S", str(agent), "{argv}")
        opened.append(device_at("board", CommandTemplate(words)))
        opened[-1].waits_s = (0.1, 0.1)
        return opened[-1]

    yield board
    for device in opened:
        device.close()


def starts(folder: Path) -> int:
    return len((folder / "count").read_text())


def test_an_agent_that_ends_is_started_again(board: Board, tmp_path: Path) -> None:
    said: list[str] = []
    device = board("die('Killed') if starts < 3 else measured(networks, 'a')")
    device.notify = said.append
    (measurement,) = device.measure([NETWORK], PLAN)
    assert (measurement.runs, starts(tmp_path)) == (2, 3)
    assert said == ["board: the agent ended with code 134: Killed; starting it again"] * 2


def test_the_third_time_it_is_the_networks_doing(board: Board, tmp_path: Path) -> None:
    device = board("die('Out of memory')")
    with pytest.raises(MeasurementError, match="code 134: Out of memory; 3 times in a row"):
        device.measure([NETWORK], PLAN)
    assert starts(tmp_path) == 3


def test_a_runtime_that_kills_its_python_is_the_devices_fault(board: Board) -> None:
    with pytest.raises(DeviceError, match="Illegal instruction; 3 times in a row"):
        board("die('Illegal instruction')").fingerprint(PLAN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print('Segmentation fault', flush=True)", "'Segmentation fault', which is no answer"),
        ("measured([{'digest': '00'}], 'a')", "not a measurement"),
        ("answer(error='model', message='bad node')", "board: bad node"),
        (
            "answer(error='agent', message='AttributeError: x')",
            "board: a fault of our agent, please report it: AttributeError: x",
        ),
        ("times['wall_ns'] = [5, -5]\nmeasured(networks, 'a')", "wall_ns"),
        ("import time; time.sleep(600)", "no answer within the time limit"),
    ],
)
def test_what_no_new_start_would_mend_is_not_tried_again(
    board: Board, tmp_path: Path, text: str, message: str
) -> None:
    plan = MeasurePlan(reference=None, timeout_s=0.5)
    with pytest.raises(MeasurementError, match=message):
        board(text).measure([NETWORK], plan)
    assert starts(tmp_path) == 1


def test_another_device_behind_the_name_is_refused(board: Board) -> None:
    device = board("measured(networks, 'Cortex-A' + str(networks[0]['bytes']))")
    device.measure([NETWORK], PLAN)
    changed = "not the device it was: cpu was 'Cortex-A7' and is 'Cortex-A5'"
    with pytest.raises(DeviceError, match=changed):
        device.measure([Payload(NETWORK.architecture, b"other")], PLAN)


def test_a_device_that_never_answered_is_not_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    device = device_at(
        "board", CommandTemplate(("sh", "-c", "exit 7", "{argv}")), notify=said.append
    )
    with pytest.raises(DeviceError, match="sh ended with code 7; the agent did not start"):
        device.measure([NETWORK], PLAN)
    assert said == []
