"""Workers of a study with stand-ins for training and device: the real loop, leases and processes.

    worker_program.py JOB

JOB is the fields of a `Job` as JSON. Prints a line of JSON for each worker's process, each trial
that ended and whatever is waited for; the last one says whether all went well.
"""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from doubles import FakeEvaluator
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import NasError, StoreError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.devices.command import CommandTemplate
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.open_device import device_at
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.search.asking.sampler import SamplerSetting
from nas_sv2.search.asking.samplers import SAMPLERS
from nas_sv2.search.events.events import (
    Event,
    Notice,
    OnEvent,
    StageEntered,
    TrialFinished,
    enter,
    notify,
)
from nas_sv2.search.events.interrupts import sigterm_interrupts
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.scale.processes import run_workers
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.search_space import Range, SearchSpace, StageChoices
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, store_errors, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder
from nas_sv2.testing import FakeDevice

PLAN = MeasurePlan(
    loads=1, warmup_runs=3, min_runs=10, max_runs=20, time_limit_s=0.1, noisy_time_limit_s=0.1
)


def space() -> SearchSpace:
    """Some 100,000 small networks."""
    stages = tuple(StageChoices(Range(1, 2), Range(low, low + 128, 8)) for low in (16, 144, 272))
    return SearchSpace("workers", ((8,),), stages, Range(16, 128, 16), resolution=32, classes=10)


@dataclass(frozen=True)
class Job:
    """What a group does.

    Attributes:
        storage: The database.
        trials: How many are wanted of the study `s`.
        workers: How many there are.
        seconds: A training sleeps so long.
        expires_s: See `Loop`.
        sampler: See `SAMPLERS`.
        weights_bytes: Of each network, kept as those of a training are; 0 for none.
        board: The folder of a `board.py` to measure on; empty for a device that answers at once.
    """

    storage: str
    trials: int
    workers: int
    seconds: float = 0.3
    expires_s: float = 3.0
    sampler: str = "random"
    weights_bytes: int = 0
    board: str = ""


@dataclass(frozen=True)
class Keeping:
    """An evaluator that keeps weights as `StoredEvaluator` does: where it can."""

    name: ClassVar[str] = "keeping"

    inner: FakeEvaluator
    weights: WeightsFolder
    size: int
    notify: Callable[[str], None]

    def evaluate(self, architecture: Architecture) -> Evaluation:
        evaluation = self.inner.evaluate(architecture)
        if self.size:
            numbers = np.full(self.size // 4, int(architecture.digest[:6], 16), np.float32)
            try:
                self.weights.save(architecture.digest, {"all": numbers})
            except StoreError as error:
                self.notify(str(error))
        return evaluation


def target_of(job: Job, measurements: MeasurementStore, on_event: OnEvent) -> MeasuredTarget:
    """What is measured on."""
    if not job.board:
        return MeasuredTarget(MeasuredDevice("fake", FakeDevice(), PLAN, measurements))
    words = (sys.executable, "-S", str(Path(__file__).with_name("board.py")), job.board, "{argv}")
    board = device_at("board", CommandTemplate(words), measurements, notify(on_event))
    board.waits_s = (0.2, 0.4, 0.8)  # of a device that stays away
    plan = dataclasses.replace(PLAN, reference=None, timeout_s=2.0)
    return MeasuredTarget(MeasuredDevice("fake", board, plan, measurements))


def work(job: Job, number: int, on_event: OnEvent) -> None:
    """One worker, of this process."""
    choice = SAMPLERS[job.sampler]
    with Database.open(job.storage) as db, store_errors():
        measurements = MeasurementStore(db)
        identity = {"targets": {"fake": "measured"}}
        seed = int.from_bytes(os.urandom(4), "big")
        study = create_or_resume(db, "s", identity, RandomSampler())
        store = RecordStore(db, study_key(study))
        weights = WeightsFolder.of_study(db, store.study)
        evaluator = Keeping(
            FakeEvaluator(job.seconds), weights, job.weights_bytes, notify(on_event)
        )
        learns = choice.learns_from_pruned
        with closing(target_of(job, measurements, on_event)) as target:
            walk = Walk(Guidelines({}), Budget(), {"fake": target}, evaluator, enter(on_event))
            search = SamplerSetting(space(), walk, Guidelines({}), Audit(0.0))
            study.sampler = choice.make(seed, search)
            loop = Loop(
                study,
                space(),
                walk,
                store,
                weights,
                learns,
                on_event,
                expires_s=job.expires_s,
            )
            on_event(Notice(f"process {os.getpid()}"))
            loop.run(job.trials)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def say_event(event: Event) -> None:
    """Print what a test asks about."""
    match event:
        case Notice(reason):
            kind, _, rest = reason.partition(" ")
            if kind == "process":
                say(pid=int(rest))
            else:
                say(waits=reason)
        case StageEntered(stage):
            say(entered=stage)
        case TrialFinished():
            say(trial=event.number, verdict=event.verdict, reason=event.reason)


def main(text: str) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    job = Job(**json.loads(text))
    try:
        with sigterm_interrupts():
            errors = run_workers(partial(work, job), job.workers, say_event)
    except KeyboardInterrupt:
        return 130
    except NasError as error:
        errors = [error]
    say(errors=[str(error) for error in errors])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
