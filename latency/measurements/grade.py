"""The grade of a device: how far its measurements can be trusted."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from nas_sv2.documents import check_fields

Level = Literal["good", "fair", "poor"]

GRADE_SCHEMA = 1
"""The schema of a grade's JSON; grades of other schemas are ignored."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact that makes the device's measurements less trustworthy.

    Attributes:
        level: The best grade that the fact allows.
        what: The fact, with its figure.
        fix: The remedy.
    """

    level: Level
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Grade:
    """The result of several sessions apart in time, each of two networks in alternation.

    Attributes:
        grade: `good`: milliseconds and ratios repeat. `fair`: ratios repeat; compare networks
            that were measured in one command or one study. `poor`: neither repeats, or too little
            is known.
        sessions: Number of sessions.
        reference: The plan's reference network.
        reference_ms: The time of the reference network in ms, the median of the sessions.
        reference_cv: Coefficient of variation of `reference_ms` between the sessions.
        network: The other network.
        ratio: The other network's time relative to the reference, the median of the sessions.
        ratio_cv: Coefficient of variation of `ratio` between the sessions.
        contended: Share of the sessions in which other programs wanted the processor.
        drift: The largest change of the reference within a session, a share.
        noise: p95 / median of the other network's runs, the median of the sessions.
        stolen: The largest share of a session's time that a hypervisor took; None if unknown.
        graded_at: The time of the grade; UTC, ISO 8601.
        findings: The reasons why the grade is not better, the gravest first.
    """

    grade: Level
    sessions: int
    reference: str
    reference_ms: float
    reference_cv: float
    network: str
    ratio: float
    ratio_cv: float
    contended: float
    drift: float
    noise: float
    stolen: float | None
    graded_at: str
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {"schema": GRADE_SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the grade that `to_json` wrote.

        Raises:
            ConfigError: A field has another type.
        """
        fields = {name: value for name, value in document.items() if name != "schema"}
        findings = tuple(Finding(**finding) for finding in fields["findings"])
        grade = cls(**{**fields, "findings": findings})
        check_fields(grade)
        return grade
