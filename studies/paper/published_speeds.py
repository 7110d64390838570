"""The speeds of the paper's Tables 1 to 4, on both of its platforms, one image at a time.

GPU: a GTX 1080Ti with cuDNN 7.0, in batches a second; the batch is of one image
(`latency.experiment_run`). ARM: one core of a Snapdragon 810, in images a second.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from nas_sv2.space.experiments.paper import Experiment, ExperimentTable, Platform

TABLE = "tables_1_to_4.csv"


@dataclass(frozen=True, slots=True)
class PublishedSpeed:
    """What the paper says of an experiment on one platform.

    Attributes:
        per_second: Networks run in a second.
        relative_time: Its time relative to that of the first of its group.
    """

    per_second: float
    relative_time: float


def published_speeds(
    table: ExperimentTable,
) -> Mapping[Experiment, Mapping[Platform, PublishedSpeed]]:
    """What the paper says of the experiments of a table; nothing of those it did not make."""
    found: dict[Experiment, dict[Platform, PublishedSpeed]] = {}
    for group in table.groups:
        for each in group:
            speeds = _speeds().get((table.name, each.group, each.variant), {})
            firsts = _speeds().get((table.name, each.group, group[0].variant), {})
            found[each] = {
                platform: PublishedSpeed(speed, firsts[platform] / speed)
                for platform, speed in speeds.items()
            }
    return found


@cache
def _speeds() -> dict[tuple[str, str, str], dict[Platform, float]]:
    """Networks a second by table, group and variant."""
    text = (resources.files("nas_sv2.studies.paper") / TABLE).read_text(encoding="utf-8")
    found: dict[tuple[str, str, str], dict[Platform, float]] = {}
    for row in csv.DictReader(text.splitlines()):
        platform: Platform = "GPU" if row["platform"] == "GPU" else "ARM"
        key = (row["table"], row["group"], row["variant"])
        found.setdefault(key, {})[platform] = float(row["speed"])
    return found
