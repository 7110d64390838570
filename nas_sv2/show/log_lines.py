"""A search as a log for programs: one JSON object a line on standard error.

What is printed for people stays as it is. Every line has `time` (UTC, ISO 8601), `level`, `study`,
`trial` (null outside of one) and `event`; the other fields are the event's. With several workers
only `asked` and `ended` name their trial; what else is told is of none in particular. Passwords of
the storage are masked wherever they stand.
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
from nas_sv2.search.events.events import Listener, Outcome
from nas_sv2.search.session.plan import Request
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.record import Record

Level = Literal["info", "warning", "error"]
INTERRUPTED = 130  # the exit code of a program that SIGINT ended
MASK = "***"
SHORTEST = 4
"""Characters of a password that is masked outside of a URL too: of a shorter one every chance
likeness would be masked."""

_CREDENTIALS = re.compile(r"(?<=://)([^\s/:@]*):[^\s/]*@")
_PASSWORD = re.compile(r"(?<=://)[^/:@]*:(.*)@")
_SECRET = re.compile(r"pass|secret|token", re.IGNORECASE)


@dataclass
class LogLines:
    """A listener that writes lines.

    Attributes:
        stream: Where they go.
        secrets: What must not be written.
        study: The name of the study; null until the search has begun, where the user gave none.
        several: Whether several workers tell.
        trial: The trial in progress; of several workers none.
    """

    stream: TextIO
    secrets: Sequence[str] = ()
    study: str | None = None
    several: bool = False
    trial: int | None = None

    def began(self, study: str, lines: list[str]) -> None:
        """What is searched."""
        self.study = study
        self.write("began", lines=lines)

    def waits(self, reason: str) -> None:
        """Why nothing goes on."""
        self.write("waits", "warning", reason=reason)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """What the trial is about."""
        self.trial = number
        self.write("asked", architecture=architecture.digest, baseline=baseline)
        if self.several:
            self.trial = None

    def entered(self, stage: str) -> None:
        """Where the trial is."""
        self.write("entered", stage=stage)

    def advanced(self, done: int, total: int) -> None:
        """Steps are too many to write down."""

    def ended(self, outcome: Outcome) -> None:
        """How the trial ended."""
        self.trial = outcome.number
        self.write(
            "ended",
            "warning" if outcome.verdict == "failed" or outcome.notice else "info",
            verdict=outcome.verdict,
            reason=outcome.reason,
            notice=outcome.notice,
            seconds=round(outcome.seconds, 3),
            finished=outcome.finished,
            wanted=outcome.wanted,
            **_figures(outcome.record),
        )
        self.trial = None

    def write(self, event: str, level: Level = "info", **facts: object) -> None:
        """One line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "level": level, "study": self.study, "trial": self.trial}
        line = masked({**head, "event": event, **facts}, self.secrets)
        print(json.dumps(line, ensure_ascii=False), file=self.stream, flush=True)


@dataclass(frozen=True)
class Both:
    """A listener that tells two."""

    first: Listener
    second: Listener

    def began(self, study: str, lines: list[str]) -> None:
        """Tell both."""
        self.first.began(study, lines)
        self.second.began(study, lines)

    def waits(self, reason: str) -> None:
        """Tell both."""
        self.first.waits(reason)
        self.second.waits(reason)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """Tell both."""
        self.first.asked(number, architecture, baseline)
        self.second.asked(number, architecture, baseline)

    def entered(self, stage: str) -> None:
        """Tell both."""
        self.first.entered(stage)
        self.second.entered(stage)

    def advanced(self, done: int, total: int) -> None:
        """Tell both."""
        self.first.advanced(done, total)
        self.second.advanced(done, total)

    def ended(self, outcome: Outcome) -> None:
        """Tell both."""
        self.first.ended(outcome)
        self.second.ended(outcome)


@contextmanager
def logged(request: Request, wanted: bool) -> Iterator[LogLines | None]:
    """The log of a search, or None where none is wanted; what ends the search is its last line.

    Raises:
        typer.Exit: The search ended with an error, which the log says instead of `main`, so that
            standard error holds nothing but JSON.
    """
    if not wanted:
        yield None
        return
    log = LogLines(
        sys.stderr, secrets_of(request.storage), request.study, several=request.workers > 1
    )
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
    """`value`, plain data, without the secrets and without the password of any URL."""
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
    """The passwords in a database's URL, as they stand there and as they are, longest first."""
    found = {match[1] for match in _PASSWORD.finditer(storage)}
    try:
        url = make_url(storage)
    except (ArgumentError, ValueError):  # no URL; the search will say so
        pass
    else:
        values = (value for name, value in url.query.items() if _SECRET.search(name))
        found |= {
            each for value in values for each in ([value] if isinstance(value, str) else value)
        }
        found.add(str(url.password or ""))
    return sorted((each for each in found if len(each) >= SHORTEST), key=len, reverse=True)


def _figures(record: Record | None) -> dict[str, object]:
    """What a candidate came to."""
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
