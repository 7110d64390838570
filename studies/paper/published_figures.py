"""Numbers that the paper publishes: its Table 8, and the speeds of its Tables 1 to 4.

The GPU is a GTX 1080Ti with cuDNN 7.0. Table 8 gives batches of 8 images per second; Tables 1 to 4
give batches of one image per second (`latency.guidelines.experiment_run`). ARM is one core of a
Snapdragon 810, in images per second.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from nas_sv2.errors import ConfigError
from nas_sv2.space.experiments.paper import Experiment, ExperimentTable, Platform

TABLE_8 = "table8.csv"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of table 8.

    Attributes:
        level: Complexity level, with the names of our spaces: 40M, 140M, 300M, 500M.
        model: Name of the network in the paper.
        family: Family of the network.
        network: Our name of the network (`published_network`); empty if we have not built it.
        resolution: Side of the input.
        mflops: Published multiply-adds, in 10⁶.
        top1_error: ImageNet top-1 error, in %.
        gpu_batches_per_s: Batches of 8 images per second on the GPU; None if not published.
        arm_images_per_s: Images per second on the ARM core; None if not published.
    """

    level: str
    model: str
    family: str
    network: str
    resolution: int
    mflops: float
    top1_error: float
    gpu_batches_per_s: float | None
    arm_images_per_s: float | None

    @property
    def top1_accuracy(self) -> float:
        """ImageNet top-1 accuracy, in %."""
        return 100 - self.top1_error


@cache
def table8() -> tuple[PublishedRow, ...]:
    """Read all rows, in the paper's order."""
    text = resources.files("nas_sv2.studies.paper").joinpath(TABLE_8).read_text(encoding="utf-8")
    return tuple(
        PublishedRow(
            row["level"],
            row["model"],
            row["family"],
            row["network"],
            int(row["resolution"]),
            float(row["mflops"]),
            float(row["top1_error"]),
            _number(row["gpu_batches_per_s"]),
            _number(row["arm_images_per_s"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def levels_of(text: str) -> tuple[str, ...]:
    """Return the complexity levels that `text` names: one level, or `all`.

    Raises:
        ConfigError: If there is no such level.
    """
    levels = tuple(dict.fromkeys(row.level for row in table8()))
    if text == "all":
        return levels
    if text not in levels:
        raise ConfigError("level", text, f"must be one of {', '.join(levels)}, all")
    return (text,)


def _number(text: str) -> float | None:
    return float(text) if text else None


TABLES_1_TO_4 = "tables_1_to_4.csv"


@dataclass(frozen=True, slots=True)
class PublishedSpeed:
    """A published speed of an experiment on one platform.

    Attributes:
        per_second: Runs of the network per second.
        relative_time: Time relative to the first experiment of the group.
    """

    per_second: float
    relative_time: float


def published_speeds(
    table: ExperimentTable,
) -> Mapping[Experiment, Mapping[Platform, PublishedSpeed]]:
    """Return published speeds of the experiments of a table, empty for those not in the paper."""
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
    """Read the runs per second by table, group and variant."""
    text = (resources.files("nas_sv2.studies.paper") / TABLES_1_TO_4).read_text(encoding="utf-8")
    found: dict[tuple[str, str, str], dict[Platform, float]] = {}
    for row in csv.DictReader(text.splitlines()):
        platform: Platform = "GPU" if row["platform"] == "GPU" else "ARM"
        key = (row["table"], row["group"], row["variant"])
        found.setdefault(key, {})[platform] = float(row["speed"])
    return found
