"""A group of workers as a test sees it: started, heard, ended, and what has to hold afterwards."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import create_engine, text
from worker_program import Job

from nas_sv2.database.database import Database
from nas_sv2.database.processes import process_name
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.studies.findings.attributes import DUPLICATE
from nas_sv2.studies.storage.named_networks import records_of
from nas_sv2.studies.storage.study import load_study, study_key

PROGRAM = Path(__file__).with_name("worker_program.py")
EXPIRES_S = 3.0
FINISHED: dict[str, Any] = {"errors": []}
"""The last line of a group that came to its end."""


@dataclass
class WorkerGroup:
    """A driver and its workers.

    Attributes:
        process: The driver, the leader of a session of its own.
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

    @property
    def waits(self) -> list[str]:
        """What was said of that nothing goes on."""
        return [fact["waits"] for fact in self.told if "waits" in fact]

    def until(self, holds: Callable[[], bool], patience_s: float = 300) -> None:
        ends = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < ends, self.told
            time.sleep(0.05)

    def until_told(self, lines: int) -> None:
        """Wait until so many lines were printed, or for its end."""
        self.until(lambda: len(self.told) >= lines or self.process.poll() is not None)

    def until_over(self, longest_s: float) -> None:
        """Wait for its end, for so long at most."""
        ends = time.monotonic() + longest_s
        while self.process.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)

    def over(self, patience_s: float = 900) -> int:
        """Wait for the driver's end; no process that it started is left."""
        code = self.process.wait(patience_s)
        self.until(lambda: not members_of(self.process.pid) | set(self.running), 60)
        return code

    @property
    def running(self) -> list[int]:
        """The workers that run."""
        return [pid for pid in self.pids if process_name(pid)]


def members_of(session: int) -> set[int]:
    """The processes of a session, by Linux's list of them; none on other systems."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.add(int(stat.parent.name))
    return found


@contextmanager
def worker_group(
    storage: str,
    trials: int,
    workers: int,
    seconds: float = 0.3,
    expires_s: float = EXPIRES_S,
    environment: Mapping[str, str] | None = None,
    **more: Any,
) -> Iterator[WorkerGroup]:
    """A group of workers at work; `more` are further fields of its `Job`."""
    job = Job(storage, trials, workers, seconds, expires_s, **more)
    command = [sys.executable, str(PROGRAM), json.dumps(asdict(job))]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        found = WorkerGroup(process)
        thread = threading.Thread(target=found.listen)
        thread.start()
        try:
            yield found
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            thread.join()


def finish(storage: str, trials: int, workers: int = 1, **more: Any) -> WorkerGroup:
    """Go on with the study until it is done."""
    with worker_group(storage, trials, workers, seconds=0.05, **more) as found:
        assert found.over() == 0
    assert found.told[-1] == FINISHED
    return found


def check(storage: str, trials: int) -> None:
    """The asked number of trials is there, each of another network, once, with what was found."""
    study = load_study(Database.open(storage), "s")
    states = study.get_trials(states=(TrialState.COMPLETE,))
    told = [trial for trial in states if DUPLICATE not in trial.user_attrs]
    records = records_of(Database.open(storage), "s")
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
        documents = connection.execute(text("SELECT document FROM nas_measurements")).scalars()
        measured: dict[str, set[float]] = {}
        for document in documents:
            measurement = Measurement.from_json(json.loads(document))
            measured.setdefault(measurement.architecture, set()).add(measurement.latency("").ms)
        for record in records.values():
            assert record.latencies["fake"].ms in measured[record.architecture.digest]
        key = {"study": study_key(study)}
        count = text("SELECT count(*) FROM nas_records WHERE study = :study")
        assert connection.execute(count, key).scalar() == trials
        leases = text("SELECT count(*) FROM nas_trial_leases WHERE study = :study")
        assert connection.execute(leases, key).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM nas_leases")).scalar() == 0
    engine.dispose()
