"""A search in seconds: the real loop and a real device, stand-ins for the trainings.

    mini_search.py DATABASE STUDY TARGET TRIALS

Runs in a folder whose nas-sv2.toml names the target. Prints a line of JSON for every measurement
and every trial. Exit code 1 where a device is gone.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from doubles import FakeEvaluator, small_space
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import DeviceError
from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.devices.reconnecting import ReconnectingDevice
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search.asking.samplers import SAMPLERS
from nas_sv2.search.events.events import Event, TrialFinished
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume
from nas_sv2.studies.storage.weights_folder import WeightsFolder


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


@dataclass
class Timed:
    """An agent's device that tells when it was measured on."""

    inner: AgentDevice

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        began = time.monotonic()
        try:
            return self.inner.measure(payloads, plan, reference=reference)
        finally:
            say(measured=[began, time.monotonic()])


def say_ends(event: Event) -> None:
    """Print how a trial ended."""
    if isinstance(event, TrialFinished):
        say(trial=event.number, verdict=event.verdict, reason=event.reason)


def main(database: str, name: str, target: str, trials: str) -> int:
    url = f"sqlite:///{database}"
    with Database.open(url) as db:
        return search(db, name, target, int(trials))


def search(db: Database, name: str, target: str, trials: int) -> int:
    db.migrate()
    records, choice = RecordStore(db, name), SAMPLERS["random"]
    identity = {"targets": {target: "measured"}}
    study = create_or_resume(db, name, identity, RandomSampler(seed=len(records.all())))
    pruned = choice.learns_from_pruned
    try:
        opened = TargetBook.read().open(
            target, store=MeasurementStore(db), fresh=True, notify=lambda line: say(told=line)
        )
        # A test of a device that stays away must end soon.
        assert opened.device is not None
        device = opened.device.device
        assert isinstance(device, ReconnectingDevice)
        device.waits_s = (0.2, 0.4, 0.8)
        device.inner = Timed(device.inner)  # type: ignore[assignment]
        walk = Walk(Guidelines({}), Budget(), {target: opened}, FakeEvaluator())
        weights = WeightsFolder.of_study(db, name)
        Loop(study, small_space(), walk, records, weights, pruned, say_ends).run(trials)
        opened.close()
    except DeviceError as error:
        say(ended_by=str(error))
        return 1
    say(records=len(records.all()))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
