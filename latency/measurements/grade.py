"""How far a device can be trusted, as `nas-sv2 device grade` found it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

Level = Literal["good", "fair", "poor"]

GRADE_SCHEMA = 1
"""Of a grade's JSON; one of another schema is as good as none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the device that stands between its figures and trust.

    Attributes:
        level: The best grade that it allows.
        what: The fact, with its figure.
        fix: What to do about it.
    """

    level: Level
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Grade:
    """The result of several sessions apart in time, each of two networks in alternation.

    Attributes:
        grade: `good`: milliseconds and ratios repeat. `fair`: ratios do; compare networks that
            were measured in one command or one study. `poor`: not even those, or nobody can say.
        sessions: How many there were.
        reference: The plan's reference network.
        reference_ms: What it took, the median of the sessions: the device's pace.
        reference_cv: Coefficient of variation of that between the sessions.
        network: The other network.
        ratio: How long it took relative to the reference, the median of the sessions.
        ratio_cv: Coefficient of variation of that between the sessions.
        contended: Share of the sessions in which other programs wanted the processor.
        drift: The largest change of the reference within a session, a share.
        noise: p95 / median of the other network's runs, the median of the sessions.
        stolen: The largest share of a session's time that a hypervisor took; None if unknown.
        graded_at: UTC, ISO 8601.
        findings: Why it is no better, the gravest first.
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
        """All fields by name."""
        return {"schema": GRADE_SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        fields = {name: value for name, value in document.items() if name != "schema"}
        findings = tuple(Finding(**finding) for finding in fields["findings"])
        return cls(**{**fields, "findings": findings})
