"""Several workers at one study, and what befalls them: real processes, a real PostgreSQL.

After each: the asked number of trials is there, each network once, with its record and its
measurement; nothing runs any more, and no lease is left.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from postgres import Postgres
from sqlalchemy import create_engine, text

from nas_sv2.latency.processes import process_name
from nas_sv2.studies.lookup import records_of
from nas_sv2.studies.study import load_study, study_key
from nas_sv2.studies.trial_note import DUPLICATE

CREW = Path(__file__).parents[1] / "stand_ins" / "crew.py"
EXPIRES_S = 3.0


@dataclass
class Crew:
    """A driver and its workers.

    Attributes:
        process: The driver.
        pids: Of the workers, as they told.
        told: All that was printed.
    """

    process: subprocess.Popen[str]
    pids: list[int] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            fact = json.loads(line)
            self.told.append(fact)
            if "pid" in fact:
                self.pids.append(fact["pid"])

    @property
    def finished(self) -> int:
        return sum(fact.get("verdict") == "finished" for fact in self.told)

    def until(self, holds: Callable[[], bool], patience_s: float = 300) -> None:
        ends = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < ends, self.told
            time.sleep(0.05)

    def over(self, patience_s: float = 900) -> int:
        """Wait for the driver's end; no worker is left."""
        code = self.process.wait(patience_s)
        self.until(lambda: not any(process_name(pid) for pid in self.pids), 60)
        return code


@contextmanager
def crew(
    storage: str, trials: int, workers: int, seconds: float = 0.3, expires_s: float = EXPIRES_S
) -> Iterator[Crew]:
    command = [sys.executable, str(CREW), storage, "s", str(trials), str(workers)]
    command += [str(seconds), str(expires_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        found = Crew(process)
        thread = threading.Thread(target=found.listen)
        thread.start()
        try:
            yield found
        finally:
            process.kill()
            for pid in found.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            thread.join()


def finish(storage: str, trials: int, workers: int = 1) -> Crew:
    """Go on with the study until it is done."""
    with crew(storage, trials, workers, seconds=0.05) as found:
        assert found.over() == 0
    assert found.told[-1] == {"errors": []}
    return found


def check(storage: str, trials: int) -> None:
    study = load_study(storage, "s")
    states = study.get_trials(states=(TrialState.COMPLETE,))
    told = [trial for trial in states if DUPLICATE not in trial.user_attrs]
    records = records_of(storage, "s")
    assert len(told) == trials
    assert {trial.number for trial in told} == set(records)
    digests = [trial.user_attrs["architecture"] for trial in told]
    assert digests == [records[trial.number].architecture.digest for trial in told]
    assert len(set(digests)) == trials
    for trial in told:
        assert tuple(trial.values) == records[trial.number].objectives
    assert not study.get_trials(states=(TrialState.RUNNING,))
    engine = create_engine(storage)
    with engine.connect() as connection:
        measured = connection.execute(text("SELECT architecture FROM nas_measurements")).scalars()
        assert set(digests) <= set(measured)
        key = {"study": study_key(study)}
        leases = text("SELECT count(*) FROM nas_trial_leases WHERE study = :study")
        assert connection.execute(leases, key).scalar() == 0
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.database()


def test_a_killed_worker_does_not_end_the_others(storage: str) -> None:
    with crew(storage, 12, 3) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 2)
        os.kill(found.pids[0], signal.SIGKILL)
        assert found.over() == 0
    (error,) = found.told[-1]["errors"]
    assert "SIGKILL" in error
    check(storage, 12)


@pytest.mark.slow
def test_the_asked_number_is_reached_exactly_by_many_workers(storage: str) -> None:
    with crew(storage, 23, 4, seconds=0.1) as found:
        assert found.over() == 0
    check(storage, 23)
    assert found.finished == 23


@pytest.mark.slow
def test_a_second_search_joins(storage: str) -> None:
    with crew(storage, 20, 2) as first, crew(storage, 20, 2) as second:
        assert first.over() == 0
        assert second.over() == 0
    assert first.finished + second.finished == 20
    assert min(first.finished, second.finished) > 0
    check(storage, 20)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_driver_and_the_study_is_resumed(
    storage: str, number: signal.Signals
) -> None:
    with crew(storage, 14, 3, seconds=0.5) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 3)
        found.process.send_signal(number)
        assert found.over() == (-9 if number == signal.SIGKILL else 130)
    assert found.finished < 14
    finish(storage, 14)
    check(storage, 14)


@pytest.mark.slow
def test_driver_and_workers_killed_at_once(storage: str) -> None:
    with crew(storage, 14, 3, seconds=0.5) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 3)
        for pid in (found.process.pid, *found.pids):
            os.kill(pid, signal.SIGKILL)
        found.over()
    finish(storage, 14)
    check(storage, 14)


@pytest.mark.slow
def test_a_worker_that_stands_still_loses_its_candidate_and_goes_on_later(storage: str) -> None:
    with crew(storage, 6, 2, seconds=4.0) as found:
        # While both train: in the middle of a transaction it would keep the others waiting.
        found.until(lambda: found.told[-1:] == [{"entered": "training (2)"}])
        os.kill(found.pids[0], signal.SIGSTOP)
        study = load_study(storage, "s")
        found.until(lambda: any("retry_of" in t.user_attrs for t in study.get_trials()), 900)
        os.kill(found.pids[0], signal.SIGCONT)
        assert found.over() == 0
    assert found.told[-1] == {"errors": []}
    check(storage, 6)


@pytest.mark.slow
def test_sqlite_locked_by_another_writer_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    with crew(f"sqlite:///{file}", 12, 3) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 2)
        writer = sqlite3.connect(file, isolation_level=None, timeout=30)
        writer.execute("BEGIN IMMEDIATE")
        time.sleep(2 * EXPIRES_S)  # longer than a lease may stand still
        writer.execute("COMMIT")
        writer.close()
        assert found.over() == 0
    assert found.told[-1] == {"errors": []}
    check(f"sqlite:///{file}", 12)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_postgresql_started_anew_is_waited_for(postgres_server: Postgres, how: str) -> None:
    storage = postgres_server.database()
    with crew(storage, 20, 3) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 3)
        postgres_server.stop(how)
        time.sleep(1)
        postgres_server.start()
        assert found.over() == 0
    assert found.told[-1] == {"errors": []}
    check(storage, 20)


@pytest.mark.slow
def test_connections_dropped_again_and_again(postgres_server: Postgres) -> None:
    storage = postgres_server.database()
    with crew(storage, 24, 3, seconds=0.2) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 1)
        drops = 0
        while found.process.poll() is None and drops < 4:
            postgres_server.drop_connections()
            drops += 1
            time.sleep(0.7)
        assert found.over() == 0
    assert found.told[-1] == {"errors": []}
    check(storage, 24)
