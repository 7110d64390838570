"""Rounds of random faults: whatever befell a search, going on with it gives what was asked for.

    CHAOS_ROUNDS=50 CHAOS_SEED=1 python -m pytest -m slow tests/search/scale/test_chaos_rounds.py

A round is a small search by two or three workers, one or two faults at moments of chance, and the
same search again, by this process. Its number and the seed make it; what the machine makes of it
is another thing.
"""

import os
import random
from pathlib import Path

import pytest
from doubles import EventRecorder
from faults import faults_of
from postgres import Postgres
from worker_group import check, worker_group
from worker_program import Job, work

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "10"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
EXPIRES_S = 1.5


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_round_of_random_faults(
    number: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(f"{SEED} {number}")
    server: Postgres | None = None
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    if number % 2:
        server = request.getfixturevalue("postgres_server")
        storage = server.database()
    workers, trials = chance.choice([2, 3]), chance.randint(4, 7)
    befell: list[str] = []
    with worker_group(storage, trials, workers, seconds=0.2, expires_s=EXPIRES_S) as found:
        for fault in chance.choices(faults_of(storage, server), k=chance.choice([1, 1, 2])):
            lines = len(found.told) + chance.randint(0, 3 * trials)
            befell.append(f"{fault.__name__} after line {lines}")
            found.until_told(lines)
            found.until_over(chance.uniform(0, 0.4))
            fault(found, chance)
        code = found.over(120)
    print(f"{number}: {'SQLite' if server is None else 'PostgreSQL'}, {trials} trials,", end=" ")
    print(f"{workers} workers, {', '.join(befell)}: exit code {code}, {found.told[-1:]}")
    work(Job(storage, trials, 1, seconds=0.05, expires_s=EXPIRES_S), 0, EventRecorder())
    check(storage, trials)
