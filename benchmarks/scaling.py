"""What several workers cost: efficiency, and the work around a trial in a study with a history.

Trainings are stood in for by sleeping, so that figures say what the loop, the leases and the
database cost and nothing of the trainings:

    python benchmarks/scaling.py efficiency sqlite:///scaling.db --workers 1 2 4 8 --seconds 5
    python benchmarks/scaling.py history sqlite:///history.db --trials 2000
    python benchmarks/scaling.py history sqlite:///history.db --sampler tpe --trials 500 1000 2000

`efficiency` is the sleeping asked for, over workers times the time from the first trial to the
last; starting the processes is not in it. `history` fills a study with finished trials and counts
what further ones cost whose training takes no time: the CPU time of this process, and what it
asks the database. Each run makes a study of its own in the database.

Space and constraints are those of a search at 140 MFLOPs, with limits so wide that none is broken.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.samplers import RandomSampler
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Engine, insert
from sqlalchemy import event as events
from sqlalchemy.orm import Session

from nas_sv2.database.database import Database
from nas_sv2.database.processes import process_name
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.targets.user_target import UserTarget
from nas_sv2.search.asking.sampler import SamplerSetting
from nas_sv2.search.asking.samplers import SAMPLERS
from nas_sv2.search.events.events import Event, Notice, OnEvent, TrialAsked, TrialFinished
from nas_sv2.search.loop.loop import Loop
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.graph.guidelines import SCORES, Guidelines
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.attributes import ARCHITECTURE, WORKER
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.record_store import RecordRow, RecordStore
from nas_sv2.studies.storage.study import create_or_resume, optuna_storage, store_errors, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

IDENTITY = {"targets": {"table": "emulated"}}
SPACE = dataclasses.replace(LEVELS["140M"], name="scaling", baselines=())
LIMITS = Guidelines(dict.fromkeys(SCORES, 1e6))
BUDGET = Budget(flops=1e12, latency_ms={"table": 1e6})


def figures(digest: str) -> tuple[float, float]:
    """Score and ms of a network; the slower tend to be the better.

    They follow its digest alone, so that no sampler learns which network to ask for again and
    again: what is timed is asking for new ones.
    """
    slow, lucky = int(digest[:4], 16) / 0xFFFF, int(digest[4:8], 16) / 0xFFFF
    return (slow + lucky) / 2, 1 + 19 * slow


@dataclass(frozen=True)
class Table:
    """A target whose latencies are made up."""

    name: str = "table"
    provenance: Provenance = "emulated"

    def estimate(self, network: Network) -> Latency:
        """A figure."""
        _, ms = figures(network.digest)
        return Latency(ms, (ms, ms), ms, "emulated", "table", 1, False, "")

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Sleeping:
    """An evaluator that takes as long as it is told."""

    name: ClassVar[str] = "sleeping"

    seconds: float

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Sleep, and make a figure up."""
        time.sleep(self.seconds)
        score, _ = figures(architecture.digest)
        return Evaluation(
            score, 1 - score, "sleeping", "0" * 16, "none@0", 0, "cpu", 0.0, 1.0, 1, 1, 1
        )


@dataclass
class Clock:
    """Keeps when trials began and ended, by the wall and by this process's CPU."""

    began_at: list[float] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    asked_cpu_s: list[float] = field(default_factory=list)
    ended_cpu_s: list[float] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Keep when; print a notice, since nothing should be waited for."""
        match event:
            case Notice():
                print(event.reason)
            case TrialAsked():
                self.began_at.append(time.monotonic())
                self.asked_cpu_s.append(time.process_time())
            case TrialFinished():
                self.ended_at.append(time.monotonic())
                self.ended_cpu_s.append(time.process_time())
                self.verdicts.append(event.verdict)


@dataclass
class Requests:
    """What is asked of a database."""

    statements: int = 0
    transactions: int = 0

    def count(self, engine: Engine) -> None:
        """From now on, what goes through this engine too."""
        events.listen(engine, "before_cursor_execute", self._statement)
        events.listen(engine, "begin", self._transaction)

    def _statement(self, *_: object) -> None:
        self.statements += 1

    def _transaction(self, *_: object) -> None:
        self.transactions += 1


def opened(db: Database, name: str, sampler: str, seconds: float, on_event: OnEvent) -> Loop:
    """The loop on the study of that name."""
    choice = SAMPLERS[sampler]
    db.migrate()
    seed = random.randrange(2**32)
    study = create_or_resume(db, name, IDENTITY, RandomSampler())
    store = RecordStore(db, study_key(study))
    walk = Walk(LIMITS, BUDGET, {"table": UserTarget(Table())}, Sleeping(seconds))
    study.sampler = choice.make(seed, SamplerSetting(SPACE, walk, LIMITS, Audit(0.0)))
    weights = WeightsFolder.of_study(db, store.study)
    learns = choice.learns_from_pruned
    return Loop(study, SPACE, walk, store, weights, learns, on_event)


def work(
    storage: str,
    name: str,
    workers: int,
    each: int,
    seconds: float,
    ready: str,
    number: int,
    on_event: OnEvent,
) -> None:
    """What a worker does: it begins when all have started."""
    with Database.open(storage) as db, store_errors():
        loop = opened(db, name, "random", seconds, on_event)
        Path(ready, str(number)).touch()
        while len(os.listdir(ready)) < workers:
            time.sleep(0.01)
        loop.run(workers * each)


def efficiency(storage: str, workers: int, seconds: float, each: int) -> dict[str, Any]:
    """Run `each` trials a worker; the share of the workers' time that was asked-for sleeping."""
    from nas_sv2.search.scale.processes import (
        run_workers,  # not in a checkout from before there were any
    )

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
    """Give the study a history of finished trials, as if it had gone so far at random.

    Written into the tables at once: through Optuna's own calls it would take minutes.
    """
    generator, seen = random.Random(0), set[str]()
    rows: list[dict[str, Any]] = []
    study_id, now = loop.study._study_id, datetime.datetime.now()
    like = loop.walk.assess(loop.space.sample(Recorder(random.Random(1))))
    with Session(loop.store.db.engine) as session, session.begin():
        while len(rows) < trials:
            recorder = Recorder(generator)
            architecture = loop.space.sample(recorder)
            if architecture.digest in seen:
                continue
            seen.add(architecture.digest)
            score, ms = figures(architecture.digest)
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
    attributes = {
        WORKER: process_name(),
        ARCHITECTURE: record.architecture.digest,
        "baseline": None,
    }
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
    trial.system_attributes = [
        models.TrialSystemAttributeModel(key=f"constraints:{name}", value_json=json.dumps(excess))
        for name, excess in record.excesses.items()
    ]
    return trial


def history(storage: str, trials: int, further: int, sampler: str) -> dict[str, Any]:
    """What a trial costs beyond its training, in a study of so many."""
    name = f"history-{uuid.uuid4().hex[:8]}"
    with Database.open(storage) as db:
        filled(opened(db, name, sampler, 0.0, Clock()), trials)
    clock, requests = Clock(), Requests()
    began_s = time.process_time()
    with Database.open(storage) as db:
        loop = opened(db, name, sampler, 0.0, clock)
        loop.run(trials + 1)  # it reads the history, and is no trial like others
        first_s = time.process_time() - began_s
        known = len(clock.verdicts)
        requests.count(optuna_storage(db).engine)
        loop.run(trials + 1 + further)
    verdicts = clock.verdicts[known:]
    before = clock.ended_cpu_s[known - 1 : -1]
    asked, ended = clock.asked_cpu_s[known:], clock.ended_cpu_s[known:]
    return {
        "sampler": sampler,
        "history": trials,
        "database": "sqlite" if db.is_sqlite else "postgresql",
        "finished": verdicts.count("finished"),
        "else": len(verdicts) - verdicts.count("finished"),
        "cpu_ms_a_trial": _median_ms(before, ended),
        "cpu_ms_until_asked": _median_ms(before, asked),
        "statements_a_trial": round(requests.statements / len(verdicts), 1),
        "transactions_a_trial": round(requests.transactions / len(verdicts), 1),
        "first_trial_cpu_s": round(first_s, 2),
    }


def _median_ms(since: Sequence[float], until: Sequence[float]) -> float:
    """The median of the times between, in ms."""
    return round(1e3 * statistics.median(b - a for a, b in zip(since, until, strict=True)), 1)


def main() -> None:
    """Print a line of JSON for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["efficiency", "history"])
    parser.add_argument("storage")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--trials", type=int, nargs="+", default=[2000])
    parser.add_argument("--further", type=int, default=20, help="trials that are timed")
    parser.add_argument("--sampler", nargs="+", default=["random"])
    options = parser.parse_args()
    print(json.dumps({"load": os.getloadavg(), "cores": os.cpu_count()}))
    if options.what == "history":
        for sampler, trials in itertools.product(options.sampler, options.trials):
            line = history(options.storage, trials, options.further, sampler)
            print(json.dumps(line), flush=True)
        return
    for workers in options.workers:
        line = efficiency(options.storage, workers, options.seconds, options.each)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
