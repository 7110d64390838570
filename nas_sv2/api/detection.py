"""Detectors: the paper's Table 7 on a target."""

from contextlib import closing

from nas_sv2.api.arguments import Notify, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.documents import Side, check_value
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.studies.paper.detection import DetectionTable as DetectionTable
from nas_sv2.studies.paper.detection import time_table_7
from nas_sv2.studies.paper.published_figures import levels_of


def time_detection_table(
    target: str,
    *,
    level: str = "all",
    height: int = 800,
    width: int = 1200,
    whole: bool = True,
    fresh: bool = False,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> DetectionTable:
    """Time the paper's Table 7 on a target: backbones of a detector, alone and in the whole.

    Args:
        target: The name of one target.
        level: `40M`, `140M`, `300M`, `500M` or `all`.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        whole: Whether to time the whole detectors too.
        fresh: Measure although a result is stored.
        storage: The URL of the database, or an open handle.
        notify: Is called with a line before each part.

    Raises:
        ConfigError: A value is not allowed, or the images are too small.
        NasError: The target failed.
    """
    for field, value in (("height", height), ("width", width)):
        check_value(field, value, Side)
    levels = levels_of(level)
    book, db = TargetBook.read(), database_of(storage)
    name = book.one(target)
    opened = book.open(name, store=MeasurementStore(db), fresh=fresh, notify=notify)
    with closing(opened):
        return time_table_7(
            opened,
            levels,
            height,
            width,
            whole=whole,
            begun=lambda what: notify(f"{name}: {what}"),
        )
