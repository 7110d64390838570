"""Merges the events of several workers for the one function of the user."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from nas_sv2.search.events.events import (
    Event,
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


class Sends(Protocol):
    """A way to the driver: a pipe, or a call."""

    def send(self, obj: Any, /) -> None:
        """Send an event or a `WorkerEnded` to the driver."""


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
    """The `on_event` of a worker: sends to the driver the events that the user sees.

    The driver describes the search itself, and steps of several workers do not make one bar.
    """

    writer: Sends

    def __call__(self, event: Event) -> None:
        """Send the event."""
        if not isinstance(event, SearchDescribed | StageAdvanced):
            self.send(event)

    def send(self, event: Event | WorkerEnded) -> None:
        """Send to the driver, if it still runs."""
        with suppress(OSError):
            self.writer.send(event)
