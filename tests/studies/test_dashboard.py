"""The dashboard, served for real."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from nas_sv2.errors import ConfigError
from nas_sv2.studies.dashboard import HOST, dashboard_storage
from nas_sv2.studies.study import create_or_resume


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def storage(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = create_or_resume(url, "mine", {"targets": {"arm": "emulated"}}, RandomSampler())
    study.tell(study.ask(), [0.9, 12.5])
    return url


@pytest.fixture
def served(storage: str, port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "nas_sv2", "dashboard", "--storage", storage]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL) as server:
        yield f"http://{HOST}:{port}"
        server.terminate()


def get(url: str) -> bytes:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                content: bytes = answer.read()
                return content
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_it_serves_the_studies(served: str) -> None:
    assert b"<html" in get(f"{served}/dashboard").lower()
    (summary,) = json.loads(get(f"{served}/api/studies"))["study_summaries"]
    assert summary["study_name"] == "mine"
    detail = json.loads(get(f"{served}/api/studies/{summary['study_id']}"))
    assert [trial["values"] for trial in detail["trials"]] == [[0.9, 12.5]]
    assert detail["objective_names"] == ["top-1 accuracy", "arm latency (ms, emulated)"]


def test_a_taken_port_is_refused(storage: str, port: int) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, port))
        taken.listen()
        with pytest.raises(ConfigError, match="--port"):
            dashboard_storage(storage, port)
