"""What befalls a group in the middle of its work, drawn by a generator."""

import os
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress

from postgres import Postgres
from sqlalchemy.engine import make_url
from worker_group import WorkerGroup

Fault = Callable[[WorkerGroup, random.Random], None]


def worker_killed(found: WorkerGroup, chance: random.Random) -> None:
    if running := found.running:
        _signal(chance.choice(running), signal.SIGKILL)


def driver_killed(found: WorkerGroup, chance: random.Random) -> None:
    _signal(found.process.pid, signal.SIGKILL)


def driver_told_to_end(found: WorkerGroup, chance: random.Random) -> None:
    _signal(found.process.pid, signal.SIGTERM)


def all_killed(found: WorkerGroup, chance: random.Random) -> None:
    for pid in (found.process.pid, *found.running):
        _signal(pid, signal.SIGKILL)


def worker_stopped(found: WorkerGroup, chance: random.Random) -> None:
    """For up to twice as long as its lease may stand still."""
    if running := found.running:
        pid = chance.choice(running)
        _signal(pid, signal.SIGSTOP)
        try:
            found.until_over(chance.uniform(0.2, 3))
        finally:
            _signal(pid, signal.SIGCONT)


def database_locked(storage: str) -> Fault:
    """By another writer, for up to twice as long as a lease may stand still."""

    def fault(found: WorkerGroup, chance: random.Random) -> None:
        file = make_url(storage).database or ""
        with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            found.until_over(chance.uniform(0.2, 3))
            writer.execute("ROLLBACK")

    fault.__name__ = "database_locked"
    return fault


def server_restarted(server: Postgres) -> Fault:
    def fault(found: WorkerGroup, chance: random.Random) -> None:
        server.stop(chance.choice(["fast", "immediate"]))
        found.until_over(chance.uniform(0, 2))
        server.start()

    fault.__name__ = "server_restarted"
    return fault


def connections_ended(server: Postgres) -> Fault:
    def fault(found: WorkerGroup, chance: random.Random) -> None:
        for _ in range(chance.randint(1, 4)):
            server.drop_connections()
            found.until_over(chance.uniform(0, 0.5))

    fault.__name__ = "connections_ended"
    return fault


def faults_of(storage: str, server: Postgres | None) -> list[Fault]:
    """All that can befall a study in that database."""
    of_processes = [
        worker_killed,
        driver_killed,
        driver_told_to_end,
        all_killed,
        worker_stopped,
    ]
    if server is None:
        return [*of_processes, database_locked(storage)]
    return [*of_processes, server_restarted(server), connections_ended(server)]


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
