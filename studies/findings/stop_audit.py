"""Counts the time that the stop rule saved in a study, and checks the rule by its audit.

A stopped training has a record like any other, with the score at its end. Its excess of the rule
keeps it off the front. The audit lets some trainings run that the rule would have stopped. They
count by their results.
"""

from dataclasses import dataclass

from nas_sv2.counts import counted
from nas_sv2.studies.findings.audit import Pruned
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import STOP_RULE


@dataclass(frozen=True, slots=True)
class StopAudit:
    """The effects of the rule.

    Attributes:
        stopped: Trainings that it ended.
        audited: Trainings that it would have ended and that ran on.
        entered: The number of those on the front: false stops.
        spent_s: The time of all trainings of the study, as far as they went.
        saved_s: The further time that the stopped ones would have taken.
    """

    stopped: int
    audited: int
    entered: int
    spent_s: float
    saved_s: float

    @property
    def saved(self) -> float:
        """Share of the time that full trainings would have taken, 0 to 1."""
        whole = self.spent_s + self.saved_s
        return self.saved_s / whole if whole else 0.0

    def describe(self) -> str:
        """Describe the effects in one line."""
        head = (
            f"{counted(self.stopped, 'training')} stopped early, {self.saved:.0%} of the time "
            f"saved ({self.saved_s / 60:.1f} min)"
        )
        if not self.audited:
            return f"{head}; none audited"
        most = Pruned(STOP_RULE, self.stopped, self.audited, self.entered).most_in_words
        return (
            f"{head}; of {self.audited} that ran on for the audit {self.entered} on the front, so "
            f"of all at most {most} would be (95 %)"
        )


def audit_stops(front: Front) -> StopAudit | None:
    """Return the effects of the rule in the study of a front; None if it judged no training."""
    records = front.records
    said = {n: r.excesses[STOP_RULE] for n, r in records.items() if STOP_RULE in r.excesses}
    if not said:
        return None
    on_front = {entry.number for entry in front.members}
    audited = {number for number, excess in said.items() if excess <= 0}
    whole = max(record.evaluation.epochs for record in records.values())
    seeds = max(len(record.evaluation.scores) for record in records.values())
    saved_s = 0.0
    for number in said.keys() - audited:
        ended = records[number].evaluation
        saved_s += ended.seconds * (whole * max(1, seeds) / ended.epochs - 1)
    return StopAudit(
        stopped=len(said) - len(audited),
        audited=len(audited),
        entered=len(audited & on_front),
        spent_s=sum(record.evaluation.seconds for record in records.values()),
        saved_s=saved_s,
    )
