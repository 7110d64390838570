"""How often the order of candidates depends on the runtime: 200 random networks, timed in three.

    python benchmarks/runtime_order.py measure    # goes on where it ended
    python benchmarks/runtime_order.py            # prints the table of the stored times

The networks are drawn from the default space, without its guidelines. Each is timed twice, in
passes over all networks. In a pass the runtimes take turns, a few runs each, on one thread in
float32. A time is the least CPU time of the thread: on busy cores it repeated better than the
median. The same runtime in the other pass shows the noise.
"""

import json
import lzma
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nas_sv2.files import write_whole
from nas_sv2.latency.agent.agent import RUNTIMES
from nas_sv2.latency.agent.host_facts import machine_facts
from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.measurements.plan import MeasurePlan, Runtime
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.statistics import kendall_tau

FILE = Path(__file__).with_name("runtime_order.jsonl.xz")
KINDS: tuple[Runtime, ...] = ("onnxruntime", "litert", "ncnn")
NETWORKS, PASSES = 200, 2
ROUNDS, UNTIMED, TIMED = 5, 1, 3
"""A round of a runtime: runs after the others', and runs that count."""
ALIKE = 0.05
"""Networks whose FLOPs differ by no more than this share are alike."""

Row = dict[str, Any]


def main() -> None:
    """Measure what is missing, or print the table."""
    if sys.argv[1:] == ["measure"]:
        measure()
    print(table(stored()))


def stored() -> list[Row]:
    """The rows of the file: pass, digest, FLOPs, ms of runs by runtime."""
    if not FILE.exists():
        return []
    return [json.loads(line) for line in lzma.decompress(FILE.read_bytes()).splitlines()]


def networks() -> list[Architecture]:
    """Distinct random networks of the default space."""
    space, suggester = named_space("140M"), RandomSuggester(random.Random(0))
    found: dict[str, Architecture] = {}
    while len(found) < NETWORKS:
        network = space.sample(suggester)
        found[network.digest] = network
    return list(found.values())


def measure() -> None:
    """Time each network in each pass, and write the file after each."""
    rows = stored()
    known = {(row["pass"], row["network"]) for row in rows}
    for number in range(PASSES):
        for network in networks():
            if (number, network.digest) in known:
                continue
            row = {
                "pass": number,
                "network": network.digest,
                "flops": cost_of(lower(network)).flops,
            }
            rows.append({**row, **facts(), "ms": runs_of(network)})
            text = "".join(json.dumps(row) + "\n" for row in rows)
            write_whole(FILE, lzma.compress(text.encode()))


def plan_of(kind: Runtime) -> MeasurePlan:
    """The plan of a runtime, in float32."""
    return CPU_PLAN.changed(runtime=kind, precision="fp32")


def facts() -> Row:
    """The machine, and the versions of the runtimes."""
    found = {kind: RUNTIMES[kind].facts(plan_of(kind).to_json()) for kind in KINDS}
    versions = {kind: found[kind]["runtime_version"] for kind in KINDS}
    return {"cpu": machine_facts()["cpu"], "versions": versions}


def runs_of(network: Classifier) -> dict[str, list[float]]:
    """The CPU times of runs, in ms, by runtime."""
    runs: dict[str, Callable[[], object]] = {}
    for kind in KINDS:
        plan = plan_of(kind)
        runs[kind] = RUNTIMES[kind].load(payload_of(network, plan).body, plan.to_json()).run
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(ROUNDS):
        for place in range(len(KINDS)):
            kind = KINDS[(place + turn) % len(KINDS)]
            for number in range(UNTIMED + TIMED):
                began = time.thread_time_ns()
                runs[kind]()
                if number >= UNTIMED:
                    taken[kind].append(round((time.thread_time_ns() - began) / 1e6, 3))
    return taken


def table(rows: Sequence[Row]) -> str:
    """Agreement of each pair of runtimes, and of each runtime with itself, as Markdown."""
    by_pass = [{row["network"]: row for row in rows if row["pass"] == n} for n in range(PASSES)]
    both = [digest for digest in by_pass[0] if all(digest in other for other in by_pass)]
    flops = np.array([by_pass[0][digest]["flops"] for digest in both], float)
    ms = {
        (kind, n): np.array([min(by_pass[n][digest]["ms"][kind]) for digest in both])
        for kind in KINDS
        for n in range(PASSES)
    }
    last = rows[-1]
    versions = ", ".join(f"{kind} {version}" for kind, version in last["versions"].items())
    lines = [
        f"{len(both)} networks of {flops.min() / 1e6:.0f} to {flops.max() / 1e6:.0f} MFLOPs",
        f"one thread of {last['cpu']}; {versions}",
        "",
        "| orders compared | Kendall τ | pairs in another order | of pairs alike in FLOPs "
        "| of pairs that both repeat |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, pairs in compared(flops, ms):
        found = np.array([agreement(one, other, flops) for one, other in pairs]).mean(axis=0)
        cells = [f"{found[0]:.3f}", f"{found[1]:.1%}", f"{found[2]:.1%}", settled(name, ms)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *effects(both, ms)])


Times = np.ndarray[Any, Any]
Pairs = list[tuple[Times, Times]]


def compared(flops: Times, ms: dict[tuple[Runtime, int], Times]) -> Iterator[tuple[str, Pairs]]:
    """What is compared, with the values: runtimes in different passes, so that all have noise."""
    for kind in KINDS:
        yield f"{kind}, once and again", [(ms[kind, 0], ms[kind, 1])]
    for one, other in combinations(KINDS, 2):
        yield f"{one}, {other}", [(ms[one, n], ms[other, 1 - n]) for n in range(PASSES)]
    for kind in KINDS:
        yield f"FLOPs, {kind}", [(flops, ms[kind, n]) for n in range(PASSES)]


def agreement(one: Times, other: Times, flops: Times) -> tuple[float, float, float]:
    """Kendall's τ, and the share of pairs in another order: of all, of those alike in FLOPs."""
    first, second = np.triu_indices(len(flops), 1)
    swapped = np.sign(one[first] - one[second]) != np.sign(other[first] - other[second])
    alike = abs(flops[first] / flops[second] - 1) <= ALIKE
    return float(kendall_tau(one, other)), float(swapped.mean()), float(swapped[alike].mean())


def settled(name: str, ms: dict[tuple[Runtime, int], Times]) -> str:
    """The share of pairs in another order, of those that two runtimes order alike in each pass."""
    pair = tuple(kind for kind in KINDS if kind in name.split(", "))
    if len(pair) < 2:
        return ""
    first, second = np.triu_indices(len(ms[KINDS[0], 0]), 1)
    orders = {key: np.sign(each[first] - each[second]) for key, each in ms.items()}
    kept = np.all([orders[kind, 0] == orders[kind, 1] for kind in pair], axis=0)
    swapped = orders[pair[0], 0] != orders[pair[1], 0]
    return f"{swapped[kept].mean():.1%}"


OPTIONS = ("kernel 5", "kernel 7", "se", "residual", "wide field")


def effects(digests: Sequence[str], ms: dict[tuple[Runtime, int], Times]) -> list[str]:
    """What an option in one more stage changes, relative to onnxruntime, by regression."""
    drawn = {network.digest: network for network in networks()}
    counts = np.array([options_of(drawn[digest]) for digest in digests])
    design = np.column_stack([counts, np.ones(len(counts))])
    logs = {kind: np.mean([np.log(ms[kind, n]) for n in range(PASSES)], axis=0) for kind in KINDS}
    lines = [
        "| relative to onnxruntime | all | " + " | ".join(OPTIONS) + " |",
        "| --- " * (len(OPTIONS) + 2) + "|",
    ]
    for kind in KINDS[1:]:
        ratio = logs[kind] - logs[KINDS[0]]
        found, *_ = np.linalg.lstsq(design, ratio)
        cells = [
            f"{np.exp(ratio.mean()):.2f}",
            *(f"{np.exp(each) - 1:+.0%}" for each in found[:-1]),
        ]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


def options_of(network: Architecture) -> Times:
    """The number of stages with each of `OPTIONS`."""
    stages = network.stages
    has = [[s.kernel == 5, s.kernel == 7, s.se, s.residual, s.wide_field] for s in stages]
    return np.array([sum(stage) for stage in zip(*has, strict=True)])


if __name__ == "__main__":
    main()
