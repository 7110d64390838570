"""Searches on a device behind ssh, with faults of the connection in the middle of them."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SshServer

from nas_sv2.latency.targets.device_file import PROJECT_FILE, add_device

QUICK = {
    "sessions": 1,
    "loads": 1,
    "min_runs": 10,
    "max_runs": 20,
    "warmup_runs": 3,
    "time_limit_s": 0.05,
    "noisy_time_limit_s": 0.05,
}
SEARCH = (
    *("search", "--target", "pi", "--budget", "40M", "--recipe", "smoke", "--trials", "3"),
    *("--workers", "1"),
)
MINI_SEARCH = str(Path(__file__).parents[2] / "stand_ins" / "mini_search.py")

Search = subprocess.Popen[str]
Start = Callable[..., Search]
Events = list[dict[str, Any]]


@pytest.fixture
def start(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts programs in a folder in which the device `pi` is known."""
    monkeypatch.chdir(tmp_path)
    host = server.host()
    settings = {
        "kind": "ssh",
        "host": host.host,
        "port": host.port,
        "python": host.python,
        "ssh_config": host.ssh_config,
        "plan": QUICK,
    }
    add_device("pi", settings, file=PROJECT_FILE)
    started: list[Search] = []

    def start(*arguments: str) -> Search:
        process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        with process:
            pass


def mini(start: Start, study: str = "s", trials: int = 3) -> Search:
    return start(MINI_SEARCH, "studies.db", study, "pi", str(trials))


def until_finished(process: Search) -> Events:
    """What it said until a trial was finished."""
    said: Events = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(json.loads(line))
        if said[-1].get("verdict") == "finished":
            return said
    raise AssertionError(process.communicate()[1])


def rest(process: Search) -> Events:
    """What it said until its end."""
    out, errors = process.communicate(timeout=500)
    assert "Traceback" not in errors, errors
    return [json.loads(line) for line in out.splitlines()]


def finished(events: Events) -> int:
    return [event.get("verdict") for event in events].count("finished")


def told(events: Events) -> list[str]:
    return [event["told"] for event in events if "told" in event]


def test_a_search_survives_a_server_that_is_killed_and_restarted(
    server: SshServer, start: Start
) -> None:
    process = mini(start)
    until_finished(process)
    server.kill()
    time.sleep(0.3)
    server.start()
    events = rest(process)
    assert (process.returncode, finished(events)) == (0, 2)
    assert told(events), "the loss was said"
    assert server.connections() == 2


@pytest.mark.slow
def test_a_device_that_is_gone_pauses_the_search_and_nothing_is_lost(
    server: SshServer, start: Start
) -> None:
    process = mini(start)
    until_finished(process)
    server.kill()
    events = rest(process)
    assert process.returncode == 1
    assert "Connection refused" in events[-1]["ended_by"]
    assert "failed" not in [event.get("verdict") for event in events]
    before = 1 + finished(events)
    server.start()
    again = mini(start)
    events = rest(again)
    assert again.returncode == 0
    assert events[-1]["records"] == 3
    assert finished(events) == 3 - before


@pytest.mark.slow
def test_two_searches_on_one_device_never_measure_at_the_same_time(start: Start) -> None:
    first = mini(start, "one", trials=5)
    said = [until_finished(first)]
    second = mini(start, "two")
    said += [rest(second), rest(first)]
    assert (first.returncode, second.returncode) == (0, 0)
    spans = sorted(event["measured"] for events in said for event in events if "measured" in event)
    assert len(spans) >= 8
    for (_, ended), (began, _) in itertools.pairwise(spans):
        assert ended <= began


@pytest.mark.slow
def test_the_command_survives_it_too(server: SshServer, start: Start) -> None:
    """The whole of it: real trainings, the time limits that users have."""
    process = start("-m", "nas_sv2", *SEARCH, "--json")
    until_finished(process)
    before = server.connections()
    server.kill()
    time.sleep(1.5)
    server.start()
    events = rest(process)
    assert (process.returncode, finished(events)) == (0, 2)
    assert server.connections() > before
