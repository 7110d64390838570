"""`nas-sv2 search --workers`, with real trainings."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from postgres import Postgres
from running import running
from sqlalchemy.exc import OperationalError

from nas_sv2.search.session import session
from nas_sv2.studies.storage.places import absolute_data

SEARCH = ("search", "--target", "arm", "--budget", "140M", "--recipe", "smoke", "--json")

Run = Callable[..., tuple[int, str, str]]


def test_fewer_than_one_worker_is_refused(command_line: Run) -> None:
    code, _, said = command_line(*SEARCH, "--workers", "0")
    assert code == 2
    assert "--workers" in said


def test_a_database_that_fails_while_a_search_is_opened_is_one_line(
    command_line: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        full = sqlite3.OperationalError("database or disk is full")
        raise StorageInternalError("no") from OperationalError("", {}, full)

    monkeypatch.setattr(session._Opening, "_training_threads", fails)
    code, _, said = command_line(*SEARCH)
    assert code == 1
    assert said == "nas-sv2: the studies cannot be read or written: database or disk is full\n"


def test_a_home_folder_is_the_same_from_anywhere() -> None:
    assert absolute_data("imagefolder:~/photos") == f"imagefolder:{Path.home()}/photos"


def events(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.slow
def test_two_workers_reach_the_asked_number_on_postgresql(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "nas_sv2", *SEARCH, "--trials", "5", "--workers", "2"]
    command += ["--storage", postgres_server.database()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = events(done.stdout)
    finished = [event for event in told if event.get("verdict") == "finished"]
    assert len(finished) == 5
    assert "s3cret" not in done.stdout + done.stderr
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [event.get("event") for event in events(again.stdout)] == ["began", None]


@pytest.mark.slow
def test_sigterm_ends_the_search_in_order_and_the_next_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas_sv2", *SEARCH, "--trials", "5", "--workers", "2"]
    with running(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("verdict") == "finished":
                process.send_signal(signal.SIGTERM)
                break
        began = time.monotonic()
        process.stdout.read()
        assert process.wait() == 130
        assert time.monotonic() - began < 60
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert events(done.stdout)[-2]["finished"] == 5
