"""The estimate of a candidate, from its own training and from all others."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nas_sv2.evaluate.recipes.scores import SCORES, SHARES, facts_of, in_unit_of_labels


@dataclass(frozen=True, slots=True)
class FusedEstimate:
    """The score that a longer training would most likely give; higher is better.

    Attributes:
        mean: The score.
        low: The lower end of its 90 % interval.
        high: The upper end.
        on_front: The chance that no candidate is as fast and better.
        beats_baseline: The chance that it is better than a baseline that is not faster; None
            where every baseline is faster.
        scored_by: The score, as evaluations name it.
    """

    mean: float
    low: float
    high: float
    on_front: float
    beats_baseline: float | None
    scored_by: str

    def __str__(self) -> str:
        """As `61.6% ±1.2`, or a loss, whose score is below 0, as `1.02 ±0.05`.

        The score of a user's own metric keeps its sign.
        """
        half = (self.high - self.low) / 2
        if self.scored_by in SHARES:
            return f"{self.mean:.1%} ±{100 * half:.1f}"
        if facts_of(self.scored_by).unit == "label":
            return f"{in_unit_of_labels(-self.mean)} ±{in_unit_of_labels(half)}"
        digits = 2 if half >= 0.02 else 3
        shown = abs(self.mean) if self.scored_by in SCORES else self.mean
        return f"{shown:.{digits}f} ±{half:.{digits}f}"

    @property
    def chances(self) -> tuple[str, str]:
        """The chances of being on the front and of beating a baseline, as texts."""
        beats = "–" if self.beats_baseline is None else chance_in_words(self.beats_baseline)
        return chance_in_words(self.on_front), beats

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as plain data."""
        return asdict(self)


Estimates = Mapping[int, FusedEstimate]
"""The estimates of a study's candidates, by trial; empty where there are too few trainings."""


def chance_in_words(chance: float) -> str:
    """Return a chance in whole percent; `>99%` and `<1%` near the ends, which are certain."""
    if 0.995 <= chance < 1:
        return ">99%"
    return "<1%" if 0 < chance < 0.005 else f"{chance:.0%}"
