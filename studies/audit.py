"""What the guidelines pruned in a study, and what their audit found.

Of the candidates that a guideline pruned a stated share went the whole way all the same. How many
of these would have entered the front bounds how many of the others would have (Clopper and Pearson
1934: no distribution is assumed).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

ARCHITECTURE = "architecture"
"""The attribute of a trial with its network's digest."""
PRUNED = "pruned_by"
"""The one with the guideline that turned it away."""
ENTERED = "audit_entered_front"
"""The one with whether it came onto the front though it was pruned; only where it was audited."""
RELAXED = "relaxed_guidelines"
"""The study attribute with what limits were multiplied by."""
CONFIDENCE = 0.95
ALL = "all guidelines"


class HasAttributes(Protocol):
    """The part of a trial that is read."""

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
        entered: How many of those would have been on the front.
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
        head = f"pruned by {self.guideline}: {self.pruned} candidates"
        if self.most_wrong is None:
            return f"{head}, none audited"
        return (
            f"{head}, {self.audited} audited, of which {self.entered} entered the front; of all "
            f"that were pruned at most {self.most_wrong:.0%} would (95 %)"
        )


def audit_of(trials: Iterable[HasAttributes]) -> list[Pruned]:
    """What each guideline pruned, the busiest first, and all of them together."""
    counts: dict[str, list[int]] = {}
    seen: set[str] = set()
    for attributes in (trial.user_attrs for trial in trials):
        if PRUNED not in attributes or attributes[ARCHITECTURE] in seen:
            continue
        seen.add(attributes[ARCHITECTURE])
        for name in (attributes[PRUNED], ALL):
            count = counts.setdefault(name, [0, 0, 0])
            count[0] += 1
            count[1] += ENTERED in attributes
            count[2] += attributes.get(ENTERED, False)
    found = [Pruned(name, *count) for name, count in counts.items()]
    several = len(found) > 2
    shown = [each for each in found if several or each.guideline != ALL]
    return sorted(shown, key=lambda each: -each.pruned)
