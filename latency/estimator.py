"""The runs that count, and the 95 % interval of their median.

`Measurement` uses these functions for its figures and the agent to decide when to stop, so that
the two cannot disagree. The text travels with the agent: Python 3.8, the standard library only.
"""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Choice = tuple[str, list[float]]

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
"""The interval is also taken over medians of up to 20 blocks in time order, of at least 5 runs.

Runs near in time are alike, so the interval from single runs is too narrow: at rest it held the
median of half a minute in 45 % of seconds, with the blocks in 75 %.
"""


def chosen(
    wall: Sequence[float],
    cpu: Sequence[float],
    switches: Sequence[int] | None,
    cpu_time_is_latency: bool,
) -> Choice:
    """The estimator's name and the run times it uses, in the unit and order given."""
    if switches is None:
        busy = statistics.median(wall) > WALL_OVER_CPU * statistics.median(cpu)
        return ("thread CPU time", list(cpu)) if cpu_time_is_latency and busy else _all(wall)
    undisturbed = [time for index, time in enumerate(wall) if switches[index] == 0]
    if len(undisturbed) >= UNDISTURBED_SHARE * len(wall):
        return "undisturbed wall time", undisturbed
    if cpu_time_is_latency:
        for before in SETTLED_AFTER:
            settled = [time for index, time in enumerate(cpu) if _settled(index, switches, before)]
            if len(settled) >= FEWEST:
                return "settled thread CPU time", settled
        return "thread CPU time", list(cpu)
    return ("undisturbed wall time", undisturbed) if len(undisturbed) >= FEWEST else _all(wall)


def _all(wall: Sequence[float]) -> Choice:
    return "wall time", list(wall)


def _settled(index: int, switches: Sequence[int], before: int) -> bool:
    return index >= before and not any(switches[index - before : index + 1])


def median_interval(times: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the median, with no distribution assumed; None under 6 runs.

    The wider of two: by order statistics of the runs, and of the medians of blocks.
    """
    interval = _order_interval(times)
    count = min(BLOCKS, len(times) // 5)
    edges = [round(index * len(times) / count) for index in range(count + 1)] if count else []
    blocks = [statistics.median(times[edges[i] : edges[i + 1]]) for i in range(count)]
    between = _order_interval(blocks)
    if interval is None or between is None:
        return interval
    return min(interval[0], between[0]), max(interval[1], between[1])


def _order_interval(values: Sequence[float]) -> tuple[float, float] | None:
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
