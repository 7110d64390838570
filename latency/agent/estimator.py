"""The runs that count, the 95 % interval of their median, and ratios of networks in alternation.

`Measurement` uses these functions for its figures and the agent to decide when to stop, so that
the two cannot disagree. The text travels with the agent: Python 3.8, the standard library only.

Runs come in rounds: in each, every network of a session runs for a moment, one after the other.
"""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Interval = tuple[float, float]

UNDISTURBED_SHARE = 0.9
"""Wall time is used when this share of the runs saw no involuntary context switch.

Leaving out the others favours runs that are short by chance: where 40-75 % were undisturbed their
median was 2 % below the idle figure. Leaving out a tenth moves it by five percentiles at most.
"""
FEWEST = 20
"""Fewest runs that are used in preference to all: the interval of their median then lies between
ranks 6 and 15, clear of odd runs at either end."""
SETTLED_AFTER = (2, 1)
"""A run is settled when it and so many before it saw no switch; the first number that leaves
enough runs is taken.

A switch leaves the caches cold for longer than its own run: a run of 1.4 ms took 13 % more with a
switch in it, then 8 %, 2 % and 0 % more in the next three. Under two busy loops the settled runs
came to 1.00 of the idle figure, all runs to 1.04 (24 pairs). Taking the cost of a switch off by
regression was tried and given up: slow spells and switches coincide, and it took off up to 34 %.
"""
WALL_OVER_CPU = 1.05
"""Where no context switches can be read, wall time above CPU time by this says `contended`."""
BLOCKS = 20
"""The interval is also taken over medians of up to 20 blocks in time order, each of whole rounds.

Runs near in time are alike, so the interval from single runs is too narrow: at rest it held the
median of half a minute in 45 % of seconds, with the blocks in 75 %.
"""


class Samples(NamedTuple):
    """The timed runs of one network in their order; times in any one unit.

    Attributes:
        wall: Wall time of each run.
        cpu: CPU time of the calling thread in each run.
        switches: Involuntary context switches of that thread in each run; None where the system
            does not count them by thread (it does on Linux).
        rounds: The number of the round that each run belongs to; it never falls.
    """

    wall: Sequence[float]
    cpu: Sequence[float]
    switches: Sequence[int] | None
    rounds: Sequence[int]

    def clock(self, name: str) -> Sequence[float]:
        """The times by `wall` or by `cpu`."""
        return self.wall if name == "wall" else self.cpu


class Choice(NamedTuple):
    """Which runs count, and by which clock.

    Attributes:
        estimator: What it is called.
        clock: `wall` or `cpu`.
        runs: Indices of the runs that count, in order.
    """

    estimator: str
    clock: str
    runs: Sequence[int]


def chosen(samples: Samples, cpu_time_is_latency: bool) -> Choice:
    """The runs that count: see `Measurement.estimator` for the rule."""
    wall, cpu, switches, _ = samples
    every = range(len(wall))
    if switches is None:
        busy = statistics.median(wall) > WALL_OVER_CPU * statistics.median(cpu)
        if cpu_time_is_latency and busy:
            return Choice("thread CPU time", "cpu", every)
        return Choice("wall time", "wall", every)
    undisturbed = [index for index in every if switches[index] == 0]
    if len(undisturbed) >= UNDISTURBED_SHARE * len(wall):
        return Choice("undisturbed wall time", "wall", undisturbed)
    if cpu_time_is_latency:
        for before in SETTLED_AFTER:
            settled = [index for index in every if _settled(index, samples, before)]
            if len(settled) >= FEWEST:
                return Choice("settled thread CPU time", "cpu", settled)
        return Choice("thread CPU time", "cpu", every)
    if len(undisturbed) >= FEWEST:
        return Choice("undisturbed wall time", "wall", undisturbed)
    return Choice("wall time", "wall", every)


def _settled(index: int, samples: Samples, before: int) -> bool:
    """Runs before the first of a round were not kept, but ended without a switch."""
    rounds, switches = samples.rounds, samples.switches
    assert switches is not None
    same = [i for i in range(max(0, index - before), index + 1) if rounds[i] == rounds[index]]
    return not any(switches[i] for i in same)


def times_of(samples: Samples, choice: Choice) -> list[float]:
    """The times that count."""
    clock = samples.clock(choice.clock)
    return [clock[index] for index in choice.runs]


def median_interval(samples: Samples, choice: Choice) -> Interval | None:
    """The 95 % interval of the median, with no distribution assumed; None under 6 runs.

    The wider of two: by order statistics of the runs, and of the medians of blocks.
    """
    times = times_of(samples, choice)
    interval = _order_interval(times)
    rounds = [samples.rounds[index] for index in choice.runs]
    between = _order_interval(_block_medians(times, rounds))
    if interval is None or between is None:
        return interval
    return min(interval[0], between[0]), max(interval[1], between[1])


def _block_medians(times: Sequence[float], rounds: Sequence[int]) -> list[float]:
    """Medians of at most `BLOCKS` blocks; of runs, at least 5 each, where there are few rounds."""
    kinds = sorted(set(rounds))
    if len(kinds) < 6:
        count = min(BLOCKS, len(times) // 5)
        edges = [round(index * len(times) / count) for index in range(count + 1)] if count else []
        return [statistics.median(times[edges[i] : edges[i + 1]]) for i in range(count)]
    count = min(BLOCKS, len(kinds))
    block_of = {kind: index * count // len(kinds) for index, kind in enumerate(kinds)}
    blocks: list[list[float]] = [[] for _ in range(count)]
    for time, kind in zip(times, rounds):  # noqa: B905  Python 3.8 has no strict
        blocks[block_of[kind]].append(time)
    return [statistics.median(block) for block in blocks]


def ratio_interval(
    one: Samples, other: Samples, cpu_time_is_latency: bool
) -> tuple[float, Interval | None] | None:
    """How long `one` takes relative to `other`, and the 95 % interval; None without common rounds.

    The median of the rounds' ratios: the two ran within a tenth of a second of each other, so what
    the machine does for longer, a slower clock or a neighbour, is in both and cancels.
    """
    ratios = round_ratios(one, other, cpu_time_is_latency)
    return (statistics.median(ratios), _order_interval(ratios)) if ratios else None


def round_ratios(one: Samples, other: Samples, cpu_time_is_latency: bool) -> list[float]:
    """How long `one` takes relative to `other` in each round that both have runs of.

    Both by one clock and by the same kind of runs: beside other programs a short network is left
    with uninterrupted runs where a long one is not, and of the two kinds those are the shorter.
    """
    choices = [chosen(samples, cpu_time_is_latency) for samples in (one, other)]
    clock = "cpu" if any(choice.clock == "cpu" for choice in choices) else "wall"
    if clock == "wall" and choices[0].estimator != choices[1].estimator:
        choices = [Choice("wall time", "wall", range(len(s.wall))) for s in (one, other)]
    first, second = (
        _round_medians(one, choices[0], clock),
        _round_medians(other, choices[1], clock),
    )
    return [first[kind] / second[kind] for kind in first if kind in second]


def _round_medians(samples: Samples, choice: Choice, clock: str) -> Mapping[int, float]:
    times = samples.clock(clock)
    by_round: dict[int, list[float]] = {}
    for index in choice.runs:
        by_round.setdefault(samples.rounds[index], []).append(times[index])
    return {kind: statistics.median(values) for kind, values in by_round.items()}


def _order_interval(values: Sequence[float]) -> Interval | None:
    rank = _lower_rank(len(values))
    ordered = sorted(values)
    return (ordered[rank - 1], ordered[-rank]) if rank else None


@functools.lru_cache(maxsize=4096)  # Python 3.8 has no functools.cache
def _lower_rank(count: int) -> int:
    """The largest rank that the median is below with a chance of at most 2.5 %; 0 for none."""
    rank, ways, below = 0, 1, 1  # below: how many of the 2^count outcomes fall under rank + 1
    while 40 * below <= 2**count:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        below += ways
    return rank
