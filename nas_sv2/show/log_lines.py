"""Write a search as a log: one JSON object a line on standard error.

Standard output stays as it is. Every line has `time` (UTC, ISO 8601), `level`, `study`, `trial`
(null outside of a trial) and `event`; the other fields belong to the event. With several workers,
only `asked` and `ended` name their trial. Passwords of the storage are masked everywhere.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import typer
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from nas_sv2.errors import NasError
from nas_sv2.search.events.events import (
    Event,
    Notice,
    OnEvent,
    SearchDescribed,
    StageEntered,
    TrialAsked,
    TrialFinished,
)
from nas_sv2.studies.findings.record import Record

Level = Literal["info", "warning", "error"]
INTERRUPTED = 130  # the exit code of a program that SIGINT ended
MASK = "***"
SHORTEST = 4
"""The shortest password that is masked outside of a URL, in characters.

Shorter ones would match other text by chance."""

_CREDENTIALS = re.compile(r"(?<=://)([^\s/:@]*):[^\s/]*@")
_PASSWORD = re.compile(r"(?<=://)[^/:@]*:(.*)@")
_SECRET = re.compile(r"pass|secret|token", re.IGNORECASE)


@dataclass
class LogLines:
    """An `on_event` that writes a line for each event.

    Attributes:
        stream: The stream that the lines are written to.
        secrets: Texts that are masked.
        study: The name of the study; None until the search has begun, if the user gave none.
        several: Whether several workers report.
        trial: The trial in progress; None with several workers.
    """

    stream: TextIO
    secrets: Sequence[str] = ()
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
        """Write one line, with secrets masked."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "level": level, "study": self.study, "trial": self.trial}
        line = masked({**head, "event": event, **facts}, self.secrets)
        print(json.dumps(line, ensure_ascii=False), file=self.stream, flush=True)


def call_both(first: OnEvent, second: OnEvent) -> OnEvent:
    """Return a function that gives every event to both."""

    def both(event: Event) -> None:
        first(event)
        second(event)

    return both


@contextmanager
def logging(
    storage: str, study: str | None, workers: int, wanted: bool
) -> Iterator[LogLines | None]:
    """Log a search, or yield None if no log is wanted; the last line says how the search ended.

    Raises:
        typer.Exit: The search ended with an error. The log reports it instead of `main`, so that
            standard error holds nothing but JSON.
    """
    if not wanted:
        yield None
        return
    log = LogLines(sys.stderr, secrets_of(storage), study, several=workers > 1)
    try:
        yield log
    except NasError as error:
        kind, message = type(error).__name__, " ".join(str(error).split())
        log.write("error", "error", kind=kind, message=message, exit_code=error.exit_code)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        log.write("interrupted", "warning", exit_code=INTERRUPTED)
        raise typer.Exit(INTERRUPTED) from None
    log.write("done", exit_code=0)


def masked(value: Any, secrets: Sequence[str]) -> Any:
    """Return plain data with the secrets and the passwords of URLs masked."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return _CREDENTIALS.sub(rf"\1:{MASK}@", value)
    if isinstance(value, Mapping):
        return {masked(key, secrets): masked(each, secrets) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each, secrets) for each in value]
    return value


def secrets_of(storage: str) -> Sequence[str]:
    """Return the passwords in a database's URL, encoded and decoded, longest first."""
    found = {match[1] for match in _PASSWORD.finditer(storage)}
    try:
        url = make_url(storage)
    except (ArgumentError, ValueError):  # not a URL; the search will report it
        pass
    else:
        values = (value for name, value in url.query.items() if _SECRET.search(name))
        found |= {
            each for value in values for each in ([value] if isinstance(value, str) else value)
        }
        found.add(str(url.password or ""))
    return sorted((each for each in found if len(each) >= SHORTEST), key=len, reverse=True)


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
        "recipe": record.evaluation.recipe,
        "seed": record.evaluation.seed,
        "latencies": {
            name: {"ms": latency.ms, "ci_ms": latency.ci_ms, "provenance": latency.provenance}
            for name, latency in record.latencies.items()
        },
    }
