"""How long each node of a model takes, from onnxruntime's own profile.

The text travels with the agent: Python 3.8, the standard library only.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILED_RUNS = 20
"""Of which a quarter counts, see `undisturbed`; 40 runs were no better."""
COLD_RUNS = 3
"""The first runs are left out: they allocate."""
SUFFIX = "_kernel_time"


def node_times(profiled: Callable[[str], tuple[Any, Callable[[], object]]]) -> list[list[Any]]:
    """The nodes that ran, in their order: name, operator, µs.

    Args:
        profiled: Gives a session that profiles into files of a prefix, and what runs it once.
    """
    with tempfile.TemporaryDirectory() as folder:
        session, run = profiled(os.path.join(folder, "nodes"))
        for _ in range(COLD_RUNS + PROFILED_RUNS):
            run()
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    times: dict[str, list[float]] = {}
    operators: dict[str, str] = {}
    for event in events:
        name = event["name"]
        if event["cat"] == "Node" and name.endswith(SUFFIX):
            node = name[: -len(SUFFIX)]
            times.setdefault(node, []).append(event["dur"])
            operators[node] = event["args"]["op_name"]
    return [
        [node, operators[node], undisturbed(runs[-PROFILED_RUNS:])] for node, runs in times.items()
    ]


def undisturbed(values: list[float]) -> float:
    """The mean of the fastest quarter: what else runs on the machine only ever adds time.

    It is finer than the least of whole µs. With five other programs on two cores it left networks
    off by 2.2 % (standard deviation of the fit), the mean of the middle half by 2.8 %.
    """
    return statistics.mean(sorted(values)[: max(1, len(values) // 4)])
