"""What the guidelines pruned in a study, and what their audit found.

Of the candidates that a guideline pruned a stated share went the whole way all the same. How many
of these are on the front bounds how many of the others would be (Clopper and Pearson 1934: no
distribution is assumed).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nas_sv2.studies.front import front_of
from nas_sv2.studies.record import Record

ARCHITECTURE = "architecture"
"""The attribute of a trial with its network's digest."""
PRUNED = "pruned_by"
"""The one with the guideline that turned it away."""
AUDITED = "audited"
"""The one of a candidate that went on all the same: how many times each limit it had."""
RELAXED = "relaxed_guidelines"
"""The study attribute with what limits are multiplied by."""
CONFIDENCE = 0.95
ALL = "all guidelines"


class Trial(Protocol):
    """The part of a trial that is read."""

    @property
    def number(self) -> int:
        """Which it is."""

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What the search noted."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one guideline did.

    Attributes:
        guideline: Its name.
        pruned: How many candidates it turned away, those audited among them.
        audited: How many of them went the whole way.
        entered: How many of those are on the front.
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
        if self.entered == self.audited:
            return 1.0
        from scipy.stats import beta  # half a second, which `--help` can do without

        return float(beta.ppf(CONFIDENCE, self.entered + 1, self.audited - self.entered))

    def describe(self) -> str:
        """In one line."""
        plural = "s" * (self.pruned != 1)
        head = f"pruned by {self.guideline}: {self.pruned} candidate{plural}"
        if self.most_wrong is None:
            return f"{head}, none audited"
        return (
            f"{head}, {self.audited} audited, of which {self.entered} are on the front; of all "
            f"that were pruned at most {self.most_wrong:.0%} would be (95 %)"
        )


def audit_of(trials: Iterable[Trial], records: Mapping[int, Record]) -> list[Pruned]:
    """What each guideline pruned, the busiest first, and all of them together."""
    on_front = {entry.number for entry in front_of(records) if entry.on_front}
    counts: dict[str, list[int]] = {}
    seen: set[str] = set()
    for trial in trials:
        attributes = trial.user_attrs
        if PRUNED not in attributes or attributes[ARCHITECTURE] in seen:
            continue
        seen.add(attributes[ARCHITECTURE])
        for name in (attributes[PRUNED], ALL):
            count = counts.setdefault(name, [0, 0, 0])
            count[0] += 1
            count[1] += AUDITED in attributes
            count[2] += AUDITED in attributes and trial.number in on_front
    found = [Pruned(name, *count) for name, count in counts.items()]
    several = len(found) > 2
    shown = [each for each in found if several or each.guideline != ALL]
    return sorted(shown, key=lambda each: -each.pruned)
