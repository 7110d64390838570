"""The log for programs: what a real loop tells, and what a command line ends with."""

import dataclasses
import io
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from doubles import EventRecorder, FakeEvaluator, FakeTarget, record_of, small_space
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import EvaluationError, StoreError
from nas_sv2.passwords import HIDDEN
from nas_sv2.search.events.events import (
    Notice,
    SearchDescribed,
    StageEntered,
    TrialAsked,
    TrialFinished,
    enter,
)
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.show.console import Console
from nas_sv2.show.search_events import (
    LiveDisplay,
    LogLines,
    call_both,
    logging,
    outcome_line,
)
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume
from nas_sv2.studies.storage.weights_folder import WeightsFolder


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_search_is_written_down_event_by_event(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    db = Database.open(storage)
    db.migrate()
    study = create_or_resume(
        Database.open(storage), "s", {"targets": {"fake": "measured"}}, RandomSampler(seed=0)
    )
    stream, heard = io.StringIO(), EventRecorder()
    on_event = call_both(heard, LogLines(stream))
    evaluator = FakeEvaluator(fault=lambda n: EvaluationError("nan") if n == 2 else None)
    walk = Walk(
        Guidelines({}), Budget(flops=0.086e6), {"fake": FakeTarget()}, evaluator, enter(on_event)
    )
    weights = WeightsFolder.of_study(Database.open(storage), "s")
    on_event(SearchDescribed("s", ("study     s",)))
    store = RecordStore(db, "s")
    Loop(study, small_space(), walk, store, weights, True, on_event).run(4)
    db.close()

    began, *lines = lines_of(stream.getvalue())
    assert (began["event"], began["study"], began["trial"]) == ("began", "s", None)
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times)
    assert all(time.tzinfo is not None for time in times)
    ended = [line for line in lines if line["event"] == "ended"]
    assert [line["verdict"] for line in ended] == heard.verdicts
    assert {line["study"] for line in lines} == {"s"}
    assert [line["trial"] for line in ended] == [outcome.number for outcome in heard.outcomes]
    for line in ended:
        assert (line["level"] == "warning") == (line["verdict"] == "failed")
        if line["verdict"] == "finished":
            found = store.all()[line["trial"]]
            assert line["accuracy"] == found.evaluation.accuracy
            assert line["latencies"]["fake"]["ms"] == found.latencies["fake"].ms
            assert line["latencies"]["fake"]["provenance"] == "measured"
        else:
            assert line["reason"]
            assert "accuracy" not in line
    asked = [line["trial"] for line in lines if line["event"] == "asked"]
    assert asked == [line["trial"] for line in ended]


@pytest.mark.parametrize("workers", [1, 2])
def test_of_several_workers_no_line_names_the_trial_of_another(
    workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = reference("shufflenet_v2_x0_5"), reference("shufflenet_v2_x1_0")
    with logging("s", workers > 1, True) as log:
        assert log is not None
        log(TrialAsked(3, first, None, 41_000_000))
        log(StageEntered("training"))
        log(TrialAsked(4, second, None, 146_000_000))
        log(StageEntered("training"))
        log(TrialFinished(3, "failed", "nan", None, 1.0, 0, 9, None))
        log(Notice("the database is away"))
    lines = [(line["event"], line["trial"]) for line in lines_of(capsys.readouterr().err)]
    within = [3, 4] if workers == 1 else [None, None]
    assert lines == [
        ("asked", 3),
        ("entered", within[0]),
        ("asked", 4),
        ("entered", within[1]),
        ("ended", 3),
        ("waits", None),
        ("done", None),
    ]


def test_passwords_are_masked_at_any_depth() -> None:
    stream = io.StringIO()
    told = {"x": ("http://u:p@h", 1, None)}
    LogLines(stream).write("x", lines=["postgresql://me:s3cret@h/db", told])
    (line,) = lines_of(stream.getvalue())
    shown = [f"postgresql://{HIDDEN}@h/db", {"x": [f"http://{HIDDEN}@h", 1, None]}]
    assert line["lines"] == shown


def test_what_ends_a_search_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    told: Any = ("s", 1, True)
    with pytest.raises(typer.Exit) as left, logging(*told):
        raise StoreError("cannot connect\nto postgresql://me:secret@host/db")
    (line,) = lines_of(capsys.readouterr().err)
    assert (left.value.exit_code, line["exit_code"]) == (1, 1)
    assert (line["level"], line["kind"], line["study"]) == ("error", "StoreError", "s")
    assert line["message"] == f"cannot connect to postgresql://{HIDDEN}@host/db"
    with pytest.raises(typer.Exit) as left, logging(*told):
        raise KeyboardInterrupt
    assert left.value.exit_code == lines_of(capsys.readouterr().err)[0]["exit_code"] == 130
    with logging(*told):
        pass
    assert lines_of(capsys.readouterr().err)[0]["event"] == "done"


def test_without_the_option_errors_stay_lines_for_people() -> None:
    with pytest.raises(StoreError), logging(None, False, False) as log:
        assert log is None
        raise StoreError("away")


def test_the_command_writes_nothing_but_json_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas_sv2", "search", "--target", "no-such", "--log-json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    (line,) = lines_of(run.stderr)
    assert (line["event"], line["kind"], line["exit_code"]) == ("error", "ConfigError", 2)
    assert "no-such" in line["message"]


def test_a_stopped_training_shows_its_passes_and_no_accuracy() -> None:
    whole = record_of(0.66, 9.0)
    evaluation = dataclasses.replace(whole.evaluation, epochs=1, stopped="promises little")
    stopped = dataclasses.replace(whole, evaluation=evaluation, foreseen=0.9)
    line = outcome_line(TrialFinished(4, "finished", "", stopped, 15.0, 5, 24, 60.0))
    assert line.startswith("trial   4  stopped ") and "after pass 1  15 s" in line
    assert "66" not in line
    assert "top-1 66.00%" in outcome_line(TrialFinished(4, "finished", "", whole, 15.0, 5, 24))


def test_the_live_front_says_that_it_is_of_the_trainings_alone() -> None:
    file = io.StringIO()
    screen = LiveDisplay(console := Console(file=file, width=200))
    screen(TrialAsked(3, reference("shufflenet_v2_x1_0"), None, 146_000_000))
    console.print(screen)
    assert "trial 3:" in file.getvalue() and "146 MFLOPs" in file.getvalue()
    assert "the front" not in file.getvalue()
    screen(TrialFinished(3, "finished", "", record_of(0.66, 9.0), 15.0, 5, 24, 60.0))
    console.print(screen)
    assert "the front of this run so far, by the trainings alone" in file.getvalue()
    assert "66.00%" in file.getvalue() and "about 1:00 left" in file.getvalue()


def test_a_backbone_shows_its_own_size_and_that_of_its_detector() -> None:
    plain = record_of(0.66, 9.0)
    whole = dataclasses.replace(plain, detector_flops=700_400_000)
    lines = [
        outcome_line(TrialFinished(4, "finished", "", each, 15.0, 5, 24))
        for each in (plain, whole)
    ]
    own = f"  {plain.cost.flops / 1e6:.0f} MFLOPs"
    assert f"{own}  t0" in lines[0] and f"{own} (detector 700)  t0" in lines[1]
