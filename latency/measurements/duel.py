"""One network against another on one target, for comparisons that are judged with others.

For networks timed in alternation, chance and interval are of one test, the sign test over the
rounds (`head_to_head`): at any level, the interval leaves 1 out exactly where the chance is at
most that.
"""

import math
from dataclasses import dataclass

from nas_sv2.latency.agent.estimator import round_ratios
from nas_sv2.latency.measurements.head_to_head import (
    EMULATOR_ERROR,
    LEAST,
    LEAST_CONTENDED,
    chance_of_tie,
)
from nas_sv2.latency.measurements.measurement import Interval, Latency, Measurement


@dataclass(frozen=True, slots=True)
class Duel:
    """Two networks of one session.

    Attributes:
        ratios: How long the one takes relative to the other, by round.
        ratio: Their median; of the two medians where no round has runs of both.
        contended: Whether other programs ran beside either.
        restless: Whether they ran beside any network of the session.
    """

    ratios: tuple[float, ...]
    ratio: float
    contended: bool
    restless: bool

    @classmethod
    def of(cls, one: Measurement, other: Measurement, restless: bool) -> "Duel":
        """How `one` stands to `other`.

        Raises:
            ValueError: They were not timed in one session.
        """
        ratio, _ = one.relative_to(other) or (one.median_ms / other.median_ms, None)
        ratios = round_ratios(one.samples, other.samples, one.plan.cpu_time_is_latency)
        return cls(tuple(ratios), ratio, one.contended or other.contended, restless)

    @property
    def provenance(self) -> str:
        """Of both times."""
        return "measured"

    @property
    def chance(self) -> float:
        """Of rounds that one wins as clearly, or more so, though both are as fast."""
        return chance_of_tie(self.ratios)

    @property
    def least(self) -> float:
        """The difference that no session settles, a share."""
        return LEAST_CONTENDED if self.restless else LEAST

    @property
    def counts(self) -> bool:
        """Whether it is more than a session does to copies of one network."""
        return max(self.ratio, 1 / self.ratio) > 1 + self.least

    @property
    def rule(self) -> str:
        """What a tie is, in words."""
        why = ", because other programs ran" if self.restless else ""
        return f"timed in alternation, compared round by round; a tie within {self.least:.0%}{why}"

    def interval(self, level: float) -> Interval | None:
        """Of the median ratio, wrong with a chance of at most `level`; None of too few rounds."""
        count = len(self.ratios)
        rank, below = 0, 1  # below: how many of the 2^count outcomes have at most `rank` wins
        while 2 * below / (1 << count) <= level:
            rank += 1
            below += math.comb(count, rank)
        ordered = sorted(self.ratios)
        return (ordered[rank - 1], ordered[-rank]) if rank else None


@dataclass(frozen=True, slots=True)
class Priced:
    """Two networks of which neither was run.

    Attributes:
        ratio: How long the one takes relative to the other.
        provenance: Of both times.
    """

    ratio: float
    provenance: str

    @classmethod
    def of(cls, one: Latency, other: Latency) -> "Priced":
        """How `one` stands to `other`."""
        return cls(one.ms / other.ms, one.provenance)

    @property
    def counts(self) -> bool:
        """Whether it is more than such figures are typically off."""
        return max(self.ratio, 1 / self.ratio) > 1 + EMULATOR_ERROR

    @property
    def rule(self) -> str:
        """What a tie is, in words."""
        return (
            f"not measured, no test; a tie within {EMULATOR_ERROR:.0%}, the error of such figures"
        )


Times = Duel | Priced
