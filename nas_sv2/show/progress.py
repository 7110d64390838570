"""A running search, shown: live on a terminal, line by line elsewhere, as JSON for programs."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nas_sv2.search.events.events import Listener, Outcome
from nas_sv2.show.tables import front_table
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.front import Entry, Front
from nas_sv2.studies.findings.record import Record

REFRESHES_PER_SECOND = 4


@contextmanager
def shown_on(console: Console, as_json: bool) -> Iterator[Listener]:
    """The listener that suits the user; what it draws is gone when the search is over."""
    if as_json:
        yield JsonLines()
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
    """One line a trial."""

    console: Console

    def began(self, study: str, lines: list[str]) -> None:
        """Print the question."""
        for line in lines:
            self._print(line)

    def waits(self, reason: str) -> None:
        """Print why."""
        self._print(reason)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """Nothing yet."""

    def entered(self, stage: str) -> None:
        """Nothing yet."""

    def advanced(self, done: int, total: int) -> None:
        """Nothing yet."""

    def ended(self, outcome: Outcome) -> None:
        """Print the verdict and why."""
        self._print(outcome_line(outcome))
        if outcome.notice:
            self._print(f"           {outcome.notice}")

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)


@dataclass
class Screen:
    """The verdicts scroll by; below them stand the trial in progress and the front so far."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    records: dict[int, Record] = field(default_factory=dict)
    trial: str = "preparing"
    stage: str = ""
    steps: str = ""
    remaining: str = ""

    def __rich__(self) -> RenderableType:
        """The part of the screen that is drawn again and again."""
        elapsed = clock(time.monotonic() - self.started)
        status = " · ".join(filter(None, [self.trial, self.stage, self.steps]))
        line = Text(f"{elapsed}{self.remaining}  {status}", style="bold")
        return Group(front_table(Front(self.records)), line) if self.records else line

    def began(self, study: str, lines: list[str]) -> None:
        """Print the question."""
        PlainLines(self.console).began(study, lines)

    def waits(self, reason: str) -> None:
        """Print why."""
        PlainLines(self.console).waits(reason)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """Show what the trial is about."""
        mflops = cost_of(lower(architecture)).flops / 1e6
        name = baseline or architecture.digest[:8]
        self.trial, self.stage, self.steps = f"trial {number}: {name}, {mflops:.0f} MFLOPs", "", ""

    def entered(self, stage: str) -> None:
        """Show where the trial is."""
        self.stage, self.steps = stage, ""

    def advanced(self, done: int, total: int) -> None:
        """Show how far the stage is."""
        self.steps = f"{done}/{total}"

    def ended(self, outcome: Outcome) -> None:
        """Print the verdict; the front below takes in what was found."""
        PlainLines(self.console).ended(outcome)
        if outcome.remaining_s is not None:
            self.remaining = f" elapsed, about {clock(outcome.remaining_s)} left"
        if outcome.verdict == "finished" and outcome.record is not None:
            self.records[outcome.number] = outcome.record


class JsonLines:
    """One JSON object a line on standard output."""

    def began(self, study: str, lines: list[str]) -> None:
        """Say what is asked."""
        self._print("began", study=study, lines=lines)

    def waits(self, reason: str) -> None:
        """Say why."""
        self._print("waits", reason=reason)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """Say what the trial is about."""
        self._print("asked", trial=number, digest=architecture.digest, baseline=baseline)

    def entered(self, stage: str) -> None:
        """Say where the trial is."""
        self._print("entered", stage=stage)

    def advanced(self, done: int, total: int) -> None:
        """Steps are too many to tell."""

    def ended(self, outcome: Outcome) -> None:
        """Say how the trial ended."""
        record = outcome.record
        self._print(
            "ended",
            trial=outcome.number,
            verdict=outcome.verdict,
            reason=outcome.reason,
            seconds=round(outcome.seconds, 3),
            finished=outcome.finished,
            wanted=outcome.wanted,
            notice=outcome.notice,
            record=None if record is None else Entry(outcome.number, record).to_json(),
        )

    def _print(self, event: str, **facts: object) -> None:
        print(json.dumps({"event": event, **facts}), flush=True)


def outcome_line(outcome: Outcome) -> str:
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
