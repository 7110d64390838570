"""How right a search's estimate of the time left is, on the durations of recorded trainings.

Searches of 24 candidates draw from recorded trainings at random. At each candidate from the fifth
on, the estimate is compared with the time that the search then took.

    python benchmarks/time_left.py

`curves` and the table were recorded on a machine whose other load changed by the minute, which no
estimate can foresee. So `quiet` has the FLOPs of the space 140M with times of their power 0.66
(V2 0.5x and 1x), and a noise of 12 %.
"""

import heapq
import json
import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from truth_table import read_table

from nas_sv2.search.events.events import Event, TrialFinished
from nas_sv2.search.events.time_left import POWER, TimeLeft
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.documents import architecture_from_document
from nas_sv2.space.units.reference import reference

CURVES = Path(__file__).parent / "curves"
SEARCHES, CANDIDATES, FROM = 60, 24, 5
Training = tuple[float, float]  # FLOPs, seconds


def errors(trainings: Sequence[Training], workers: int) -> list[tuple[float, float]]:
    """Go through one search; errors as shares, each with the time left in mean trainings.

    The estimate is asked after each candidate from the fifth on, but the last.
    """
    now, estimates = SimpleNamespace(s=0.0), list[tuple[float, float]]()

    def listen(event: Event) -> None:
        if isinstance(event, TrialFinished):
            assert event.remaining_s is not None
            estimates.append((now.s, event.remaining_s))

    left = TimeLeft(listen, workers, clock=lambda: now.s)
    queue = list(enumerate(trainings))
    running: list[tuple[float, int]] = []

    def begin() -> None:
        if queue:
            number, (flops, seconds) = queue.pop(0)
            left._begun[number] = (now.s, flops**POWER)
            heapq.heappush(running, (now.s + seconds, number))

    for _ in range(workers):
        begin()
    while running:
        now.s, number = heapq.heappop(running)
        done = len(trainings) - len(queue) - len(running)
        seconds = trainings[number][1]
        left(TrialFinished(number, "finished", "", None, seconds, done, len(trainings)))
        begin()
    mean_s = statistics.fmean(seconds for _, seconds in trainings)
    counted = estimates[FROM - 1 : -1]
    return [(estimate / (now.s - at) - 1, (now.s - at) / mean_s) for at, estimate in counted]


def recorded(name: str) -> list[Training]:
    """The trainings of a file of `curves`."""
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in (CURVES / name).read_text().splitlines()
    ]
    return [
        (
            float(cost_of(lower(architecture_from_document(row["architecture"]))).flops),
            row["evaluation"]["seconds"],
        )
        for row in rows
    ]


def quiet() -> list[Training]:
    """Candidates of the space 140M within 147 MFLOPs, with times as an idle machine gives them."""
    space, drawn, found = LEVELS["140M"], random.Random(0), list[float]()
    while len(found) < 120:
        flops = cost_of(lower(space.sample(RandomSuggester(drawn)))).flops
        if flops <= 147e6:
            found.append(float(flops))
    found = [float(cost_of(lower(reference(name))).flops) for name in space.baselines] + found
    return [(each, 40 * (each / 146e6) ** 0.66 * math.exp(drawn.gauss(0, 0.12))) for each in found]


def main() -> None:
    """Print the share of estimates that are within 30 %."""
    files = {name: recorded(name) for name in ("narrow.jsonl", "random.jsonl", "wide.jsonl")}
    table = [(float(entry.flops), entry.short[0].seconds) for entry in read_table()]
    print(f"{SEARCHES} searches of {CANDIDATES} candidates; share of estimates within 30 %")
    print(f"{'durations':14} {'workers':>7} {'all':>6} {'a candidate or more left':>25}")
    for name, known in ({**files, "table": table, "quiet": quiet()}).items():
        for workers in (1, 2, 4):
            draw = random.Random(workers)
            found = [
                each
                for _ in range(SEARCHES if len(known) >= CANDIDATES else 0)
                for each in errors(draw.sample(known, CANDIDATES), workers)
            ]
            if found:
                most = [error for error, left in found if left >= 1]
                shares = [
                    statistics.fmean(abs(error) <= 0.3 for error in these)
                    for these in ([error for error, _ in found], most)
                ]
                print(f"{name:14} {workers:7} {shares[0]:6.1%} {shares[1]:25.1%}")


if __name__ == "__main__":
    main()
