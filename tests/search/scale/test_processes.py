"""The processes of `--workers` and their driver; what befalls them stands in test_chaos.py."""

import pytest
from doubles import EventRecorder
from jobs import breaks, ends, tells, tells_tunables

from nas_sv2.database.processes import process_name
from nas_sv2.errors import ConfigError, InfeasibleError
from nas_sv2.search.events.events import (
    SearchDescribed,
    StageAdvanced,
    StageEntered,
    TrialAsked,
)
from nas_sv2.search.scale.processes import run_workers


def test_the_driver_passes_on_what_its_workers_tell() -> None:
    heard = EventRecorder()
    assert run_workers(tells, 2, heard) == []
    assert sorted(e.number for e in heard.events if isinstance(e, TrialAsked)) == [0, 1]
    assert sorted(heard.notices) == ["worker 0 waits", "worker 1 waits"]
    stages = {event.stage for event in heard.events if isinstance(event, StageEntered)}
    assert stages & {"training (1)", "training (2)"}
    assert not any(isinstance(e, SearchDescribed | StageAdvanced) for e in heard.events)
    assert len(heard.outcomes) == 2
    for outcome in heard.outcomes:
        assert outcome.record is not None


def test_how_a_worker_ended_is_known() -> None:
    heard = EventRecorder()
    infeasible, refused = run_workers(ends, 3, heard)
    assert isinstance(infeasible, InfeasibleError)
    said = {"worker 0 ended early: no network", f"worker 1 ended early: {refused}"}
    assert said >= set(heard.notices) != set(), "the last to end needs no line"
    assert str(infeasible) == "no network"
    assert refused.exit_code == ConfigError.exit_code
    assert "another name" in str(refused)


def test_a_bug_in_one_ends_all(capfd: pytest.CaptureFixture[str]) -> None:
    heard = EventRecorder()
    errors = run_workers(breaks, 2, heard)
    assert "worker 0 ended by a bug" in str(errors[0])
    assert not any("worker 1 ended by a bug" in line for line in heard.notices)
    assert "ZeroDivisionError" in capfd.readouterr().err
    pids = [int(word) for word in heard.notices if word.isdecimal()]
    assert not any(process_name(pid) for pid in pids)


def test_workers_have_huge_pages_and_what_they_time_has_not() -> None:
    heard = EventRecorder()
    assert run_workers(tells_tunables, 2, heard) == []
    assert heard.notices == ["('glibc.malloc.hugetlb=1', None)"] * 2
