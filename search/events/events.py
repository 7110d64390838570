"""The events of a search: frozen values, given to one plain function.

`search(..., on_event=print)` is enough to see them. A function that cares for one kind asks for
it: `if isinstance(event, TrialFinished): ...`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.record import Record

Verdict = Literal["finished", "duplicate", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class SearchDescribed:
    """The search is about to begin.

    Attributes:
        study: The name of its study.
        lines: The description of the search, one fact a line.
    """

    study: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something takes long or is waited for, such as a device in use.

    Attributes:
        reason: The wait and its reason, in one line.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class TrialAsked:
    """A trial has its candidate.

    Attributes:
        number: The trial.
        architecture: The candidate.
        baseline: The name of the hand-designed network that it is, or None.
        flops: Its multiply-adds; those of the backbone in a search for a detector.
    """

    number: int
    architecture: Architecture
    baseline: str | None
    flops: int


@dataclass(frozen=True, slots=True)
class StageEntered:
    """The trial has come to a stage that takes a while.

    Attributes:
        stage: The name of the stage, or all stages of several workers, with counts.
    """

    stage: str


@dataclass(frozen=True, slots=True)
class StageAdvanced:
    """So many steps of the stage are done."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TrialFinished:
    """A trial has ended.

    Attributes:
        number: The trial.
        verdict: The end, in one word.
        reason: The reason; empty if the verdict is "finished".
        record: The record, if it finished or was known.
        seconds: The time that it took.
        finished: Finished trials of the study, this one included.
        wanted: The finished trials that are wanted.
        remaining_s: Estimate of the time that the others will take (`TimeLeft`), or None before
            the first.
        notice: A further line for the user; mostly empty.
    """

    number: int
    verdict: Verdict
    reason: str
    record: Record | None
    seconds: float
    finished: int
    wanted: int
    remaining_s: float | None = None
    notice: str = ""


Event = SearchDescribed | Notice | TrialAsked | StageEntered | StageAdvanced | TrialFinished
OnEvent = Callable[[Event], None]
"""Is called with every event of a search."""


def ignore(event: Event) -> None:
    """Do nothing with an event."""


def notify(on_event: OnEvent) -> Callable[[str], None]:
    """Return a function that makes a `Notice` of a line."""
    return lambda reason: on_event(Notice(reason))


def enter(on_event: OnEvent) -> Callable[[str], None]:
    """Return a function that makes a `StageEntered` of a name."""
    return lambda stage: on_event(StageEntered(stage))


def advance(on_event: OnEvent) -> Callable[[int, int], None]:
    """Return a function that makes a `StageAdvanced` of steps done and all steps."""
    return lambda done, total: on_event(StageAdvanced(done, total))
