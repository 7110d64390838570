"""Times and providers of each node of a model, from onnxruntime's own profile.

The text is sent with the agent: Python 3.8, the standard library only.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, Any]

PROFILED_RUNS = 20
"""Runs in a profile, a quarter of which counts (see `undisturbed`); 40 runs were no better."""
COLD_RUNS = 3
"""First runs, which allocate memory and are left out."""
SUFFIX = "_kernel_time"


def node_times(profiled: Callable[[str], tuple[Any, Callable[[], object]]]) -> list[list[Any]]:
    """Return the nodes that ran, in order: name, operator, µs.

    Args:
        profiled: Function from a prefix of files to a session that profiles into them and a
            function that runs it once.
    """
    times: dict[str, list[float]] = {}
    operators: dict[str, str] = {}
    for node, event in _node_events(profiled, COLD_RUNS + PROFILED_RUNS):
        times.setdefault(node, []).append(event["dur"])
        operators[node] = event["args"]["op_name"]
    return [
        [node, operators[node], undisturbed(runs[-PROFILED_RUNS:])] for node, runs in times.items()
    ]


def node_providers(profiled: Callable[[str], tuple[Any, Callable[[], object]]]) -> dict[str, str]:
    """Return the execution provider of each node that runs; `profiled` as `node_times` takes it.

    A provider that compiles a part of the model runs it as one node.
    """
    return {node: event["args"]["provider"] for node, event in _node_events(profiled, 1)}


def _node_events(
    profiled: Callable[[str], tuple[Any, Callable[[], object]]], runs: int
) -> list[tuple[str, Json]]:
    """Profile runs; return the events of nodes, each with the node's name."""
    with tempfile.TemporaryDirectory() as folder:
        session, run = profiled(os.path.join(folder, "nodes"))
        for _ in range(runs):
            run()
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    return [
        (event["name"][: -len(SUFFIX)], event)
        for event in events
        if event["cat"] == "Node" and event["name"].endswith(SUFFIX)
    ]


def undisturbed(values: list[float]) -> float:
    """Return the mean of the fastest quarter: other programs can only add time.

    It resolves finer than the minimum, which is in whole µs. With five other programs on two
    cores the fit's standard deviation was 2.2 %, against 2.8 % for the mean of the middle half.
    """
    return statistics.mean(sorted(values)[: max(1, len(values) // 4)])
