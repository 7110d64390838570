"""Workers of a study with stand-ins for training and device: the real loop, leases and processes.

    crew.py STORAGE STUDY TRIALS WORKERS SECONDS EXPIRES_S

A training sleeps SECONDS. Prints a line of JSON for each worker's process, each trial that ended
and whatever is waited for; the last one says whether all went well.
"""

import json
import os
import signal
import sys
from contextlib import closing
from functools import partial

from doubles import FakeEvaluator

from nas_sv2.errors import NasError
from nas_sv2.latency.measured_target import MeasuredTarget
from nas_sv2.latency.plan import MeasurePlan
from nas_sv2.latency.store import MeasurementStore
from nas_sv2.latency.testing import FakeDevice
from nas_sv2.search.budget import Budget
from nas_sv2.search.events import Listener, Outcome
from nas_sv2.search.interrupts import sigterm_interrupts
from nas_sv2.search.loop import Loop
from nas_sv2.search.samplers import SAMPLERS
from nas_sv2.search.walk import Walk
from nas_sv2.search.workers import run_workers
from nas_sv2.space import Architecture
from nas_sv2.space.guidelines import Guidelines
from nas_sv2.space.search_space import Range, SearchSpace, StageChoices
from nas_sv2.studies.record_store import RecordStore
from nas_sv2.studies.study import create_or_resume, store_errors, study_key
from nas_sv2.studies.weights_folder import WeightsFolder

PLAN = MeasurePlan(
    loads=1, warmup_runs=3, min_runs=10, max_runs=20, time_limit_s=0.1, noisy_time_limit_s=0.1
)


def space() -> SearchSpace:
    """Some 100,000 small networks."""
    stages = tuple(StageChoices(Range(1, 2), Range(low, low + 128, 8)) for low in (16, 144, 272))
    return SearchSpace("crew", ((8,),), stages, Range(16, 128, 16), resolution=32, classes=10)


def work(
    storage: str,
    name: str,
    trials: int,
    seconds: float,
    expires_s: float,
    sampler: str,
    number: int,
    listener: Listener,
) -> None:
    """One worker, of this process."""
    choice = SAMPLERS[sampler]
    with closing(MeasurementStore.open(storage)) as measurements, store_errors():
        identity = {"targets": {"fake": "measured"}}
        seed = int.from_bytes(os.urandom(4), "big")
        study = create_or_resume(storage, name, identity, choice.make(seed))
        store = RecordStore(measurements.engine, study_key(study))
        target = MeasuredTarget("fake", FakeDevice(), PLAN, measurements)
        evaluator = FakeEvaluator(seconds)
        walk = Walk(Guidelines({}), Budget(), {"fake": target}, evaluator, listener.entered)
        weights = WeightsFolder.of_study(storage, store.study)
        learns = choice.learns_from_pruned
        loop = Loop(study, space(), walk, store, weights, learns, listener, expires_s=expires_s)
        listener.waits(f"process {os.getpid()}")
        loop.run(trials)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Voice:
    """A listener that prints."""

    def began(self, study: str, lines: list[str]) -> None: ...

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None: ...

    def waits(self, reason: str) -> None:
        kind, _, rest = reason.partition(" ")
        if kind == "process":
            say(pid=int(rest))
        else:
            say(waits=reason)

    def entered(self, stage: str) -> None:
        say(entered=stage)

    def advanced(self, done: int, total: int) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        say(trial=outcome.number, verdict=outcome.verdict, reason=outcome.reason)


def main(storage: str, name: str, trials: str, workers: str, seconds: str, expires_s: str) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    job = partial(work, storage, name, int(trials), float(seconds), float(expires_s), "random")
    try:
        with sigterm_interrupts():
            errors = run_workers(job, int(workers), Voice())
    except KeyboardInterrupt:
        return 130
    except NasError as error:
        errors = [error]
    say(errors=[str(error) for error in errors])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
