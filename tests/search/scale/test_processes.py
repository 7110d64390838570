"""The processes of `--workers` and their driver; what befalls them stands in test_chaos.py."""

from dataclasses import dataclass, field

import pytest
from doubles import Ear
from jobs import breaks, ends, tells

from nas_sv2.database.processes import process_name
from nas_sv2.errors import ConfigError, InfeasibleError
from nas_sv2.search.scale.processes import run_workers
from nas_sv2.space.units.architecture import Architecture


@dataclass
class Notes(Ear):
    """An ear that keeps the rest too."""

    said: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        self.numbers.append(number)

    def waits(self, reason: str) -> None:
        self.said.append(reason)

    def entered(self, stage: str) -> None:
        self.said.append(stage)


def test_the_driver_passes_on_what_its_workers_tell() -> None:
    notes = Notes()
    assert run_workers(tells, 2, notes) == []
    assert sorted(notes.numbers) == [0, 1]
    assert {"worker 0 waits", "worker 1 waits"} <= set(notes.said)
    assert "training (1)" in notes.said or "training (2)" in notes.said
    assert len(notes.outcomes) == 2
    for outcome in notes.outcomes:
        assert outcome.record is not None
        assert outcome.remaining_s in (60.0, 30.0)  # shared by those at work


def test_how_a_worker_ended_is_known() -> None:
    infeasible, refused = run_workers(ends, 3, Notes())
    assert isinstance(infeasible, InfeasibleError)
    assert str(infeasible) == "no network"
    assert refused.exit_code == ConfigError.exit_code
    assert "another name" in str(refused)


def test_a_bug_in_one_ends_all(capfd: pytest.CaptureFixture[str]) -> None:
    notes = Notes()
    errors = run_workers(breaks, 2, notes)
    assert "worker 0 ended by a bug" in str(errors[0])
    assert not any("worker 1 ended by a bug" in line for line in notes.said)
    assert "ZeroDivisionError" in capfd.readouterr().err
    pids = [int(word) for word in notes.said if word.isdecimal()]
    assert not any(process_name(pid) for pid in pids)
