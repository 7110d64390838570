"""What a search tells while it runs, to whoever shows it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.record import Record

Verdict = Literal["finished", "duplicate", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Attributes:
        number: The trial.
        verdict: In one word.
        reason: Why, for a person; empty where it finished.
        record: What was found, where it finished or was known.
        seconds: How long it took.
        finished: Finished trials of the study, this one included.
        wanted: How many are wanted.
        remaining_s: Estimate of the time that the others will take, or None before the first.
        notice: What else the user has to know; mostly empty.
    """

    number: int
    verdict: Verdict
    reason: str
    record: Record | None
    seconds: float
    finished: int
    wanted: int
    remaining_s: float | None
    notice: str = ""


class Listener(Protocol):
    """Whoever is told."""

    def began(self, study: str, lines: list[str]) -> None:
        """What the study is called, and what is searched, where and how: one fact a line."""

    def waits(self, reason: str) -> None:
        """Nothing goes on, because of a device that is in use or away."""

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """Trial `number` is about `architecture`."""

    def entered(self, stage: str) -> None:
        """The trial has come to a stage that takes a while."""

    def advanced(self, done: int, total: int) -> None:
        """So many steps of the stage are done."""

    def ended(self, outcome: Outcome) -> None:
        """The trial has ended."""
