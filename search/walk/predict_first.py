"""Predicted latencies in a search, and the measurements that replace them on the front.

A prediction may reject a candidate. It never puts one on the front: all latencies there are
measured.
"""

import dataclasses
from collections.abc import Callable, Mapping

from nas_sv2.errors import ConfigError
from nas_sv2.latency.predictor.predicted_target import (
    is_predictable,
    open_predicted,
)
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.events.events import Notice, OnEvent, StageEntered, advance
from nas_sv2.search.walk.walk import Screen, Walk, is_predicted
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.storage.record_store import RecordStore

MODES = ("measured", "predicted", "auto")


def check_mode(mode: str) -> str:
    """Return `mode` if it is valid.

    Raises:
        ConfigError: If it is not.
    """
    if mode not in MODES:
        raise ConfigError("latency", mode, "must be one of " + ", ".join(MODES))
    return mode


def check_predictable(mode: str, targets: Mapping[str, Target]) -> None:
    """Refuse predictions if no target can be predicted.

    Raises:
        ConfigError: If each target has a table, or is measured in a way that is not predicted.
    """
    if mode != "measured" and not any(map(is_predictable, targets.values())):
        raise ConfigError(
            "latency",
            mode,
            "must be measured: none of the targets is measured by onnxruntime on a CPU in float32",
        )


def screened(
    walk: Walk, mode: str, space: SearchSpace, store: RecordStore, on_event: OnEvent
) -> Walk:
    """The walk with predictors for its targets; missing predictors are fitted.

    Raises:
        DeviceError: If a device is missing or cannot profile.
        MeasurementError: If a device gives no times.
        StoreError: If the database cannot be read or written.
    """
    if mode == "measured":
        return walk
    predicted: dict[str, Target] = {}
    for name, target in walk.targets.items():
        if not is_predictable(target):
            continue
        on_event(Notice(f"{name}: the predictor stored here, or 2 to 4 minutes to fit one"))
        on_event(StageEntered(f"predictor of {name}: networks timed"))
        predicted[name] = open_predicted(target, space, advance(on_event))
    screen = Screen(predicted, careful=mode == "auto", rivals=lambda: store.all().values())
    return dataclasses.replace(walk, screen=screen)


def measure_front(walk: Walk, store: RecordStore, front: Callable[[], Front]) -> None:
    """Measure networks that are on the front by predictions, until there are none.

    Args:
        walk: Times a record's network.
        store: Keeps the records.
        front: Gives the front that is reported, as it is now.

    Raises:
        DeviceError: If a target cannot be used any more.
        MeasurementError: If a target gives no latency.
        StoreError: If records cannot be read or written.
    """
    while waiting := [
        entry
        for entry in front().entries
        if any(map(is_predicted, entry.record.latencies.values()))
    ]:
        for entry in waiting:
            store.save(entry.number, walk.timed(entry.record))
