"""Networks in alternation, timed until their medians and ratios are known.

Each round runs every network briefly, one after the other. A disturbance longer than a tenth of a
second therefore slows all of them. The text is sent with the agent: Python 3.8, the standard
library only.
"""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

if __name__ != "__main__":  # piped, these names are here already
    from nas_sv2.latency.agent.estimator import (
        FEWEST_ROUNDS,
        Samples,
        chosen,
        median_interval,
        ratio_interval,
        times_of,
    )
    from nas_sv2.latency.agent.host_facts import conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Json = dict[str, Any]

CONDITIONS_EVERY_S = 0.5
HEATING_WINDOWS = 60  # most points of the heating curve
RUNS_OF_A_ROUND = 8  # most of `min_runs` that one round stands for: a ratio needs rounds


class Network(NamedTuple):
    """A loaded network.

    Attributes:
        run: Function that runs the network once and waits for its result.
        outputs: Numbers that the network gives for the plan's input, in a row of numpy's.
        series: Function from run numbers (0 is the first call of `run`) to further times of these
            runs, in ms by name.
        fallen_back: Nodes that ran on the CPU although the plan names another provider, and all
            nodes; None if it names none.
    """

    run: Callable[[], object]
    outputs: Any
    series: Callable[[Sequence[int]], Mapping[str, Sequence[float]]]
    fallen_back: tuple[int, int] | None = None


COUNTS_SWITCHES = hasattr(resource, "RUSAGE_THREAD")  # Linux


def _switches() -> int:
    """Count the involuntary context switches of this thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if COUNTS_SWITCHES else 0


class Recorder:
    """A network under measurement and the times of the runs kept."""

    def __init__(self, load: Callable[[], Network], plan: Json) -> None:
        self.load, self.plan = load, plan
        self.network = load()
        self.made = 0  # runs since the last load, kept or not
        self.kept: list[int] = []  # numbers of the runs kept
        self.series: dict[str, list[float]] = {}
        self.columns: tuple[list[int], ...] = ([], [], [], [])  # wall, cpu, switches, rounds
        self.warmup_runs, self.stationary, self.block_runs = 0, False, 1

    @property
    def samples(self) -> Samples:
        """The runs kept so far, in ms."""
        wall, cpu, switches, rounds = self.columns
        wall_ms, cpu_ms = ([ns / 1e6 for ns in times] for times in (wall, cpu))
        return Samples(wall_ms, cpu_ms, switches if COUNTS_SWITCHES else None, rounds)

    def reload(self) -> None:
        """Load the network at another place in memory: the old one is dropped only afterwards."""
        self.keep_series()
        self.network, self.made, self.kept = self.load(), 0, []
        for _ in range(self.plan["min_block_runs"]):
            self.run()

    def keep_series(self) -> None:
        """Store the further times of the runs kept since the last load."""
        for name, times in self.network.series(self.kept).items():
            self.series.setdefault(name, []).extend(times)

    def run(self) -> None:
        """Run the network once."""
        self.network.run()
        self.made += 1

    def warm_up(self) -> None:
        """Run windows until the medians of two in a row agree.

        If CPU time is the latency, windows are timed by it: other programs then do not prolong
        the warm-up.
        """
        plan = self.plan
        clock = time.thread_time_ns if plan["cpu_time_is_latency"] else time.perf_counter_ns
        ends = time.perf_counter() + plan["warmup_limit_s"]
        medians: list[float] = []
        while not self.stationary and (len(medians) < 2 or time.perf_counter() <= ends):
            times = []
            for _ in range(plan["warmup_runs"]):
                began = clock()
                self.run()
                times.append(clock() - began)
            medians.append(statistics.median(times))
            if len(medians) > 1:
                change = abs(medians[-1] - medians[-2])
                self.stationary = change <= plan["warmup_agreement"] * medians[-2]
        self.warmup_runs = self.made
        most = max(1, plan["max_runs"] // 20)  # leaves enough rounds for an interval
        wanted = round(plan["block_s"] * 1e9 / max(1.0, medians[-1]))
        self.block_runs = max(plan["min_block_runs"], min(most, wanted))

    def settle(self) -> None:
        """Warm the caches that other networks or programs left cold; keep no times.

        It ends after `settle_s` without an involuntary switch, at the latest after three times
        `settle_s`.
        """
        settle_s = self.plan["settle_s"]
        began = time.perf_counter()
        since, before = began, _switches()
        while True:
            self.run()
            now = time.perf_counter()
            if _switches() != before:
                since, before = now, _switches()
            if now - since >= settle_s or now - began >= 3 * settle_s:
                return

    def block(self, number: int) -> None:
        """Run and keep the runs of one round."""
        wall, cpu, switches, rounds = self.columns
        for _ in range(self.block_runs):
            before = _switches()
            cpu_began, wall_began = time.thread_time_ns(), time.perf_counter_ns()
            self.run()
            wall_ended, cpu_ended = time.perf_counter_ns(), time.thread_time_ns()
            wall.append(wall_ended - wall_began)
            cpu.append(cpu_ended - cpu_began)
            switches.append(_switches() - before)
            rounds.append(number)
            self.kept.append(self.made - 1)

    def answer(self) -> Json:
        """Return all times of the runs kept, as the agent's protocol has them."""
        self.keep_series()
        wall, cpu, switches, rounds = self.columns
        return {
            "wall_ns": wall,
            "cpu_ns": cpu,
            "switches": switches if COUNTS_SWITCHES else None,
            "rounds": rounds,
            "warmup_runs": self.warmup_runs,
            "stationary": self.stationary,
            "series": self.series,
            "fallen_back": self.network.fallen_back,
        }


def timed(loads: list[Callable[[], Network]], plan: Json) -> Json:
    """Warm up, time the networks in alternation until enough is known, and return all times.

    Args:
        loads: Functions that load one network each. Each is called `plan["loads"]` times, so that
            the result does not depend on one place in memory.
        plan: Fields of the plan, and `cpu_time_is_latency`.
    """
    gpu = plan["processor"] == "cuda"
    began = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        states = [conditions(began, gpu)]
        recorders = [Recorder(load, plan) for load in loads]
        heating = _heat_up(recorders, plan["heat_s"], states, began, gpu)
        for recorder in recorders:
            recorder.warm_up()
        states.append(conditions(began, gpu))
        number, seconds = 0, 0.0
        for part in range(plan["loads"]):
            if part > 0:
                for recorder in _turned(recorders, part):  # the last one loaded runs fastest
                    recorder.reload()
            share = (part + 1) / plan["loads"]
            rounds = share * min(FEWEST_ROUNDS, plan["min_runs"] / RUNS_OF_A_ROUND)
            while number < rounds or not _enough(recorders, seconds, share, plan):
                _note_conditions(states, began, gpu)
                round_began = time.perf_counter()
                for recorder in _turned(recorders, number):
                    recorder.settle()
                    recorder.block(number)
                seconds += time.perf_counter() - round_began
                number += 1
        states.append(conditions(began, gpu))
    finally:
        gc.enable()
    return {
        "networks": [recorder.answer() for recorder in recorders],
        "conditions": states,
        "heating": heating,
    }


def _turned(recorders: list[Recorder], turn: int) -> list[Recorder]:
    """Return the recorders, with another one first in each turn."""
    first = turn % len(recorders)
    return recorders[first:] + recorders[:first]


def _note_conditions(states: list[Json], began: float, gpu: bool) -> None:
    if time.perf_counter() - began - states[-1]["at_s"] > CONDITIONS_EVERY_S:
        states.append(conditions(began, gpu))


def _heat_up(
    recorders: list[Recorder], heat_s: float, states: list[Json], began: float, gpu: bool
) -> list[list[float]]:
    """Run the first network for `heat_s`; return rows of seconds and its median wall ms."""
    curve = []
    ends = time.perf_counter() + heat_s
    while time.perf_counter() < ends:
        times: list[float] = []
        window_ends = min(ends, time.perf_counter() + max(1.0, heat_s / HEATING_WINDOWS))
        while not times or time.perf_counter() < window_ends:
            run_began = time.perf_counter()
            recorders[0].run()
            times.append(time.perf_counter() - run_began)
        curve.append([time.perf_counter() - began, 1e3 * statistics.median(times)])
        states.append(conditions(began, gpu))
    return curve


def _enough(recorders: list[Recorder], seconds: float, share: float, plan: Json) -> bool:
    """Return whether this share of the loads has had its share of runs and time."""
    fewest = min(len(recorder.columns[0]) for recorder in recorders)
    count = len(recorders)
    if fewest < share * plan["min_runs"]:
        return False
    if fewest >= share * plan["max_runs"] or seconds >= count * plan["noisy_time_limit_s"]:
        return True
    in_time = seconds < share * count * plan["time_limit_s"]
    if share < 1:
        return not in_time
    allowed = plan["ci_width" if in_time else "noisy_width"]
    return _is_narrow(recorders, allowed, plan["cpu_time_is_latency"])


def _is_narrow(recorders: list[Recorder], allowed: float, cpu_time_is_latency: bool) -> bool:
    """Return whether the intervals of all medians and ratios to the last network are narrow."""
    *others, last = (recorder.samples for recorder in recorders)
    for samples in (last, *others):
        choice = chosen(samples, cpu_time_is_latency)
        median = statistics.median(times_of(samples, choice))
        interval = median_interval(samples, choice)
        if interval is None or interval[1] - interval[0] > allowed * median:
            return False
    for samples in others:
        ratio = ratio_interval(samples, last, cpu_time_is_latency)
        if ratio is None or ratio[1] is None or ratio[1][1] - ratio[1][0] > allowed * ratio[0]:
            return False
    return True
