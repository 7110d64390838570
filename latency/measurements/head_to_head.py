"""Which of several networks are faster, as far as their figures can tell.

An order of two networks is *settled* if they would rarely come out so far apart by chance, else it
is a *tie*. Networks timed in alternation are compared round by round: under a tie one of them is
the slower in every round with a chance of one half, whatever the machine does (a sign test). For
two networks that is the same as a 95 % interval of their ratio that leaves 1 out.

Of n networks there are n(n − 1)/2 pairs, and at 95 % each, one in twenty of them would be called
settled by chance alone. The pairs are therefore judged together (Holm 1979): the chance that any
order of a session is called settled wrongly is 5 %.

The rounds of a session share what that session did to a network: where it lay in memory, which
programs ran beside it. No number of rounds shows that, so that a difference below what we saw
between copies of one network is a tie as well (`LEAST`).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas_sv2.errors import ConfigError
from nas_sv2.latency.agent.estimator import round_ratios
from nas_sv2.latency.measurements.measurement import Interval, Latency, Measurement
from nas_sv2.statistics import judge_together

WRONG = 0.05
"""The chance that a session calls any order settled that is a tie."""
LEAST, LEAST_CONTENDED = 0.01, 0.05
"""Differences that no session settles: at rest, and beside other programs.

One network loaded twice was up to 1.5 % apart for as long as it was loaded, of which four loads
leave half. Beside other programs, pairs of four copies of V2 0.5× came out up to 5.6 % apart (60
pairs, 10 sessions), of 1× up to 1.4 % (48 pairs, 8 sessions); the rounds alone called 2 orders in
these 18 sessions settled, with the limit it was 1.
"""
MOST_NETWORKS = 16
"""Networks that one session holds. All are loaded at once, V2 1× with 26 MB and 2× with 70 MB."""
EMULATOR_ERROR = 0.1
"""Networks whose emulated times are nearer to each other than this share are ties: the typical
error of the tables is 10.1 % against published speeds of networks whose structure is published."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two networks, by their places in the list that was judged.

    Attributes:
        faster: The one that comes first in the order.
        slower: The other.
        ratio: How long the slower takes relative to the faster.
        ratio_ci: The 95 % interval of the ratio, of this pair alone; None where there is none:
            nothing was run, or what counts are runs of different kinds.
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
        pairs: Every two of them, in the order of the ranking.
        rule: What settled means here, in words.
    """

    ranking: tuple[int, ...]
    pairs: tuple[Pair, ...]
    rule: str

    @property
    def neighbours(self) -> list[Pair]:
        """Each network after the first, with the one before it in the ranking."""
        after = set(zip(self.ranking, self.ranking[1:], strict=False))
        return [pair for pair in self.pairs if (pair.faster, pair.slower) in after]

    @property
    def further_ties(self) -> list[Pair]:
        """Ties of networks that are no neighbours."""
        neighbours = self.neighbours
        return [pair for pair in self.pairs if not pair.settled and pair not in neighbours]


def check_number(count: int) -> None:
    """Refuse more networks than one session holds.

    Raises:
        ConfigError: They are too many.
    """
    if count > MOST_NETWORKS:
        allowed = f"must be at most {MOST_NETWORKS}: all are held in the device's memory at once"
        raise ConfigError("number of networks", count, allowed)


def orders_of(measurements: Sequence[Measurement]) -> Orders:
    """The order of networks that were timed in one session.

    Raises:
        ValueError: They were not.
    """
    ranking = _ranked([m.median_ms if m.ratio is None else m.ratio[0] for m in measurements])
    compared = []
    for faster, slower in _pairs(ranking):
        one, other = measurements[slower], measurements[faster]
        ratio, interval = one.relative_to(other) or (one.median_ms / other.median_ms, None)
        chance = chance_of_tie(
            round_ratios(one.samples, other.samples, one.plan.cpu_time_is_latency)
        )
        compared.append((Pair(faster, slower, ratio, interval, settled=False), chance))
    contended = any(measurement.contended for measurement in measurements)
    least = LEAST_CONTENDED if contended else LEAST
    judged = _settle(compared, least)
    together = f" for all {len(judged)} pairs together" if len(judged) > 1 else ""
    why = ", because other programs ran" if contended else ""
    rule = f"timed in alternation; settled at 95 %{together}; a tie within {least:.0%}{why}"
    return Orders(ranking, judged, rule)


def emulated_orders(latencies: Sequence[Latency]) -> Orders:
    """The order of networks that were priced without being run."""
    times = [latency.ms for latency in latencies]
    ranking = _ranked(times)
    pairs = [
        Pair(faster, slower, ratio, None, settled=ratio > 1 + EMULATOR_ERROR)
        for faster, slower in _pairs(ranking)
        for ratio in [times[slower] / times[faster]]
    ]
    rule = f"not measured; a tie within {EMULATOR_ERROR:.0%}, the error of such figures"
    return Orders(ranking, tuple(pairs), rule)


def _ranked(values: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted(range(len(values)), key=values.__getitem__))


def _pairs(ranking: Sequence[int]) -> list[tuple[int, int]]:
    """Every two of the ranking; those that are nearest in it first."""
    count = len(ranking)
    return [
        (ranking[place], ranking[place + distance])
        for distance in range(1, count)
        for place in range(count - distance)
    ]


def chance_of_tie(ratios: Sequence[float]) -> float:
    """Of rounds that one side wins as clearly as here, or more so, though both are as fast.

    A round in which the two are equal speaks against either side.
    """
    count = len(ratios)
    least = min(sum(r <= 1 for r in ratios), sum(r >= 1 for r in ratios))
    ways = sum(math.comb(count, wins) for wins in range(least + 1))
    return min(1.0, 2 * ways / (1 << count))


def _settle(compared: Sequence[tuple[Pair, float]], least: float) -> tuple[Pair, ...]:
    """Settle the pairs whose order is more than chance, at `WRONG` for all of them together."""
    judged = judge_together([chance for _, chance in compared], WRONG)
    return tuple(
        # Below a ratio of 1 the rounds would contradict the ranking.
        dataclasses.replace(pair, settled=each.more_than_chance and pair.ratio > 1 + least)
        for (pair, _), each in zip(compared, judged, strict=True)
    )


@dataclass(frozen=True, slots=True)
class TimedPair:
    """Two networks of one session, for comparisons that are judged with others.

    Chance and interval are of one test, the sign test over the rounds: at any level, the interval
    leaves 1 out exactly if the chance is at most that level.

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
    def of(cls, one: Measurement, other: Measurement, restless: bool) -> "TimedPair":
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
class PricedPair:
    """Two networks of which neither was run.

    Attributes:
        ratio: How long the one takes relative to the other.
        provenance: Of both times.
    """

    ratio: float
    provenance: str

    @classmethod
    def of(cls, one: Latency, other: Latency) -> "PricedPair":
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


ComparedPair = TimedPair | PricedPair
