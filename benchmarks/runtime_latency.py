"""Times the paper's networks in every runtime, in alternation.

The table of `docs/lab/2026-11-29-latency-in-four-runtimes.md`:

    python benchmarks/runtime_latency.py    # prints the table, in minutes

All networks in all runtimes are loaded in one process, on one thread, in float32. In each round
every one of them runs briefly, so that a slow spell of the machine meets all. Protocol and
statistics are those of every measurement.
"""

import functools
import statistics
from collections.abc import Callable
from typing import Any

from nas_sv2.latency.agent.agent import RUNTIMES
from nas_sv2.latency.agent.estimator import (
    Samples,
    chosen,
    median_interval,
    ratio_interval,
    times_of,
)
from nas_sv2.latency.agent.host_facts import machine_facts
from nas_sv2.latency.agent.timed_runs import Network, timed
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.measurements.plan import MeasurePlan, Runtime
from nas_sv2.space.families.published import published_network

NETWORKS = (
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "mobilenet_v2_x1_0",
    "resnet50",
)
KINDS: tuple[Runtime, ...] = ("onnxruntime", "litert", "ncnn", "torch")
TIME_LIMIT_S = 4.0
"""Seconds for each network in each runtime. Beside other programs, the usual 0.75 s gave intervals
wider than the differences."""


def plan_in(runtime: Runtime) -> MeasurePlan:
    """The usual plan, for longer and without a reference network."""
    return MeasurePlan(
        runtime=runtime,
        lowering="plain" if runtime == "torch" else "shuffle_free",
        reference=None,
        time_limit_s=TIME_LIMIT_S,
        noisy_time_limit_s=TIME_LIMIT_S,
    )


def samples_of_all() -> dict[tuple[str, Runtime], Samples]:
    """The runs of each network in each runtime."""
    loads, keys = list[Callable[[], Network]](), list[tuple[str, Runtime]]()
    for name in NETWORKS:
        for runtime in KINDS:
            plan = plan_in(runtime)
            body = payload_of(published_network(name), plan).body
            stated = {**plan.to_json(), "cpu_time_is_latency": True}
            loads.append(functools.partial(RUNTIMES[runtime].load, body, stated))
            keys.append((name, runtime))
    settings = {**plan_in("onnxruntime").to_json(), "cpu_time_is_latency": True}
    found = timed(loads, settings)["networks"]
    return {key: _samples(answer) for key, answer in zip(keys, found, strict=True)}


def _samples(answer: dict[str, Any]) -> Samples:
    wall, cpu = ([ns / 1e6 for ns in answer[name]] for name in ("wall_ns", "cpu_ns"))
    return Samples(wall, cpu, answer["switches"], answer["rounds"])


def cell(samples: Samples, against: Samples) -> str:
    """Median and interval in ms, and the ratio to another runtime with its interval."""
    choice = chosen(samples, True)
    median = statistics.median(times_of(samples, choice))
    said = f"{median:.2f} ({_range(median_interval(samples, choice))})"
    if samples is against:
        return said
    found = ratio_interval(samples, against, True)
    assert found is not None, "every round has runs of all"
    return f"{said}, {found[0]:.2f} ({_range(found[1])})"


def _range(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"


def main() -> None:
    """Print the table as Markdown."""
    versions = {
        runtime: RUNTIMES[runtime].facts(plan_in(runtime).to_json())["runtime_version"]
        for runtime in KINDS
    }
    found = samples_of_all()
    runs = [len(samples.wall) for samples in found.values()]
    print(f"{machine_facts()['cpu']}; {min(runs)} to {max(runs)} runs each")
    print(
        "| network | "
        + " | ".join(f"{name} {version}" for name, version in versions.items())
        + " |"
    )
    print("| --- " * (1 + len(KINDS)) + "|")
    for name in NETWORKS:
        base = found[name, KINDS[0]]
        cells = [cell(found[name, runtime], base) for runtime in KINDS]
        print("| " + " | ".join([name, *cells]) + " |")


if __name__ == "__main__":
    main()
