"""A device that is lost in the middle of a measurement; its agents are real processes."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from optuna.trial import TrialState
from worker_group import FINISHED, WorkerGroup, check, finish, worker_group

from nas_sv2.database.database import Database
from nas_sv2.database.processes import process_name
from nas_sv2.search.loop.loop import FAILURES
from nas_sv2.studies.findings.attributes import ERROR
from nas_sv2.studies.storage.study import load_study

TRIALS = 6


@pytest.fixture
def board(tmp_path: Path) -> Path:
    folder = tmp_path / "board"
    folder.mkdir()
    return folder


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


def numbers(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def until_measuring(found: WorkerGroup, board: Path, count: int) -> int:
    """The agent that has begun the measurement of that number, from 1."""
    found.until(lambda: len(numbers(board / "measuring")) >= count, 60)
    return numbers(board / "measuring")[-1]


def no_agent_is_left(board: Path) -> bool:
    return not any(process_name(pid) for pid in numbers(board / "agents"))


def test_an_agent_that_is_killed_is_started_again(storage: str, board: Path) -> None:
    with worker_group(storage, TRIALS, 2, seconds=0.1, board=str(board)) as found:
        for count in (2, 5):
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(until_measuring(found, board, count), signal.SIGKILL)
        assert found.over(120) == 0
    assert found.told[-1] == FINISHED
    assert any("was ended by signal 9; starting it again" in line for line in found.waits)
    check(storage, TRIALS)
    assert no_agent_is_left(board)


@pytest.mark.slow
def test_a_device_that_stops_answering_for_a_while_costs_one_candidate(
    storage: str, board: Path
) -> None:
    with worker_group(storage, TRIALS, 1, seconds=0.1, board=str(board)) as found:
        until_measuring(found, board, 2)
        (board / "hangs").touch()
        found.until(lambda: any(fact.get("verdict") == "failed" for fact in found.told), 120)
        (board / "hangs").unlink()
        assert found.over(120) == 0
    assert found.told[-1] == FINISHED
    failed = load_study(Database.open(storage), "s").get_trials(states=(TrialState.FAIL,))
    (error,) = {trial.user_attrs[ERROR] for trial in failed}
    assert error.startswith("board: no answer within the time limit")
    check(storage, TRIALS)
    assert no_agent_is_left(board)


@pytest.mark.slow
def test_a_device_that_never_answers_again_ends_the_search(storage: str, board: Path) -> None:
    with worker_group(storage, TRIALS, 2, seconds=0.1, board=str(board)) as found:
        until_measuring(found, board, 3)
        (board / "hangs").touch()
        assert found.over(180) == 0
    told = found.told[-1]["errors"]
    assert told
    assert all(error.startswith("board: no answer within the time limit") for error in told)
    assert found.finished < TRIALS
    failed = load_study(Database.open(storage), "s").get_trials(states=(TrialState.FAIL,))
    assert FAILURES <= len(failed) <= 2 * FAILURES
    assert no_agent_is_left(board)
    (board / "hangs").unlink()
    again = finish(storage, TRIALS, board=str(board))
    assert again.finished == TRIALS - found.finished
    check(storage, TRIALS)


@pytest.mark.slow
def test_a_device_that_is_gone_ends_the_search_and_its_candidates_are_asked_again(
    storage: str, board: Path
) -> None:
    with worker_group(storage, TRIALS, 2, seconds=0.1, board=str(board)) as found:
        found.until(lambda: len(numbers(board / "agents")) == 2)
        until_measuring(found, board, 3)
        (board / "gone").touch()
        for agent in numbers(board / "agents"):
            with suppress(ProcessLookupError):
                os.kill(agent, signal.SIGKILL)
        assert found.over(180) == 0
    told = found.told[-1]["errors"]
    (error,) = set(told)
    assert "ended with code 1: no route to host; the agent did not start" in error
    assert not any(fact.get("verdict") == "failed" for fact in found.told)
    study = load_study(Database.open(storage), "s")
    assert 1 <= len(study.get_trials(states=(TrialState.WAITING,))) <= len(told)
    assert not study.get_trials(states=(TrialState.RUNNING,))
    (board / "gone").unlink()
    again = finish(storage, TRIALS, board=str(board))
    assert again.finished == TRIALS - found.finished
    check(storage, TRIALS)
    assert no_agent_is_left(board)


@pytest.mark.slow
def test_a_worker_that_dies_in_a_measurement_leaves_the_device_to_the_others(
    storage: str, board: Path
) -> None:
    with worker_group(storage, TRIALS, 2, seconds=0.1, board=str(board)) as found:
        agent = until_measuring(found, board, 2)
        parent = int(Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1])
        assert parent in found.pids
        os.kill(parent, signal.SIGKILL)
        assert found.over(120) == 0
    (error,) = found.told[-1]["errors"]
    assert "SIGKILL" in error
    check(storage, TRIALS)
    assert no_agent_is_left(board)
