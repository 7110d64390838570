"""Merges the events of several workers for the one function of the user."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from nas_sv2.errors import NasError
from nas_sv2.search.events.events import (
    Event,
    Notice,
    OnEvent,
    SearchDescribed,
    StageAdvanced,
    StageEntered,
    TrialFinished,
)


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """A worker is done.

    Attributes:
        exit_code: Exit code of the error that ended it; None without an error.
        message: Message of the error.
    """

    exit_code: int | None = None
    message: str = ""


def is_shown(event: Event) -> bool:
    """Whether the user sees an event of a worker.

    The driver describes the search itself, and steps of several workers do not make one bar.
    """
    return not isinstance(event, SearchDescribed | StageAdvanced)


def ended_early(worker: int, error: NasError) -> Notice:
    """Return the line for a worker that an error ended; others may still run."""
    return Notice(f"worker {worker} ended early: {error}")


@dataclass
class MergedEvents:
    """Passes the events of several workers on to the user.

    Attributes:
        on_event: The user's function.
        stages: The current stage of each worker.
    """

    on_event: OnEvent
    stages: dict[int, str] = field(default_factory=dict)

    def pass_on(self, worker: int, event: Event) -> None:
        """Pass on one event of one worker."""
        match event:
            case StageEntered(stage):
                self.stages[worker] = stage
                counted = Counter(self.stages.values())
                said = ", ".join(f"{stage} ({count})" for stage, count in counted.items())
                self.on_event(StageEntered(said))
            case TrialFinished():
                self.stages.pop(worker, None)
                self.on_event(event)
            case _:
                self.on_event(event)

    def forget(self, worker: int) -> None:
        """Forget the stage of a worker that has ended."""
        self.stages.pop(worker, None)


@dataclass(frozen=True)
class SendEvent:
    """The `on_event` of a worker process: sends to the driver the events that the user sees."""

    writer: Connection

    def __call__(self, event: Event) -> None:
        """Send the event."""
        if is_shown(event):
            self.send(event)

    def send(self, event: Event | WorkerEnded) -> None:
        """Send to the driver, if it still runs."""
        with suppress(OSError):
            self.writer.send(event)
