"""What several workers cost: efficiency, and the work around a trial in a study with a history.

Trainings are stood in for by sleeping, so that figures say what the loop, the leases and the
database cost and nothing of the trainings:

    python benchmarks/scaling.py efficiency sqlite:///scaling.db --workers 1 2 4 8 --seconds 5
    python benchmarks/scaling.py history sqlite:///history.db --trials 2000

`efficiency` is the sleeping asked for, over workers times the time from the first trial to the
last; starting the processes is not in it. `history` fills a study with finished trials and times
further ones whose training takes no time. Each run makes a study of its own in the database.
"""

import argparse
import dataclasses
import datetime
import json
import os
import random
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import insert
from sqlalchemy.orm import Session

from nas_sv2.evaluate.evaluation import Evaluation
from nas_sv2.latency.measurement import Latency
from nas_sv2.latency.store import MeasurementStore
from nas_sv2.search.budget import Budget
from nas_sv2.search.events import Listener, Outcome
from nas_sv2.search.loop import Loop
from nas_sv2.search.samplers import SAMPLERS
from nas_sv2.search.walk import Walk
from nas_sv2.space import Architecture, SearchSpace, cost_of, lower
from nas_sv2.space.guidelines import Guidelines
from nas_sv2.space.network import Network
from nas_sv2.space.search_space import Range, StageChoices
from nas_sv2.studies.record import Record
from nas_sv2.studies.record_store import RecordRow, RecordStore
from nas_sv2.studies.study import create_or_resume, store_errors, study_key
from nas_sv2.studies.weights_folder import WeightsFolder

IDENTITY = {"targets": {"table": "emulated"}}


def space() -> SearchSpace:
    """Some 100,000 small networks: lowering them takes a millisecond."""
    stages = tuple(StageChoices(Range(1, 2), Range(low, low + 128, 8)) for low in (16, 144, 272))
    return SearchSpace("scaling", ((8,),), stages, Range(16, 128, 16), resolution=32, classes=10)


@dataclass(frozen=True)
class Table:
    """A target that prices a network by its multiply-adds and half of its parameters."""

    name: str = "table"
    provenance: str = "emulated"

    def estimate(self, network: Network) -> Latency:
        """The price."""
        cost = cost_of(lower(network))
        ms = (cost.flops + cost.params / 2) / 1e6
        return Latency(ms, (ms, ms), ms, "emulated", "table", 1, False, "")

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Sleeping:
    """An evaluator that takes as long as it is told."""

    seconds: float

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """More parameters, more accurate, with noise by the digest."""
        time.sleep(self.seconds)
        params = cost_of(lower(architecture)).params
        noise = int(architecture.digest[:4], 16) / 0xFFFF
        score = params / (params + 100_000) + 0.1 * noise
        return Evaluation(
            score, 1 - score, "sleeping", "0" * 16, "none@0", 0, "cpu", 0.0, 1.0, 1, 1, 1
        )


@dataclass
class Clock:
    """A listener that keeps when trials began and ended."""

    began_at: list[float] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)

    def began(self, study: str, lines: list[str]) -> None:
        """Nothing to keep."""

    def waits(self, reason: str) -> None:
        """Print it: nothing should be waited for."""
        print(reason)

    def asked(self, number: int, architecture: Architecture, baseline: str | None) -> None:
        """Keep when."""
        self.began_at.append(time.monotonic())

    def entered(self, stage: str) -> None:
        """Nothing to keep."""

    def advanced(self, done: int, total: int) -> None:
        """Nothing to keep."""

    def ended(self, outcome: Outcome) -> None:
        """Keep when."""
        self.ended_at.append(time.monotonic())


def opened(
    storage: str, name: str, sampler: str, seconds: float, listener: Listener
) -> tuple[Loop, MeasurementStore]:
    """The loop on the study of that name."""
    choice = SAMPLERS[sampler]
    measurements = MeasurementStore.open(storage)
    RecordStore.create_tables(measurements.engine)
    seed = random.randrange(2**32)
    study = create_or_resume(storage, name, IDENTITY, choice.make(seed))
    store = RecordStore(measurements.engine, study_key(study))
    walk = Walk(Guidelines({}), Budget(), {"table": Table()}, Sleeping(seconds))
    weights = WeightsFolder.of_study(storage, store.study)
    learns = choice.learns_from_pruned
    return Loop(study, space(), walk, store, weights, learns, listener), measurements


def work(
    storage: str,
    name: str,
    workers: int,
    each: int,
    seconds: float,
    ready: str,
    number: int,
    listener: Listener,
) -> None:
    """What a worker does: it begins when all have started."""
    loop, measurements = opened(storage, name, "random", seconds, listener)
    with closing(measurements), store_errors():
        Path(ready, str(number)).touch()
        while len(os.listdir(ready)) < workers:
            time.sleep(0.01)
        loop.run(workers * each)


def efficiency(storage: str, workers: int, seconds: float, each: int) -> dict[str, Any]:
    """Run `each` trials a worker; the share of the workers' time that was asked-for sleeping."""
    from nas_sv2.search.workers import run_workers  # not in a checkout from before there were any

    clock, name = Clock(), f"scaling-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as ready:
        job = partial(work, storage, name, workers, each, seconds, ready)
        run_workers(job, workers, clock)
    wall = max(clock.ended_at) - min(clock.began_at)
    return {
        "workers": workers,
        "trials": workers * each,
        "seconds_each": seconds,
        "wall_s": round(wall, 2),
        "efficiency": round(each * seconds / wall, 3),
    }


@dataclass
class Recorder:
    """Answers a space at random and keeps what was asked."""

    generator: random.Random
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One of low, low + step, ..., high."""
        self.distributions[name] = IntDistribution(low, high, step=step)
        value = self.generator.randrange(low, high + 1, step)
        self.params[name] = value
        return value

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""
        self.distributions[name] = CategoricalDistribution(choices)
        self.params[name] = self.generator.choice(choices)
        return self.params[name]


def filled(loop: Loop, trials: int) -> None:
    """Give the study a history of finished trials of random figures, as if it had gone so far.

    Written into the tables at once: through Optuna's own calls it would take minutes.
    """
    generator, seen = random.Random(0), set[str]()
    rows: list[dict[str, Any]] = []
    study_id, now = loop.study._study_id, datetime.datetime.now()
    like = loop.walk.assess(loop.space.sample(Recorder(random.Random(1))))
    with Session(loop.store.engine) as session, session.begin():
        while len(rows) < trials:
            recorder = Recorder(generator)
            architecture = loop.space.sample(recorder)
            if architecture.digest in seen:
                continue
            seen.add(architecture.digest)
            ms, score = generator.uniform(1, 20), generator.random()
            record = dataclasses.replace(
                like,
                architecture=architecture,
                latencies={"table": dataclasses.replace(like.latencies["table"], ms=ms)},
                evaluation=dataclasses.replace(like.evaluation, accuracy=score),
            )
            session.add(_told(study_id, len(rows), record, recorder, now))
            rows.append(
                {
                    "study": loop.store.study,
                    "architecture": architecture.digest,
                    "trial": len(rows),
                    "document": record.to_json(),
                }
            )
        session.execute(insert(RecordRow), rows)


def _told(
    study_id: int, number: int, record: Record, recorder: Recorder, now: datetime.datetime
) -> Any:
    """A finished trial as Optuna keeps it."""
    attributes = {"architecture": record.architecture.digest, "baseline": None}
    trial = models.TrialModel(study_id=study_id, number=number, state=TrialState.COMPLETE)
    trial.datetime_start = trial.datetime_complete = now
    trial.params = [
        models.TrialParamModel(
            param_name=name,
            param_value=recorder.distributions[name].to_internal_repr(value),
            distribution_json=distribution_to_json(recorder.distributions[name]),
        )
        for name, value in recorder.params.items()
    ]
    trial.values = [
        models.TrialValueModel(
            objective=index, value=value, value_type=models.TrialValueModel.TrialValueType.FINITE
        )
        for index, value in enumerate(record.objectives)
    ]
    trial.user_attributes = [
        models.TrialUserAttributeModel(key=key, value_json=json.dumps(value))
        for key, value in attributes.items()
    ]
    return trial


def history(
    storage: str, trials: int, further: int, samplers: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Ms a trial beyond the training, in a study of so many, by sampler."""
    name = f"history-{uuid.uuid4().hex[:8]}"
    loop, measurements = opened(storage, name, "random", 0.0, Clock())
    with closing(measurements):
        filled(loop, trials)
    for count, sampler in enumerate(samplers):
        clock = Clock()
        loop, measurements = opened(storage, name, sampler, 0.0, clock)
        with closing(measurements):
            # The first reads the history; it is timed apart.
            wanted = trials + count * (further + 1) + 1
            before = time.monotonic()
            loop.run(wanted)
            first_s = time.monotonic() - before
            before, cpu = time.monotonic(), time.process_time()
            known = len(clock.ended_at)
            loop.run(wanted + further)
            wall, cpu = time.monotonic() - before, time.process_time() - cpu
            ended = len(clock.ended_at) - known  # duplicates too
        yield {
            "sampler": sampler,
            "history": trials,
            "trials": ended,
            "ms_a_trial": round(1e3 * wall / ended, 1),
            "cpu_ms_a_trial": round(1e3 * cpu / ended, 1),
            "first_trial_s": round(first_s, 2),
            "database": measurements.engine.dialect.name,
        }


def main() -> None:
    """Print a line of JSON for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["efficiency", "history"])
    parser.add_argument("storage")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--further", type=int, default=20, help="trials that are timed")
    parser.add_argument("--sampler", nargs="+", default=["random"])
    options = parser.parse_args()
    print(json.dumps({"load": os.getloadavg(), "cores": os.cpu_count()}))
    if options.what == "history":
        for line in history(options.storage, options.trials, options.further, options.sampler):
            print(json.dumps(line), flush=True)
        return
    for workers in options.workers:
        line = efficiency(options.storage, workers, options.seconds, options.each)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
