"""When the trials of a study ran and what they spent their time on, from what the study keeps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from nas_sv2.studies.findings.attributes import (
    DUPLICATE,
    ENDED_OFFSET,
    ERROR,
    GIVEN_UP,
    REJECTED,
    RETRY_OF,
    UTC_OFFSET,
)
from nas_sv2.studies.findings.audit import Trial
from nas_sv2.studies.findings.record import Record


class TimedTrial(Trial, Protocol):
    """A trial with its times; Optuna's `FrozenTrial` is one."""

    datetime_start: datetime | None
    datetime_complete: datetime | None


Verdict = Literal["finished", "duplicate", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One trial in time.

    Attributes:
        number: Of the trial.
        verdict: How it ended.
        why: What was said of that; empty where it finished.
        began: UTC; of a trial from before offsets were kept, as if this machine had run it.
        at_s: Seconds of work of the study before it began: pauses are left out.
        seconds: How long it took.
        training_s: Seconds of it in training and validating; the rest is latency, and what lies
            between. None where it was not trained.
        known: Whether the training was answered by an earlier study.
    """

    number: int
    verdict: Verdict
    why: str
    began: datetime
    at_s: float
    seconds: float
    training_s: float | None = None
    known: bool = False

    @property
    def timing_s(self) -> float:
        """Seconds that were not training."""
        return self.seconds - (self.training_s or 0.0)


@dataclass(frozen=True, slots=True)
class Times:
    """The time of a study.

    Attributes:
        steps: Its trials in the order in which they began.
        work_s: How long at least one trial ran.
        wall_s: From the first trial's begin to the last one's end.
    """

    steps: Sequence[Step]
    work_s: float
    wall_s: float

    def of(self, verdict: Verdict) -> list[Step]:
        """The trials that ended so."""
        return [step for step in self.steps if step.verdict == verdict]

    @property
    def training_s(self) -> float:
        """Seconds of all trainings that were run for this study."""
        return sum(step.training_s or 0.0 for step in self.steps)

    @property
    def timing_s(self) -> float:
        """Seconds that finished trials spent on latency, and on what lies between."""
        return sum(step.timing_s for step in self.of("finished"))

    @property
    def other_s(self) -> float:
        """Seconds of the trials that were rejected, known already or failed."""
        return sum(step.seconds for step in self.steps if step.verdict != "finished")


def times_of(trials: Iterable[TimedTrial], records: Mapping[int, Record]) -> Times:
    """The time of a study's trials; one that waits, or is running, has none yet."""
    begun = sorted(
        (trial for trial in trials if trial.datetime_start and trial.datetime_complete),
        key=lambda trial: _span(trial)[0],
    )
    steps: list[Step] = []
    work_s, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for trial in begun:
        start, end = _span(trial)
        at_s = work_s - max(0.0, (until - start).total_seconds())
        steps.append(_step(trial, records.get(trial.number), start, end, at_s))
        if end > until:
            work_s += (end - max(start, until)).total_seconds()
            until = end
    wall_s = (until - steps[0].began).total_seconds() if steps else 0.0
    return Times(steps, work_s, wall_s)


def _span(trial: TimedTrial) -> tuple[datetime, datetime]:
    """From when to when it ran, UTC."""
    start, end = trial.datetime_start, trial.datetime_complete
    assert start is not None and end is not None, "chosen so"
    offset_s = trial.user_attrs.get(UTC_OFFSET)
    return _utc(start, offset_s), _utc(end, trial.user_attrs.get(ENDED_OFFSET, offset_s))


def _utc(shown: datetime, offset_s: float | None) -> datetime:
    """What a clock showed that is so far ahead of UTC; None for as far as this machine's."""
    if offset_s is None:
        return shown.astimezone(UTC)
    return (shown - timedelta(seconds=offset_s)).replace(tzinfo=UTC)


def _step(
    trial: TimedTrial, record: Record | None, start: datetime, end: datetime, at_s: float
) -> Step:
    verdict, why = _verdict(trial)
    seconds = (end - start).total_seconds()
    if record is None or verdict != "finished":
        return Step(trial.number, verdict, why, start, at_s, seconds)
    trained_s = record.evaluation.seconds
    # A training of this trial would not fit into it; one that it took up began before it.
    known = trained_s > seconds and RETRY_OF not in trial.user_attrs
    training_s = None if known else min(trained_s, seconds)
    return Step(trial.number, verdict, why, start, at_s, seconds, training_s, known)


def _verdict(trial: TimedTrial) -> tuple[Verdict, str]:
    said = trial.user_attrs
    if trial.state.name == "FAIL":
        why = str(said.get(ERROR, "interrupted; asked again"))
        return "duplicate" if why.startswith(GIVEN_UP) else "failed", why
    if REJECTED in said:
        return "rejected", str(said[REJECTED])
    if DUPLICATE in said:
        return "duplicate", f"the network of trial {said[DUPLICATE]}"
    return "finished", ""
