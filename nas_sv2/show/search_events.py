"""Show a running search: live on a terminal, as lines elsewhere, as JSON, and as a log.

The log is one JSON object a line on standard error. Every line has `time` (UTC, ISO 8601),
`level`, `study`, `trial` (null outside of a trial) and `event`; the other fields belong to the
event. With several workers, only `asked` and `ended` name their trial. Passwords of the storage
are masked everywhere.
"""

import json
import logging as library_logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import optuna
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from nas_sv2.errors import NasError
from nas_sv2.passwords import masked
from nas_sv2.search.events.events import (
    Event,
    Notice,
    OnEvent,
    SearchDescribed,
    StageAdvanced,
    StageEntered,
    TrialAsked,
    TrialFinished,
)
from nas_sv2.show.console import Console
from nas_sv2.show.study_tables import front_table
from nas_sv2.show.terminal import say_json, shown
from nas_sv2.studies.findings.front import Entry, Front
from nas_sv2.studies.findings.record import Record

REFRESHES_PER_SECOND = 4


@contextmanager
def showing(console: Console, as_json: bool) -> Iterator[OnEvent]:
    """Show events as suits the console; live drawings vanish when the search is over."""
    if as_json:
        yield print_json_line
    elif not console.is_terminal:
        yield PlainLines(console)
    else:
        with Live(
            console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True
        ) as live:
            screen = LiveDisplay(console)
            live.update(screen)
            yield screen


@dataclass
class PlainLines:
    """An `on_event` that prints plain lines."""

    console: Console

    def __call__(self, event: Event) -> None:
        """Print the lines of an event."""
        for line in _lines_of(event):
            self.console.print(line, soft_wrap=True)


@dataclass
class LiveDisplay:
    """A live `on_event`: verdicts scroll above the current front and the trial in progress."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    records: dict[int, Record] = field(default_factory=dict)
    trial: str = "preparing"
    stage: str = ""
    steps: str = ""
    remaining: str = ""

    def __rich__(self) -> RenderableType:
        """Return the part of the screen that is redrawn."""
        elapsed = clock(time.monotonic() - self.started)
        status = " · ".join(filter(None, [self.trial, self.stage, self.steps]))
        line = Text(shown(f"{elapsed}{self.remaining}  {status}"), style="bold")
        if not self.records:
            return line
        note = Text("the front of this run so far, by the trainings alone", style="dim")
        return Group(front_table(Front(self.records)), note, line)

    def __call__(self, event: Event) -> None:
        """Print the lines of an event, and show the present trial and stage."""
        PlainLines(self.console)(event)
        match event:
            case TrialAsked():
                name = event.baseline or event.architecture.digest[:8]
                self.trial = f"trial {event.number}: {name}, {_mflops(event.flops)}"
                self.stage = self.steps = ""
            case StageEntered():
                self.stage, self.steps = event.stage, ""
            case StageAdvanced():
                self.steps = f"{event.done}/{event.total}"
            case TrialFinished():
                if event.remaining_s is not None:
                    self.remaining = f" elapsed, about {clock(event.remaining_s)} left"
                if event.verdict == "finished" and event.record is not None:
                    self.records[event.number] = event.record


def print_json_line(event: Event) -> None:
    """Print an event as one JSON object a line, but not single steps, which are too many."""
    facts = _json_of(event)
    if facts is not None:
        say_json(facts)


def _lines_of(event: Event) -> Sequence[str]:
    match event:
        case SearchDescribed():
            return event.lines
        case Notice():
            return [event.reason]
        case TrialFinished():
            notice = [f"           {event.notice}"] if event.notice else []
            return [outcome_line(event), *notice]
        case _:
            return []


def _json_of(event: Event) -> dict[str, object] | None:
    match event:
        case SearchDescribed():
            return {"event": "began", "study": event.study, "lines": list(event.lines)}
        case Notice():
            return {"event": "waits", "reason": event.reason}
        case TrialAsked():
            digest, baseline = event.architecture.digest, event.baseline
            facts = {"trial": event.number, "digest": digest, "baseline": baseline}
            return {"event": "asked", **facts}
        case StageEntered():
            return {"event": "entered", "stage": event.stage}
        case StageAdvanced():
            return None
        case TrialFinished():
            record = event.record
            return {
                "event": "ended",
                "trial": event.number,
                "verdict": event.verdict,
                "reason": event.reason,
                "seconds": round(event.seconds, 3),
                "finished": event.finished,
                "wanted": event.wanted,
                "notice": event.notice,
                "record": None if record is None else Entry(event.number, record).to_json(),
            }


def outcome_line(outcome: TrialFinished) -> str:
    """The verdict on a trial in one line.

    A training that the stop rule ended shows its passes: its accuracy there is no result.
    """
    record = outcome.record
    ended_early = record is not None and record.foreseen is not None
    head = f"trial {outcome.number:>3}  {'stopped' if ended_early else outcome.verdict:<9}"
    if outcome.verdict != "finished" or record is None:
        return f"{head}  {outcome.reason}"
    times = (f"{name} {v.ms:.2f} ms ({v.provenance})" for name, v in record.latencies.items())
    left = outcome.remaining_s
    passes = record.evaluation.epochs
    result = record.evaluation.describe()
    return "  ".join(
        [
            head,
            f"{record.baseline or record.architecture.digest[:8]:<8}",
            _mflops(record.cost.flops, record.detector_flops),
            *times,
            f"after pass {passes}" if ended_early else result,
            f"{outcome.seconds:.0f} s",
            f"[{outcome.finished}/{outcome.wanted}"
            + ("]" if left is None else f", about {clock(left)} left]"),
        ]
    )


def _mflops(flops: int, of_detector: int | None = None) -> str:
    """The size of a network, or of a backbone and the detector with it."""
    whole = "" if of_detector is None else f" (detector {of_detector / 1e6:.0f})"
    return f"{flops / 1e6:.0f} MFLOPs{whole}"


def clock(seconds: float) -> str:
    """`m:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


Level = Literal["info", "warning", "error"]
INTERRUPTED = 130  # the exit code of a program that SIGINT ended


@dataclass
class LogLines:
    """An `on_event` that writes a line for each event.

    Attributes:
        stream: The stream that the lines are written to.
        study: The name of the study; None until the search has begun, if the user gave none.
        several: Whether several workers report.
        trial: The trial in progress; None with several workers.
    """

    stream: TextIO
    study: str | None = None
    several: bool = False
    trial: int | None = None

    def __call__(self, event: Event) -> None:
        """Write a line for an event, but not for single steps, which are too many."""
        match event:
            case SearchDescribed():
                self.study = event.study
                self.write("began", lines=list(event.lines))
            case Notice():
                self.write("waits", "warning", reason=event.reason)
            case TrialAsked():
                self.trial = event.number
                digest, baseline = event.architecture.digest, event.baseline
                self.write("asked", architecture=digest, baseline=baseline)
                if self.several:
                    self.trial = None
            case StageEntered():
                self.write("entered", stage=event.stage)
            case TrialFinished():
                self._write_end(event)

    def _write_end(self, event: TrialFinished) -> None:
        self.trial = event.number
        self.write(
            "ended",
            "warning" if event.verdict == "failed" or event.notice else "info",
            verdict=event.verdict,
            reason=event.reason,
            notice=event.notice,
            seconds=round(event.seconds, 3),
            finished=event.finished,
            wanted=event.wanted,
            **_figures(event.record),
        )
        self.trial = None

    def write(self, event: str, level: Level = "info", **facts: object) -> None:
        """Write one line, with passwords masked."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "level": level, "study": self.study, "trial": self.trial}
        line = _masked({**head, "event": event, **facts})
        self.stream.write(json.dumps(line) + "\n")
        self.stream.flush()


def call_both(first: OnEvent, second: OnEvent) -> OnEvent:
    """Return a function that gives every event to both."""

    def both(event: Event) -> None:
        first(event)
        second(event)

    return both


@contextmanager
def logging(study: str | None, several: bool, wanted: bool) -> Iterator[LogLines | None]:
    """Log a search, or yield None if no log is wanted; the last line says how the search ended.

    Raises:
        typer.Exit: The search ended with an error. The log reports it instead of `main`, so that
            standard error holds nothing but JSON.
    """
    if not wanted:
        yield None
        return
    log = LogLines(sys.stderr, study, several=several)
    try:
        with _logging_libraries(log):
            yield log
    except NasError as error:
        kind, message = type(error).__name__, " ".join(str(error).split())
        log.write("error", "error", kind=kind, message=message, exit_code=error.exit_code)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        log.write("interrupted", "warning", exit_code=INTERRUPTED)
        raise typer.Exit(INTERRUPTED) from None
    log.write("done", exit_code=0)


class _LibraryLines(library_logging.Handler):
    """Writes the messages and warnings of libraries as lines of the log."""

    def __init__(self, log: LogLines) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: library_logging.LogRecord) -> None:
        """Write a message."""
        level: Level = "error" if record.levelno >= library_logging.ERROR else "warning"
        self.log.write("logged", level, source=record.name, message=record.getMessage())


@contextmanager
def _logging_libraries(log: LogLines) -> Iterator[None]:
    """Let warnings, and messages from the level of warnings on, be lines of the log too."""
    handler, root = _LibraryLines(log), library_logging.getLogger()
    handler.setLevel(library_logging.WARNING)
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    library_logging.captureWarnings(True)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        library_logging.captureWarnings(False)
        optuna.logging.disable_propagation()
        optuna.logging.enable_default_handler()


def _masked(value: Any) -> Any:
    """Return plain data with the passwords in all texts masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {_masked(key): _masked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each) for each in value]
    return value


def _figures(record: Record | None) -> dict[str, object]:
    """Return the figures of a candidate."""
    if record is None:
        return {}
    return {
        "architecture": record.architecture.digest,
        "baseline": record.baseline,
        "flops": record.cost.flops,
        "params": record.cost.params,
        "feasible": record.feasible,
        "accuracy": record.evaluation.accuracy,
        "mean_ap": record.evaluation.mean_ap,
        "box_ap": record.evaluation.box_ap,
        "box_ap50": record.evaluation.box_ap50,
        "mae": record.evaluation.mae,
        "float_accuracy": record.evaluation.float_accuracy,
        "balanced_accuracy": record.evaluation.balanced_accuracy,
        "scored_by": record.evaluation.scored_by,
        "score": record.evaluation.score,
        "recipe": record.evaluation.recipe,
        "seed": record.evaluation.seed,
        "latencies": {
            name: {"ms": latency.ms, "ci_ms": latency.ci_ms, "provenance": latency.provenance}
            for name, latency in record.latencies.items()
        },
    }
