"""The first measurements of a search: networks that cover the space, timed before any training.

A target that has to run networks tells a sampler no latency. A few measurements take seconds, and
the model of latency then knows something before the first candidates are trained.
"""

import random
from collections.abc import Mapping, Sequence

import numpy as np

from nas_sv2.counts import counted
from nas_sv2.errors import MeasurementError
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.asking.judge import features_of
from nas_sv2.search.asking.sampler import SamplerSetting, Timed
from nas_sv2.search.events.events import Notice, OnEvent, StageEntered, advance
from nas_sv2.search.walk.drift_correction import Attributes
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.estimates.improvement import spread
from nas_sv2.studies.findings.attributes import FIRST_MS

FIRST, DRAWN = 12, 100
"""Networks that are timed, and those that they are chosen from."""


def timed_first(
    search: SamplerSetting, seed: int, study: Attributes, on_event: OnEvent
) -> Mapping[str, Sequence[Timed]]:
    """Return networks and their latencies in ms, by target that has to run them.

    They keep the limits on cost and the guidelines. They are timed once in a study, which keeps
    the latencies. A target without a device or without a store of measurements is left out.

    Raises:
        DeviceError: A device is missing, unreachable or lacks its runtime.
        StoreError: A measurement cannot be kept.
    """
    running = {
        name: target
        for name, target in search.walk.targets.items()
        if name not in search.free and target.device is not None and target.device.store
    }
    if not running:
        return {}
    drawn = search.candidates.drawn(DRAWN, random.Random(f"{seed} timed first"))
    within = [one for one in drawn if max(one.excesses.values(), default=0.0) <= 0]
    if not within:
        return {}
    points = features_of(within)
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-9)
    chosen = {
        within[place].architecture.digest: within[place]
        for place in spread(points, min(FIRST, len(within)), points[:0])
    }
    known: dict[str, dict[str, float]] = dict(study.user_attrs.get(FIRST_MS, {}))
    for name, target in running.items():
        if name not in known:
            timed = counted(len(chosen), "network")
            on_event(Notice(f"{name}: timing {timed}, so that the search knows it"))
            on_event(StageEntered(f"latency on {name}: networks that cover the space"))
            networks = [one.architecture for one in chosen.values()]
            known[name] = _timed(name, target, networks, on_event)
            study.set_user_attr(FIRST_MS, known)
    return {
        name: [(chosen[digest], ms) for digest, ms in known[name].items() if digest in chosen]
        for name in running
    }


def _timed(
    name: str, target: Target, networks: Sequence[Architecture], on_event: OnEvent
) -> dict[str, float]:
    """Time networks; one that gives no latency is left out, and named."""
    found = {}
    for number, network in enumerate(networks):
        advance(on_event)(number, len(networks))
        try:
            found[network.digest] = target.estimate(network).ms
        except MeasurementError as error:
            left = f"{name}: {network.digest[:8]} is left out of the first measurements: {error}"
            on_event(Notice(left))
    return found
