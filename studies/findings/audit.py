"""Counts the candidates that the guidelines pruned in a study, and checks them by an audit.

A stated share of the pruned candidates is trained and timed all the same. The number of these on
the front bounds the number of the others that would be (Clopper and Pearson 1934: no distribution
is assumed).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from nas_sv2.counts import counted
from nas_sv2.studies.findings.attributes import ARCHITECTURE, AUDITED, PRUNED
from nas_sv2.studies.findings.front import Front

DECIDED = ("COMPLETE", "PRUNED")
"""The states of a trial that came to a verdict; one that failed or was interrupted did not."""
CONFIDENCE = 0.95
ALL = "all guidelines"


class Trial(Protocol):
    """The part of a trial that is read."""

    @property
    def number(self) -> int:
        """The number of the trial."""

    @property
    def state(self) -> Any:
        """Optuna's `TrialState`; this file is read where Optuna is not loaded."""

    @property
    def user_attrs(self) -> dict[str, Any]:
        """The notes of the search."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """The candidates that one guideline pruned.

    Attributes:
        guideline: The name of the guideline.
        pruned: The number of candidates that it pruned, those audited among them.
        audited: The number of them that were trained and timed all the same.
        entered: The number of those that are on the front.
    """

    guideline: str
    pruned: int
    audited: int
    entered: int

    @property
    def most_wrong(self) -> float | None:
        """The upper 95 % bound of the share that would have entered; None without an audit."""
        if not self.audited:
            return None
        from scipy.stats import binomtest  # half a second, which `--help` can do without

        found = binomtest(self.entered, self.audited, alternative="less")
        return float(found.proportion_ci(CONFIDENCE, method="exact").high)

    @property
    def most_in_words(self) -> str:
        """The bound in whole percent, rounded up because it is one; a dash without an audit."""
        most = self.most_wrong
        return "–" if most is None else f"{math.ceil(round(100 * most, 6))}%"

    def describe(self) -> str:
        """Describe the counts in one line."""
        head = f"pruned by {self.guideline}: {counted(self.pruned, 'candidate')}"
        if self.most_wrong is None:
            return f"{head}, none audited"
        return (
            f"{head}, {self.audited} audited, of which {self.entered} are on the front; of all "
            f"that were pruned at most {self.most_in_words} would be (95 %)"
        )


def audit_guidelines(trials: Iterable[Trial], front: Front) -> list[Pruned]:
    """Count what each guideline pruned, the busiest first, and what all of them did.

    A candidate that was asked again, after an interruption say, counts once. An audit counts once
    it has come to a verdict.
    """
    on_front = {entry.number for entry in front.members}
    by_network: dict[str, list[Trial]] = {}
    for trial in trials:
        if {PRUNED, ARCHITECTURE} <= trial.user_attrs.keys():
            by_network.setdefault(trial.user_attrs[ARCHITECTURE], []).append(trial)
    counts: dict[str, list[int]] = {}
    for same in by_network.values():
        judged = [t for t in same if AUDITED in t.user_attrs and t.state.name in DECIDED]
        for name in (same[0].user_attrs[PRUNED], ALL):
            count = counts.setdefault(name, [0, 0, 0])
            count[0] += 1
            count[1] += bool(judged)
            count[2] += any(trial.number in on_front for trial in judged)
    found = [Pruned(name, *count) for name, count in counts.items()]
    several = len(found) > 2
    shown = [each for each in found if several or each.guideline != ALL]
    return sorted(shown, key=lambda each: -each.pruned)
