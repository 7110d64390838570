"""The paper's main table: what it published of every network it compares with.

ShuffleNet V2 (Ma et al. 2018), table 8: complexity, ImageNet top-1 error, and speed on a GTX
1080Ti (batches of 8) and a Snapdragon 810 (batch 1, one thread). Rows marked "our impl." were
trained by the paper, MobileNet V1's errors are its authors'; a gap in error is partly a gap in
recipe.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from nas_sv2.errors import ConfigError

TABLE = "table8.csv"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of table 8.

    Attributes:
        level: Complexity level, named as our spaces are: 40M, 140M, 300M, 500M.
        model: The network in the paper's words.
        family: What it is a member of.
        network: Our name of it (`space.published.hand_designed`); empty where we have not built
            it.
        resolution: Side of its input.
        mflops: Its multiply-adds as published, in 10⁶.
        top1_error: Its ImageNet top-1 error, in %.
        gpu_batches_per_s: Batches of 8 images a second on the GPU; None where not published.
        arm_images_per_s: Images a second on the ARM core; None where not published.
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
        """Its ImageNet top-1 accuracy, in %."""
        return 100 - self.top1_error


@cache
def table8() -> tuple[PublishedRow, ...]:
    """All rows, in the paper's order."""
    text = resources.files("nas_sv2.studies.paper").joinpath(TABLE).read_text(encoding="utf-8")
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
    """The complexity levels in the user's words: one of them, or `all`.

    Raises:
        ConfigError: There is no such level.
    """
    levels = tuple(dict.fromkeys(row.level for row in table8()))
    if text == "all":
        return levels
    if text not in levels:
        raise ConfigError("--level", text, f"one of {', '.join(levels)}, all")
    return (text,)


def _number(text: str) -> float | None:
    return float(text) if text else None
