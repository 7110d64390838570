"""Whether the interval of one `nas-sv2 measure` command holds the figure of another.

Separate commands time four networks in turn, all with one database, after a grade of the device.
The interval of each command is then held against the figures of all others. It is computed with
three states of knowledge: nothing known of the device, its grade, and the grade with the commands
before. Each answer is kept in FOLDER, so that the script can be interrupted and started again.

    python benchmarks/repeatability.py FOLDER            # idle: 7 minutes
    python benchmarks/repeatability.py FOLDER --busy     # beside one endless loop a core
    python benchmarks/repeatability.py FOLDER --report   # runs nothing
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

from contention import every_core_busy

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.exchange import Counts, stored_measurements
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.repeatability import EARLIER, seen_by
from nas_sv2.latency.measurements.spread import NOT_SEEN, Interval
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.space.units.reference import reference

NETWORKS = tuple(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0"))
COMMANDS = 20
STATES = ("idle", "busy")
KNOWN = ("nothing known", "graded", "graded, earlier commands")

Figure = tuple[float, Interval | None]


def main() -> None:
    """Hold the commands that FOLDER lacks, and print how often intervals hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commands", type=int, default=COMMANDS)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not asked.report:
        with every_core_busy() if asked.busy else nullcontext():
            run(asked.folder, STATES[asked.busy], asked.commands)
    held = {state: of_folder(asked.folder, state) for state in STATES}
    print(f"{'':32} {'commands':>8} {'ms held':>8} {'±':>6} {'ratio':>6} {'±':>6}")
    for known in KNOWN:
        by_state = {s: with_knowledge(*one, known) for s, one in held.items() if one[0]}
        for state, commands in by_state.items():
            print(f"{state}, {known}")
            for name, of_network in by_network(commands).items():
                line(name, list(permutations(of_network, 2)))
            line("all", [p for one in by_network(commands).values() for p in permutations(one, 2)])
        if len(by_state) == len(STATES):
            print(f"idle held against busy and the other way round, {known}")
            idle, busy = (by_network(commands) for commands in by_state.values())
            for name in NETWORKS:
                pairs = list(product(idle[name], busy[name]))
                line(name, [*pairs, *((two, one) for one, two in pairs)])


def run(folder: Path, state: str, commands: int) -> None:
    """Grade the device, then measure each network until it has so many commands."""
    log = folder / f"{state}.log"
    if not log.exists():
        nas_sv2(folder, state, "device", "grade", "--target", "cpu")
        log.touch()
    done = [text.split(":")[0] for text in log.read_text().splitlines()]
    for number, name in product(range(commands), NETWORKS):
        label = f"{name} {number}"
        if label in done:
            continue
        began = time.perf_counter()
        nas_sv2(folder, state, "measure", name, "--target", "cpu", "--fresh")
        took = f"{label}: {time.perf_counter() - began:.1f} s, load {os.getloadavg()[0]:.1f}"
        with log.open("a") as lines:
            lines.write(f"{took}\n")
        print(f"{state} {took}", flush=True)


def nas_sv2(folder: Path, state: str, *words: str) -> None:
    """Run a command with the database of the state; a poor grade (exit 1) is one too."""
    command = [sys.executable, "-m", "nas_sv2", *words, "--storage", address(folder, state)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1 if "grade" in words else 0):
        sys.exit(done.stderr)


def address(folder: Path, state: str) -> str:
    """Return the URL of the database of a state."""
    return f"sqlite:///{(folder / state).resolve()}.db"


def of_folder(folder: Path, state: str) -> tuple[list[Measurement], Grade | None]:
    """Return the commands of a state in their order, and the grade before them."""
    if not (folder / f"{state}.log").exists():
        return [], None
    with Database.open(address(folder, state)) as db:
        store = MeasurementStore(db)
        found = [one for one in stored_measurements(store, Counts()) if len(one.starts) > 1]
        grade = store.grade(found[0].fingerprint, found[0].plan) if found else None
    return found, grade


def with_knowledge(
    commands: Sequence[Measurement], grade: Grade | None, known: str
) -> list[Measurement]:
    """Return the commands with what each could know of the device."""
    times = [one.reference_ms for one in commands]
    found = []
    for number, one in enumerate(commands):
        earlier = times[max(0, number - EARLIER) : number] if known == KNOWN[2] else []
        knows = NOT_SEEN if known == KNOWN[0] else seen_by(grade, [ms for ms in earlier if ms])
        found.append(replace(one, repeatability=knows))
    return found


def by_network(commands: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Return the commands of each network."""
    return {
        name: [one for one in commands if one.architecture == reference(name).digest]
        for name in NETWORKS
    }


def line(name: str, pairs: Sequence[tuple[Measurement, Measurement]]) -> None:
    """Print how often the first command's interval holds the second's figure, and its width."""
    if not pairs:
        return
    times = [((one.median_ms, one.ci_ms), other.median_ms) for one, other in pairs]
    ratios = [(one.ratio, other.ratio[0]) for one, other in pairs if one.ratio and other.ratio]
    count = len({id(one) for one, _ in pairs})
    print(f"  {name:30} {count:8} {_held(times)} {_held(ratios)}", flush=True)


def _held(pairs: Sequence[tuple[Figure, float]]) -> str:
    """Return the share of intervals that hold the other figure, and the median half width."""
    known = [(ms, interval, other) for (ms, interval), other in pairs if interval is not None]
    held = statistics.mean(low <= other <= high for _, (low, high), other in known)
    half = statistics.median((high - low) / 2 / ms for ms, (low, high), _ in known)
    return f"{held:8.0%} {half:6.1%}"


if __name__ == "__main__":
    main()
