"""Show a running search: live on a terminal, line by line elsewhere, or as JSON lines."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

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
from nas_sv2.show.tables import front_table
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
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
            screen = Screen(console)
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
class Screen:
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
        line = Text(f"{elapsed}{self.remaining}  {status}", style="bold")
        return Group(front_table(Front(self.records)), line) if self.records else line

    def __call__(self, event: Event) -> None:
        """Print the lines of an event, and show the present trial and stage."""
        PlainLines(self.console)(event)
        match event:
            case TrialAsked():
                mflops = cost_of(lower(event.architecture)).flops / 1e6
                name = event.baseline or event.architecture.digest[:8]
                self.trial = f"trial {event.number}: {name}, {mflops:.0f} MFLOPs"
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
        print(json.dumps(facts), flush=True)


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
    """The verdict on a trial in one line."""
    head = f"trial {outcome.number:>3}  {outcome.verdict:<9}"
    record = outcome.record
    if outcome.verdict != "finished" or record is None:
        return f"{head}  {outcome.reason}"
    times = (f"{name} {v.ms:.2f} ms ({v.provenance})" for name, v in record.latencies.items())
    left = outcome.remaining_s
    return "  ".join(
        [
            head,
            f"{record.baseline or record.architecture.digest[:8]:<8}",
            f"{record.cost.flops / 1e6:.0f} MFLOPs",
            *times,
            f"top-1 {record.evaluation.accuracy:.2%}",
            f"{outcome.seconds:.0f} s",
            f"[{outcome.finished}/{outcome.wanted}"
            + ("]" if left is None else f", about {clock(left)} left]"),
        ]
    )


def clock(seconds: float) -> str:
    """`m:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
