"""A study that nobody searched: every trial is told, so that a report has something of each kind.

Networks, costs, guideline scores and emulated latencies are what they are; scores and measured
latencies follow from the costs.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import Trial, TrialState
from scripted import measurement_of

from nas_sv2.database.database import Database
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.space.choices.levels import LEVELS, paper_limits
from nas_sv2.space.choices.probe_networks import trajectories
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.certificate import Certificate, ScoredNetwork
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import note_run
from nas_sv2.studies.storage.study import create_or_resume, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

SPACE = LEVELS["40M"]
MFLOPS = 42.0
LIMIT_MS = 2.6
MEASURED = measurement_of(architecture=reference(SPACE.baselines[0]).digest)
ARM = EmulatedArm.open()


@dataclass
class ScriptedStudy:
    """Tells trials of a study.

    Attributes:
        storage: Where it goes.
        name: Of the study.
        targets: By name, with provenance: `cpu` measured, `arm` emulated.
        data: As evaluations name it.
        recipe: Name of the recipe; `recipe_digest` is its digest.
    """

    storage: str
    name: str = "told"
    targets: Mapping[str, str] | None = None
    data: str = "animals@0"
    recipe: str = "r"
    recipe_digest: str = "d"

    def __post_init__(self) -> None:
        self.targets = self.targets or {"cpu": "measured", "arm": "emulated"}
        self.chance = random.Random(0)
        limits = {"cpu": LIMIT_MS} if "cpu" in self.targets else {}
        identity: dict[str, Any] = {
            "space": SPACE.name,
            "space_digest": SPACE.digest,
            "targets": dict(self.targets),
            "latency": "measured",
            "budget": {"flops": 40e6, "params": None, "latency_ms": limits, "tolerance": 0.05},
            "guidelines": dict(paper_limits(SPACE, 40e6).limits),
            "data": self.data.partition("@")[0],
            "data_content": self.data,
            "skip_unreadable": False,
            "recipe": self.recipe,
            "recipe_digest": self.recipe_digest,
            "seed": 0,
        }
        self.study = create_or_resume(
            Database.open(self.storage), self.name, identity, RandomSampler(seed=0)
        )
        # Each parameter that is asked is a transaction, so that trials are told in memory.
        directions = self.study.directions
        self.told = optuna.create_study(directions=directions, sampler=RandomSampler(seed=0))
        self.measurements = MeasurementStore(Database.open(self.storage))
        self.measurements.save(MEASURED)
        self.measurements.db.migrate()
        self.records = RecordStore(self.measurements.db, study_key(self.study))
        self.weights = WeightsFolder.of_study(Database.open(self.storage), study_key(self.study))

    def all(self, found: int = 12) -> optuna.Study:
        """Baselines, `found` networks, and one of everything that is turned away."""
        for name in SPACE.baselines:
            self.told.enqueue_trial(SPACE.params_of(reference(name)))
            self.finish(baseline=name)
        for number in range(found):
            self.finish(stopped=number == 3, audited=number in (4, 7))
        self.reject("flops: +13.8% beyond the limit")
        self.reject("flops: +2.0% beyond the limit")
        self.reject("G3: +4.0% beyond the limit", guideline="G3")
        self.duplicate_of(0)
        self.fail("the agent ended")
        request = {"targets": ",".join(self.targets or ()), "budgets": ["40M"], "seed": 0}
        more = {"study": self.name, "storage": self.storage, "sampler": "random"}
        note_run(self.study, request | more)
        self.measurements.db.close()
        return self.study

    def finish(
        self, baseline: str | None = None, stopped: bool = False, audited: bool = False
    ) -> None:
        trial, architecture = self._asked()
        cost = cost_of(lower(architecture))
        mflops = cost.flops / 1e6
        score = 0.9 - 8 / (mflops + 12) + self.chance.gauss(0, 0.01) - 0.2 * stopped
        latencies = {
            name: self._latency(name, architecture, mflops) for name in self.targets or ()
        }
        excesses = {"flops": mflops / MFLOPS - 1} | {"G3": -0.1}
        if "cpu" in latencies:
            excesses["cpu_ms"] = latencies["cpu"].ms / LIMIT_MS - 1
        if stopped:
            excesses["stop_rule"] = 1.0
        if audited:
            trial.set_user_attr("pruned_by", "G3")
            trial.set_user_attr("audited", {"G3": 1.04})
        evaluation = self._evaluation(score, stopped)
        record = Record(architecture, cost, excesses, latencies, evaluation, baseline)
        trial.set_user_attr("architecture", architecture.digest)
        self.records.save(trial.number, record)
        if baseline:  # of others they are not kept, so that a map need not be drawn for each
            weights = random_weights(lower(architecture), trial.number)
            self.weights.save(architecture.digest, weights)
        self._tell(trial, record.objectives)

    def reject(self, why: str, guideline: str | None = None) -> None:
        trial, architecture = self._asked()
        trial.set_user_attr("rejected_by", why)
        if guideline:
            trial.set_user_attr("architecture", architecture.digest)
            trial.set_user_attr("pruned_by", guideline)
        self._tell(trial, state=TrialState.PRUNED)

    def duplicate_of(self, number: int) -> None:
        trial, _ = self._asked()
        trial.set_user_attr("duplicate_of", number)
        self._tell(trial, self.records.all()[number].objectives)

    def fail(self, why: str) -> None:
        trial, _ = self._asked()
        trial.set_user_attr("error", why)
        self._tell(trial, state=TrialState.FAIL)

    def _asked(self) -> tuple[Trial, Architecture]:
        """The next network of the space near the budget, or the one that waits."""
        trial = self.told.ask()
        return trial, SPACE.sample(trial)

    def _tell(
        self,
        trial: Trial,
        values: Sequence[float] | None = None,
        state: TrialState | None = None,
    ) -> None:
        self.study.add_trial(self.told.tell(trial, values, state))

    def _latency(self, name: str, architecture: Architecture, mflops: float) -> Latency:
        if name == "arm":
            return ARM.estimate(architecture)
        ms = 0.5 + mflops / 40 * (1 + self.chance.uniform(0, 0.4))
        ends = (ms * 0.98, ms * 1.03)
        was = MEASURED.latency(name)
        return replace(
            was, ms=ms, ci_ms=ends, p95_ms=ms * 1.1, ratio=ms / 4, ratio_ci=None, contended=False
        )

    def _evaluation(self, score: float, stopped: bool) -> Evaluation:
        passes = 2 if stopped else 4
        history = tuple(
            Epoch(2.2 - 0.3 * i, 0.05, score - 0.05 * (passes - 1 - i)) for i in range(passes)
        )
        return Evaluation(
            accuracy=score,
            loss=1 - score,
            recipe=self.recipe,
            recipe_digest=self.recipe_digest,
            data=self.data,
            seed=0,
            device="cpu, 1 threads",
            seconds=0.001,
            images_per_second=100.0,
            epochs=passes,
            train_images=passes * 96,
            val_images=500,
            stopped="it cannot lead to the front" if stopped else None,
            history=history,
        )


def certificate(noise: float = 0.01) -> Certificate:
    """Of the recipe of told studies: eight networks in the reference's order, two seeds."""
    joint = []
    for number, network in enumerate(trajectories(SPACE, 1).networks):
        score, apart = number / 50, noise * (-1) ** number  # no seed is better for all
        ours = (0.6 + score - apart, 0.6 + score + apart)
        theirs = (0.8 + score - apart, 0.8 + score + apart)
        joint.append(ScoredNetwork(network, ours, theirs, 3.0, {"flops": float(number % 5)}))
    return Certificate(
        recipe="r",
        recipe_digest="d",
        reference="r ×8",
        reference_digest="e",
        scored_by="accuracy",
        reference_scored_by="accuracy",
        data="animals@0",
        space="40M",
        space_digest="another",
        place="cpu, 1 threads",
        longer=8.0,
        joint=tuple(joint),
        matched=(),
        contrasts=(),
    )
