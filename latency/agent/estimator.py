"""The runs that count, the 95 % interval of their median, and ratios of networks in alternation.

`Measurement` and the agent share these functions: a measurement's numbers and the agent's decision
to stop cannot disagree. The text is sent with the agent: Python 3.8, the standard library only.

Runs come in rounds: in each round every network of a session runs briefly, one after the other.
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

Leaving out the others favours runs that are short by chance: with 40-75 % undisturbed, their
median was 2 % below the idle value. Leaving out a tenth moves the median by at most five
percentiles.
"""
SWITCHES_PER_S = 20
"""Most involuntary switches in a second of an undisturbed run.

An idle system has a few, for its own threads. So a run of 0.1 s has one almost always, and runs of
less than 0.05 s are undisturbed only without any. A switch leaves cold caches, which took 0.3 ms
(see `SETTLED_AFTER`): 20 in a second are 0.6 % of the time."""
FEWEST = 20
"""Fewest runs that are preferred to all runs. The interval of their median then lies between
ranks 6 and 15, clear of odd runs at either end."""
FEWEST_ROUNDS = 6
"""Fewest rounds of a ratio: fewer have no 95 % interval by ranks."""
SETTLED_AFTER = (2, 1)
"""A run is settled if neither it nor this many runs before it saw a switch. The first number that
leaves enough runs is taken.

A switch leaves the caches cold for longer than its own run. A run of 1.4 ms took 13 % more with a
switch in it; the next three took 8 %, 2 % and 0 % more. Under two busy loops the settled runs came
to 1.00 of the idle value, all runs to 1.04 (24 pairs). Subtracting the cost of a switch by
regression was tried and rejected: slow spells and switches coincide, and it removed up to 34 %.
"""
WALL_OVER_CPU = 1.05
"""Ratio of wall to CPU time of one thread above which others had the processor."""
BLOCKS = 20
"""Blocks of whole rounds, in time order, whose medians give a second interval.

Runs near in time are alike, so the interval from single runs is too narrow. On an idle machine,
intervals from one second held the median of half a minute in 45 % of cases, with blocks in 75 %.
"""


class Samples(NamedTuple):
    """The timed runs of one network, in order; all times in ms.

    Attributes:
        wall: Wall time of each run.
        cpu: CPU time of the calling thread in each run.
        switches: Involuntary context switches of that thread in each run; None if the system
            does not count them by thread (Linux does).
        rounds: Round number of each run, in ascending order.
    """

    wall: Sequence[float]
    cpu: Sequence[float]
    switches: Sequence[int] | None
    rounds: Sequence[int]

    def clock(self, name: str) -> Sequence[float]:
        """Return the times of the clock `wall` or `cpu`."""
        return self.wall if name == "wall" else self.cpu


class Choice(NamedTuple):
    """The runs that count and their clock.

    Attributes:
        estimator: Name of this choice, as reports show it.
        clock: `wall` or `cpu`.
        runs: Indices of the runs that count, in order.
    """

    estimator: str
    clock: str
    runs: Sequence[int]


def chosen(samples: Samples, cpu_time_is_latency: bool) -> Choice:
    """Choose the runs that count; `Measurement.estimator` states the rule."""
    wall, cpu, switches, _ = samples
    every = range(len(wall))
    if switches is None:
        busy = statistics.median(wall) > WALL_OVER_CPU * statistics.median(cpu)
        if cpu_time_is_latency and busy:
            return Choice("thread CPU time", "cpu", every)
        return Choice("wall time", "wall", every)
    undisturbed = undisturbed_runs(samples, cpu_time_is_latency)
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


def undisturbed_runs(samples: Samples, cpu_time_is_latency: bool) -> list[int]:
    """Return the indices of runs without an involuntary switch, or with few in a long run.

    A long run must also have had the processor all the time, if its CPU time can show it.
    """
    wall, cpu, switches, _ = samples
    assert switches is not None

    def undisturbed(index: int) -> bool:
        if switches[index] == 0:
            return True
        waited = cpu_time_is_latency and wall[index] > WALL_OVER_CPU * cpu[index]
        return switches[index] <= SWITCHES_PER_S * wall[index] / 1000 and not waited

    return [index for index in range(len(wall)) if undisturbed(index)]


def _settled(index: int, samples: Samples, before: int) -> bool:
    """Return whether a run and those `before` it in its round saw no switch.

    The first run of a round follows settling runs, which are not kept and end without a switch.
    """
    rounds, switches = samples.rounds, samples.switches
    assert switches is not None
    same = [i for i in range(max(0, index - before), index + 1) if rounds[i] == rounds[index]]
    return not any(switches[i] for i in same)


def times_of(samples: Samples, choice: Choice) -> list[float]:
    """Return the times of the chosen runs."""
    clock = samples.clock(choice.clock)
    return [clock[index] for index in choice.runs]


def median_interval(samples: Samples, choice: Choice) -> Interval | None:
    """Return the 95 % interval of the median, free of a distribution; None for fewer than 6 runs.

    It spans two intervals from order statistics: of the runs, and of the medians of blocks.
    """
    times = times_of(samples, choice)
    interval = order_interval(times)
    rounds = [samples.rounds[index] for index in choice.runs]
    between = order_interval(_block_medians(times, rounds))
    if interval is None or between is None:
        return interval
    return min(interval[0], between[0]), max(interval[1], between[1])


def _block_medians(times: Sequence[float], rounds: Sequence[int]) -> list[float]:
    """Return medians of at most `BLOCKS` blocks: whole rounds, or 5 runs or more if few rounds."""
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
    """Return the ratio of `one` to `other` and its 95 % interval; None without common rounds.

    The ratio is the median of the rounds' ratios. In a round the two run within a tenth of a
    second of each other, so longer disturbances (a slower clock, a neighbour) cancel.
    """
    ratios = list(round_ratios(one, other, cpu_time_is_latency).values())
    return (statistics.median(ratios), order_interval(ratios)) if ratios else None


def round_ratios(one: Samples, other: Samples, cpu_time_is_latency: bool) -> Mapping[int, float]:
    """Return the time of `one` relative to `other` by round, of rounds with runs of both.

    Both use one clock and the same kind of runs. Beside other programs, only a short network may
    have uninterrupted runs; comparing these with all runs of a long one would favour it. If fewer
    than `FEWEST_ROUNDS` have runs of both that count, all runs of both are taken.
    """
    choices = [chosen(samples, cpu_time_is_latency) for samples in (one, other)]
    clock = "cpu" if any(choice.clock == "cpu" for choice in choices) else "wall"
    if clock == "cpu" or choices[0].estimator == choices[1].estimator:
        ratios = _common_rounds(one, other, [choice.runs for choice in choices], clock)
        if len(ratios) >= FEWEST_ROUNDS:
            return ratios
    return _common_rounds(one, other, [range(len(s.wall)) for s in (one, other)], clock)


def _common_rounds(
    one: Samples, other: Samples, runs: Sequence[Sequence[int]], clock: str
) -> Mapping[int, float]:
    first, second = _round_medians(one, runs[0], clock), _round_medians(other, runs[1], clock)
    return {kind: first[kind] / second[kind] for kind in first if kind in second}


def _round_medians(samples: Samples, runs: Sequence[int], clock: str) -> Mapping[int, float]:
    times = samples.clock(clock)
    by_round: dict[int, list[float]] = {}
    for index in runs:
        by_round.setdefault(samples.rounds[index], []).append(times[index])
    return {kind: statistics.median(values) for kind, values in by_round.items()}


def order_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of the median by ranks; None for fewer than 6 values."""
    rank = _lower_rank(len(values))
    ordered = sorted(values)
    return (ordered[rank - 1], ordered[-rank]) if rank else None


@functools.lru_cache(maxsize=4096)  # Python 3.8 has no functools.cache
def _lower_rank(count: int) -> int:
    """Return the largest rank that the median is below with probability at most 2.5 %, or 0."""
    rank, ways, below = 0, 1, 1  # below: number of the 2^count outcomes under rank + 1
    while 40 * below <= 2**count:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        below += ways
    return rank
