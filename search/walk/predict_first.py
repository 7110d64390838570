"""Predicted latencies in a search: which targets have them, and what of them is measured at last.

A prediction may turn a candidate away. It never puts one on the front: what stands there is
measured.
"""

import dataclasses
from collections.abc import Mapping

from nas_sv2.errors import ConfigError
from nas_sv2.latency.predictor.fit import Progress
from nas_sv2.latency.predictor.predicted_target import (
    PredictedTarget,
    is_predictable,
    open_predicted,
)
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.events.events import Notice, OnEvent, StageEntered, advance
from nas_sv2.search.walk.walk import Screen, Walk, is_predicted
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.studies.findings.front import front_of
from nas_sv2.studies.storage.record_store import RecordStore

MODES = ("measured", "predicted", "auto")


def check_mode(mode: str) -> str:
    """`mode`, if it is one.

    Raises:
        ConfigError: It is none.
    """
    if mode not in MODES:
        raise ConfigError("latency", mode, "must be one of " + ", ".join(MODES))
    return mode


def check_predictable(mode: str, targets: Mapping[str, Target]) -> None:
    """Refuse to predict where no target can be.

    Raises:
        ConfigError: Every target is priced by a table, or measured in a way that is not predicted.
    """
    if mode != "measured" and not any(map(is_predictable, targets.values())):
        raise ConfigError(
            "latency",
            mode,
            "must be measured: none of the targets is measured by onnxruntime on a CPU",
        )


def screened(
    walk: Walk, mode: str, space: SearchSpace, store: RecordStore, on_event: OnEvent
) -> Walk:
    """The walk with predictors for its targets, which are fitted where there are none.

    Raises:
        DeviceError: A device is missing or cannot profile.
        MeasurementError: It gave no times.
        StoreError: The database cannot be read or written.
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


def predictor_of(
    target: Target, space: SearchSpace, progress: Progress, fresh: bool = False
) -> PredictedTarget:
    """The stored predictor of a target, else, or if it is to be `fresh`, a new one.

    Raises:
        ConfigError: The target is none that can be predicted.
        NasError: See `screened`.
    """
    if not is_predictable(target):
        allowed = "must be a target that is measured by onnxruntime on a CPU"
        raise ConfigError("target", target.name, allowed)
    return open_predicted(target, space, progress, fresh)


def measure_front(walk: Walk, store: RecordStore) -> None:
    """Measure what stands on the front by predictions, until nothing does.

    Raises:
        DeviceError: A target cannot be used any more.
        MeasurementError: A target gave no latency.
        StoreError: Records cannot be read or written.
    """
    while waiting := [
        entry
        for entry in front_of(store.all())
        if any(map(is_predicted, entry.record.latencies.values()))
    ]:
        for entry in waiting:
            store.save(entry.number, walk.timed(entry.record))
