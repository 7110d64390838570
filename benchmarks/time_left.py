"""How right a search's estimate of the time left is, on the durations of recorded trainings.

Searches of 24 candidates draw from recorded trainings at random. At each candidate from the fifth
on, the estimate is compared with the time that the search then took.

    python benchmarks/time_left.py

`curves` and the table were recorded on a machine whose other load changed by the minute, which no
estimate can foresee. So `quiet` has the FLOPs of the space 140M with times of their power 0.66
(V2 0.5x and 1x), and a noise of 12 %.

The searches of `benchmarks/flagship` come last, as they went, with two workers and the stop rule.
Those on CIFAR-10 gave `STOPPED_AT`, those on photos did not.
"""

import heapq
import json
import lzma
import math
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from truth_table import read_table

from nas_sv2.api.study import open_study, studies
from nas_sv2.search.events.events import Event, TrialAsked, TrialFinished
from nas_sv2.search.events.time_left import POWER, TimeLeft
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.documents import architecture_from_document
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.study import load_study, trials_of

CURVES = Path(__file__).parent / "curves"
FLAGSHIP = Path(__file__).parent / "flagship"
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


def searched(file: Path, folder: Path) -> Iterator[tuple[str, list[float]]]:
    """The errors of each search of a database, as shares, from the fifth candidate on."""
    whole = folder / file.name.removesuffix(".xz")
    whole.write_bytes(lzma.decompress(file.read_bytes()))
    for summary in studies(storage=f"sqlite:///{whole}"):
        study = open_study(summary.name, storage=f"sqlite:///{whole}")
        records = study.records
        times = {
            trial.number: (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
            for trial in trials_of(load_study(study.db, summary.name))
            if trial.number in records and trial.datetime_start and trial.datetime_complete
        }
        yield summary.name, _errors_of(records, times)


def _errors_of(
    records: Mapping[int, Record], times: Mapping[int, tuple[float, float]]
) -> list[float]:
    now, estimates = SimpleNamespace(s=0.0), list[tuple[float, float | None]]()

    def listen(event: Event) -> None:
        if isinstance(event, TrialFinished):
            estimates.append((now.s, event.remaining_s))

    passes = max(record.evaluation.epochs for record in records.values())
    left = TimeLeft(listen, 2, passes=passes, clock=lambda: now.s)
    begun = [(start_s, number, False) for number, (start_s, _) in times.items()]
    ended = [(end_s, number, True) for number, (_, end_s) in times.items()]
    finished = 0
    for now.s, number, is_end in sorted([*begun, *ended]):
        record = records[number]
        if not is_end:
            left(TrialAsked(number, record.architecture, record.baseline, record.cost.flops))
            continue
        finished += 1
        took_s = now.s - times[number][0]
        left(TrialFinished(number, "finished", "", record, took_s, finished, len(times)))
    counted = estimates[FROM - 1 : -1]
    return [known_s / (now.s - at) - 1 for at, known_s in counted if known_s is not None]


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
    print(f"{'search':27} {'within 30 %':>11} {'in the first half':>18} {'median error':>13}")
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(FLAGSHIP.glob("*.db.xz")):
            for name, shares in searched(file, Path(folder)):
                half = shares[: len(shares) // 2]
                within = [
                    statistics.fmean(abs(error) <= 0.3 for error in these)
                    for these in (shares, half)
                ]
                median = statistics.median(half)
                search = f"{file.name.removesuffix('.db.xz')} {name}"
                print(f"{search:27} {within[0]:11.0%} {within[1]:18.0%} {median:+13.0%}")


if __name__ == "__main__":
    main()
