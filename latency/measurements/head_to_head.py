"""Decide which of several networks are faster, as far as their measurements can tell.

The order of two networks is *settled* if chance would rarely separate them so far; otherwise it
is a *tie*. Networks timed in alternation are compared round by round by a sign test. Under a tie,
either network is the slower one in a round with a chance of one half, whatever the machine does.
Rounds of a session share its effects on a network, such as its place in memory. A t-test over the
sessions and the device's grade must therefore agree (`spread`): the largest of the chances counts.
For two networks this is equivalent to a 95 % interval of their ratio that excludes 1.

n networks form n(n − 1)/2 pairs. At 95 % each, one in twenty pairs would be settled by chance
alone. The pairs are therefore judged together (Holm 1979): the chance that a session settles any
order wrongly is 5 %.

All sessions of a command share the programs beside it. A difference below those that we saw
between copies of one network is therefore a tie as well (`LEAST`).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.measurement import Interval, Latency, Measurement
from nas_sv2.latency.measurements.spread import Repeated, Spread
from nas_sv2.statistics import judge_together

WRONG = 0.05
"""The chance that a session settles any order that is really a tie."""
LEAST, LEAST_CONTENDED = 0.01, 0.05
"""Differences that no session settles: at rest, and beside other programs.

Two loads of one network differed by up to 1.5 % as long as they stayed loaded; four loads halve
that. Beside other programs, copies of V2 0.5× differed by up to 5.6 % (60 pairs, 10 sessions),
and copies of 1× by up to 1.4 % (48 pairs, 8 sessions). Over these 18 sessions, the rounds alone
settled 2 orders wrongly; with this limit it was 1.
"""
MOST_NETWORKS = 16
"""The most networks of one session. All are loaded at once; V2 1× takes 26 MB and 2× 70 MB."""
EMULATED_TIE = 0.2
"""Networks whose emulated times differ by less than this share are ties.

Of pairs with published speeds, 1,283 of 1,292 that differ by more are in the published order, and
144 of 213 that differ by less (`benchmarks/emulated_ties.py`)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two networks, by their places in the list that was judged.

    Attributes:
        faster: The network that comes first in the order.
        slower: The other network.
        ratio: The time of the slower relative to the faster.
        ratio_ci: The 95 % interval of the ratio, of this pair alone. None if nothing was run, or
            if the runs that count are of different kinds.
        settled: Whether the order is more than chance.
    """

    faster: int
    slower: int
    ratio: float
    ratio_ci: Interval | None
    settled: bool


@dataclass(frozen=True, slots=True)
class Orders:
    """Networks from the fastest to the slowest.

    Attributes:
        ranking: Places in the list that was judged, the fastest first.
        pairs: All pairs, each in the order of the ranking.
        rule: The rule by which pairs are settled, in words.
    """

    ranking: tuple[int, ...]
    pairs: tuple[Pair, ...]
    rule: str

    @property
    def neighbours(self) -> list[Pair]:
        """The pairs of networks that follow each other in the ranking."""
        after = set(zip(self.ranking, self.ranking[1:], strict=False))
        return [pair for pair in self.pairs if (pair.faster, pair.slower) in after]

    @property
    def further_ties(self) -> list[Pair]:
        """The ties of networks that do not follow each other in the ranking."""
        neighbours = self.neighbours
        return [pair for pair in self.pairs if not pair.settled and pair not in neighbours]


def check_number(count: int) -> None:
    """Check that one session can hold this number of networks.

    Raises:
        ConfigError: The number is 0 or above `MOST_NETWORKS`.
    """
    if count < 1:
        raise ConfigError("number of networks", count, "must be at least 1")
    if count > MOST_NETWORKS:
        allowed = f"must be at most {MOST_NETWORKS}: all are held in the device's memory at once"
        raise ConfigError("number of networks", count, allowed)


def orders_of(measurements: Sequence[Measurement]) -> Orders:
    """Order networks that were timed in one session.

    Raises:
        ValueError: The measurements are of several sessions.
    """
    ranking = _ranked([m.median_ms if m.ratio is None else m.ratio[0] for m in measurements])
    contended = any(measurement.contended for measurement in measurements)
    compared = []
    for faster, slower in _pairs(ranking):
        one, other = measurements[slower], measurements[faster]
        timed = TimedPair.of(one, other, contended)
        interval = timed.interval(WRONG)
        compared.append((Pair(faster, slower, timed.ratio, interval, settled=False), timed.chance))
    least = LEAST_CONTENDED if contended else LEAST
    judged = _settle(compared, least)
    together = f" for all {len(judged)} pairs together" if len(judged) > 1 else ""
    why = ", because other programs ran" if contended else ""
    rule = f"timed in alternation; settled at 95 %{together}; a tie within {least:.0%}{why}"
    return Orders(ranking, judged, rule)


def emulated_orders(latencies: Sequence[Latency]) -> Orders:
    """Order networks by latencies that were not timed together."""
    times = [latency.ms for latency in latencies]
    ranking = _ranked(times)
    pairs = [
        Pair(faster, slower, ratio, None, settled=ratio > 1 + EMULATED_TIE)
        for faster, slower in _pairs(ranking)
        for ratio in [times[slower] / times[faster]]
    ]
    rule = f"not timed together; a tie within {EMULATED_TIE:.0%}, as such orders are often wrong"
    return Orders(ranking, tuple(pairs), rule)


def _ranked(values: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted(range(len(values)), key=values.__getitem__))


def _pairs(ranking: Sequence[int]) -> list[tuple[int, int]]:
    """Return all pairs of the ranking, by their distance in it."""
    count = len(ranking)
    return [
        (ranking[place], ranking[place + distance])
        for distance in range(1, count)
        for place in range(count - distance)
    ]


def chance_of_tie(ratios: Sequence[float]) -> float:
    """Return the chance of at least so many wins for one side if both are equally fast.

    It is the p-value of a two-sided sign test. A round with a ratio of 1 counts against either
    side.
    """
    count = len(ratios)
    least = min(sum(r <= 1 for r in ratios), sum(r >= 1 for r in ratios))
    ways = sum(math.comb(count, wins) for wins in range(least + 1))
    return min(1.0, 2 * ways / (1 << count))


def _settle(compared: Sequence[tuple[Pair, float]], least: float) -> tuple[Pair, ...]:
    """Settle the pairs whose order is more than chance, at `WRONG` for all pairs together."""
    judged = judge_together([chance for _, chance in compared], WRONG)
    return tuple(
        # Below a ratio of 1 the rounds would contradict the ranking.
        dataclasses.replace(pair, settled=each.more_than_chance and pair.ratio > 1 + least)
        for (pair, _), each in zip(compared, judged, strict=True)
    )


@dataclass(frozen=True, slots=True)
class TimedPair:
    """Two networks of one session, for comparisons that are judged with others.

    Chance and interval come from the same tests: the sign test over the rounds, and those of
    `Repeated` over the sessions and the device's grade. At any level, the interval excludes 1
    exactly if the chance is at most that level.

    Attributes:
        ratios: The time of the first network relative to the second, by round.
        ratio: The median of `ratios`; the ratio of the two medians if no round has runs of both.
        contended: Whether other programs ran beside either network.
        restless: Whether other programs ran beside any network of the sessions.
        sessions: The ratio in each session.
        spread: The spread of ratios between commands; None if nobody has seen it.
    """

    ratios: tuple[float, ...]
    ratio: float
    contended: bool
    restless: bool
    sessions: tuple[float, ...] = ()
    spread: Spread | None = None

    @classmethod
    def of(cls, one: Measurement, other: Measurement, restless: bool) -> "TimedPair":
        """Compare `one` with `other`.

        Raises:
            ValueError: The two were not timed in one session.
        """
        if one.session != other.session:
            raise ValueError("only networks of one session were timed in alternation")
        ratios = one.round_ratios(other.samples)
        repeated = (
            one.repeated_ratio(ratios)
            if ratios
            else Repeated(one.median_ms / other.median_ms, (), None)
        )
        contended = one.contended or other.contended
        found = (repeated.figure, contended, restless, repeated.sessions, repeated.spread)
        return cls(tuple(ratios.values()), *found)

    @property
    def _repeated(self) -> Repeated:
        return Repeated(self.ratio, self.sessions, self.spread)

    @property
    def provenance(self) -> str:
        """The origin of both times: measured."""
        return "measured"

    @property
    def chance(self) -> float:
        """The chance of such a difference if both are equally fast."""
        return max(chance_of_tie(self.ratios), self._repeated.chance_of_1)

    @property
    def least(self) -> float:
        """The difference that no session settles, a share."""
        return LEAST_CONTENDED if self.restless else LEAST

    @property
    def counts(self) -> bool:
        """Whether the difference exceeds those between copies of one network."""
        return max(self.ratio, 1 / self.ratio) > 1 + self.least

    @property
    def rule(self) -> str:
        """The definition of a tie, in words."""
        why = ", because other programs ran" if self.restless else ""
        return (
            "timed in alternation, compared by rounds and sessions; a tie within "
            f"{self.least:.0%}{why}"
        )

    def interval(self, level: float) -> Interval | None:
        """Return the interval of the ratio, wrong with a chance of at most `level`.

        None if there are too few rounds.
        """
        count = len(self.ratios)
        rank, below = 0, 1  # below: how many of the 2^count outcomes have at most `rank` wins
        while 2 * below / (1 << count) <= level:
            rank += 1
            below += math.comb(count, rank)
        ordered = sorted(self.ratios)
        if not rank:
            return None
        return self._repeated.widened((ordered[rank - 1], ordered[-rank]), level)


@dataclass(frozen=True, slots=True)
class PricedPair:
    """Two networks that were not timed together.

    Attributes:
        ratio: The time of the first network relative to the second.
        provenance: The origin of both times.
    """

    ratio: float
    provenance: str

    @classmethod
    def of(cls, one: Latency, other: Latency) -> "PricedPair":
        """Compare `one` with `other`."""
        return cls(one.ms / other.ms, one.provenance)

    @property
    def counts(self) -> bool:
        """Whether the difference is larger than those whose order is often wrong."""
        return max(self.ratio, 1 / self.ratio) > 1 + EMULATED_TIE

    @property
    def rule(self) -> str:
        """The definition of a tie, in words."""
        tie = f"a tie within {EMULATED_TIE:.0%}, as such orders are often wrong"
        return f"not timed together, no test; {tie}"


ComparedPair = TimedPair | PricedPair
