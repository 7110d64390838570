"""What several workers tell, brought to the one listener of the user."""

import dataclasses
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from nas_sv2.search.events.events import Listener, Outcome
from nas_sv2.space.units.architecture import Architecture


class Sends(Protocol):
    """The way to the driver: a pipe, or a call."""

    def send(self, obj: Any, /) -> None:
        """Bring it there: a pair of the listener's method and its arguments."""


@dataclass
class Relay:
    """Passes on to the user's listener what several workers tell."""

    listener: Listener
    stages: dict[int, str] = field(default_factory=dict)

    def pass_on(self, worker: int, what: str, arguments: tuple[Any, ...]) -> None:
        """One event of one worker."""
        match what, arguments:
            case "entered", (stage,):
                self.stages[worker] = stage
                counted = Counter(self.stages.values())
                said = ", ".join(f"{stage} ({count})" for stage, count in counted.items())
                self.listener.entered(said)
            case "ended", (outcome,):
                self.stages.pop(worker, None)
                self.listener.ended(self._shared(outcome))
            case _:
                getattr(self.listener, what)(*arguments)

    def gone(self, worker: int) -> None:
        """A worker has ended."""
        self.stages.pop(worker, None)

    def _shared(self, outcome: Outcome) -> Outcome:
        """With the time left for all that are at work, this one among them."""
        if outcome.remaining_s is None:
            return outcome
        left = outcome.remaining_s / (len(self.stages) + 1)
        return dataclasses.replace(outcome, remaining_s=left)


@dataclass
class Teller:
    """A worker's listener: sends all but single steps to the driver."""

    writer: Sends

    def began(self, study: str, lines: list[str]) -> None:
        """The driver has said it."""

    def waits(self, reason: str) -> None:
        """Send it."""
        self.send("waits", reason)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """Send it."""
        self.send("asked", number, architecture, baseline)

    def entered(self, stage: str) -> None:
        """Send it."""
        self.send("entered", stage)

    def advanced(self, done: int, total: int) -> None:
        """Steps of several workers make no bar."""

    def ended(self, outcome: Outcome) -> None:
        """Send it."""
        self.send("ended", outcome)

    def send(self, what: str, *arguments: object) -> None:
        """Tell the driver, if there still is one."""
        with suppress(OSError):
            self.writer.send((what, arguments))
