"""Several workers at one study, and what befalls them: real processes, a real PostgreSQL.

After each: the asked number of trials is there, each network once, with its record and its
measurement; nothing runs any more, and no lease is left.
"""

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from postgres import Postgres
from worker_group import EXPIRES_S, FINISHED, check, finish, worker_group

from nas_sv2.database.database import Database
from nas_sv2.studies.storage.study import load_study


def test_a_killed_worker_does_not_end_the_others(storage: str) -> None:
    with worker_group(storage, 8, 2) as found:
        found.until(lambda: len(found.pids) == 2 and found.finished >= 2)
        os.kill(found.pids[0], signal.SIGKILL)
        assert found.over() == 0
    (error,) = found.told[-1]["errors"]
    assert "SIGKILL" in error
    check(storage, 8)


@pytest.mark.slow
def test_the_asked_number_is_reached_exactly_by_many_workers(storage: str) -> None:
    with worker_group(storage, 23, 4, seconds=0.1) as found:
        assert found.over() == 0
    check(storage, 23)
    assert found.finished == 23


@pytest.mark.slow
def test_two_workers_train_200_networks_once_each(storage: str) -> None:
    with worker_group(storage, 200, 2, seconds=0.05, sampler="ehvi") as found:
        assert found.over() == 0
    check(storage, 200)
    assert found.finished == 200


@pytest.mark.slow
def test_a_second_search_joins(storage: str) -> None:
    with worker_group(storage, 20, 2) as first, worker_group(storage, 20, 2) as second:
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
    with worker_group(storage, 14, 3, seconds=0.5) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 3)
        found.process.send_signal(number)
        assert found.over() == (-9 if number == signal.SIGKILL else 130)
    assert found.finished < 14
    finish(storage, 14)
    check(storage, 14)


@pytest.mark.slow
def test_driver_and_workers_killed_at_once(storage: str) -> None:
    with worker_group(storage, 14, 3, seconds=0.5) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 3)
        for pid in (found.process.pid, *found.pids):
            os.kill(pid, signal.SIGKILL)
        found.over()
    finish(storage, 14)
    check(storage, 14)


@pytest.mark.slow
def test_a_worker_that_stands_still_loses_its_candidate_and_goes_on_later(storage: str) -> None:
    with worker_group(storage, 6, 2, seconds=4.0) as found:
        # While both train: in the middle of a transaction it would keep the others waiting.
        found.until(lambda: found.told[-1:] == [{"entered": "training (2)"}])
        os.kill(found.pids[0], signal.SIGSTOP)
        study = load_study(Database.open(storage), "s")
        found.until(lambda: any("retry_of" in t.user_attrs for t in study.get_trials()), 900)
        os.kill(found.pids[0], signal.SIGCONT)
        assert found.over() == 0
    assert found.told[-1] == FINISHED
    check(storage, 6)


@pytest.mark.slow
def test_sqlite_locked_by_another_writer_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    with worker_group(f"sqlite:///{file}", 12, 3) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 2)
        writer = sqlite3.connect(file, isolation_level=None, timeout=30)
        writer.execute("BEGIN IMMEDIATE")
        time.sleep(2 * EXPIRES_S)  # longer than a lease may stand still
        writer.execute("COMMIT")
        writer.close()
        assert found.over() == 0
    assert found.told[-1] == FINISHED
    check(f"sqlite:///{file}", 12)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_postgresql_started_anew_is_waited_for(postgres_server: Postgres, how: str) -> None:
    storage = postgres_server.database()
    with worker_group(storage, 20, 3) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 3)
        postgres_server.stop(how)
        time.sleep(1)
        postgres_server.start()
        assert found.over() == 0
    assert found.told[-1] == FINISHED
    check(storage, 20)


@pytest.mark.slow
def test_connections_dropped_again_and_again(postgres_server: Postgres) -> None:
    storage = postgres_server.database()
    with worker_group(storage, 24, 3, seconds=0.2) as found:
        found.until(lambda: len(found.pids) == 3 and found.finished >= 1)
        drops = 0
        while found.process.poll() is None and drops < 4:
            postgres_server.drop_connections()
            drops += 1
            time.sleep(0.7)
        assert found.over() == 0
    assert found.told[-1] == FINISHED
    check(storage, 24)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_that_wait_for_postgresql_end_at_once(
    postgres_server: Postgres, number: signal.Signals
) -> None:
    storage = postgres_server.database()
    with worker_group(storage, 14, 2, seconds=0.3) as found:
        found.until(lambda: len(found.pids) == 2 and found.finished >= 2)
        postgres_server.stop("immediate")
        try:
            found.until_over(3)
            began = time.monotonic()
            found.process.send_signal(number)
            assert found.over() == 130
            assert time.monotonic() - began < 5
        finally:
            postgres_server.start()
    finish(storage, 14)
    check(storage, 14)
