"""Trainings of a search that are ended once the stop rule says so."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import ClassVar

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.fitting.evaluator import StoppableEvaluator
from nas_sv2.evaluate.recipes.recipe import Recipe, Score
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.stop_rule import (
    FEWEST,
    Ending,
    FinalBound,
    LearningCurve,
    Rival,
    StopRule,
    miss_beside,
)
from nas_sv2.search.walk.stored_evaluator import StoredEvaluator
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import STOP_RULE
from nas_sv2.studies.storage.earlier_trainings import whole_trainings
from nas_sv2.studies.storage.record_store import RecordStore

SHARE = 0.1
"""Of the trainings that the rule would end, those that run on: a tenth of what it could save."""


def check_stop_rule(wanted: bool, recipe: Recipe) -> None:
    """Refuse what cannot be meant.

    Raises:
        ConfigError: It is wanted with a recipe of a single pass.
    """
    if wanted and recipe.epochs < 2:
        allowed = f"must be off with recipe {recipe.name}, which has one epoch only"
        raise ConfigError("stop_rule", wanted, allowed)


@dataclass(frozen=True, slots=True)
class EarlyStopResult:
    """A training, and what the stop rule said of it.

    Attributes:
        evaluation: How good the network is, or was when its training was ended.
        excesses: Of the record (`STOP_RULE`); none where the rule did not speak.
        foreseen: See `Record.foreseen`.
    """

    evaluation: Evaluation
    excesses: Mapping[str, float] = field(default_factory=dict)
    foreseen: float | None = None


Size = Callable[[Architecture], float]


def log_flops(architecture: Architecture) -> float:
    """How large a network is, as the final score depends on it: nearly in a line."""
    return math.log(cost_of(lower(architecture)).flops)


@dataclass(frozen=True)
class EarlyStop:
    """Trains, and ends what cannot lead to the front.

    Attributes:
        evaluator: What trains.
        records: What the study has found so far.
        audit: Which trainings run on though the rule would end them.
        size: Of a network.
        earlier: By digest of the network, trainings by the same recipe, data and seed that are no
            part of the study; they calibrate, but a candidate need not stand beside them.
        score: What the recipe compares networks by.
    """

    evaluator: StoppableEvaluator
    records: Callable[[], Iterable[Record]]
    audit: Audit
    size: Size = log_flops
    earlier: Mapping[str, LearningCurve] = field(default_factory=dict)
    score: Score = "accuracy"

    DESCRIBED: ClassVar[str] = (
        f"stops     trainings that cannot lead to the front any more, once {FEWEST} are finished, "
        f"those of earlier studies among them; {SHARE:.0%} of them run on as an audit"
    )

    @classmethod
    def of(cls, evaluator: StoredEvaluator, store: RecordStore) -> "EarlyStop":
        """For the study of `store`, with our share of audits and what its database knows."""
        training = evaluator.training

        @cache
        def size(architecture: Architecture) -> float:
            """Of the form that is trained: spaces differ in their images' side."""
            return log_flops(training.adapt(architecture))

        known = whole_trainings(
            store.db, training.recipe.digest, training.data.provenance, training.seed
        )
        earlier = {
            digest: make_curve(evaluation, size(architecture))
            for digest, (architecture, evaluation) in known.items()
        }
        audit = Audit(SHARE, f"stop {store.study}")
        score = training.recipe.score
        return cls(evaluator, lambda: store.all().values(), audit, size, earlier, score)

    def evaluate(
        self, architecture: Architecture, latencies_ms: Sequence[float]
    ) -> EarlyStopResult:
        """How good `architecture` is, as far as that matters.

        Args:
            architecture: The candidate.
            latencies_ms: On each target, in the order of the study's.
        """
        digest = architecture.digest
        # Its own curve, from a search that was killed or another study, would foretell itself.
        earlier = {of: curve for of, curve in self.earlier.items() if of != digest}
        rule = rule_of(self.records(), self.size, earlier)
        stops = Stopping(
            rule,
            self.size(architecture),
            tuple(latencies_ms),
            self.audit.takes(digest),
            self.score,
        )
        evaluation = self.evaluator.evaluate(architecture, stops)
        if evaluation.stopped is None and not stops.audited:
            return EarlyStopResult(evaluation)
        ending = stops.first(evaluation)
        if ending is None:
            return EarlyStopResult(evaluation)
        if stops.audited:
            return EarlyStopResult(evaluation, {STOP_RULE: 0.0})
        return EarlyStopResult(evaluation, {STOP_RULE: 1.0}, ending.foreseen)


@dataclass(frozen=True, slots=True)
class Stopping:
    """The rule as one training asks it after its passes.

    It is a value: a training may ask on another machine, and what it was told follows from the
    passes alone, whichever process they were made in.

    Attributes:
        rule: The rule as the training began.
        size: Of the network.
        latencies_ms: Of the network, on each target.
        audited: Whether the training runs on whatever the rule says.
        score: What the recipe compares networks by.
    """

    rule: StopRule
    size: float
    latencies_ms: tuple[float, ...]
    audited: bool
    score: Score = "accuracy"

    def __call__(self, history: Sequence[Epoch]) -> str | None:
        """Why the training should end after these passes; see `Stops`."""
        ending = None if self.audited else self._verdict(history)
        return None if ending is None else ending.reason

    def first(self, evaluation: Evaluation) -> Ending | None:
        """What the rule said first in a training; it is not asked after the last pass of all."""
        asked = evaluation.history if evaluation.stopped else evaluation.history[:-1]
        verdicts = (self._verdict(asked[:passed]) for passed in range(1, len(asked) + 1))
        return next(filter(None, verdicts), None)

    def _verdict(self, history: Sequence[Epoch]) -> Ending | None:
        signals = signals_of(history, self.size, self.score)
        return self.rule.verdict(len(history), signals, self.latencies_ms)


def signals_of(history: Sequence[Epoch], size: float, score: str) -> tuple[float, ...]:
    """What the rule goes by after these passes: what foretells the final score best.

    That is the loss of the last of them, or where the losses of all are the score, their mean so
    far; and the size. See `docs/explain/stop-rule.md`.
    """
    losses = [epoch.train_loss for epoch in history]
    return (fmean(losses) if score == "training_speed" else losses[-1], size)


def make_curve(evaluation: Evaluation, size: float) -> LearningCurve:
    """A training that ran to its end, of a network of that size."""
    history, by = evaluation.history, evaluation.scored_by
    shown = (signals_of(history[:passed], size, by) for passed in range(1, len(history) + 1))
    return LearningCurve(tuple(shown), evaluation.score)


def rule_of(
    records: Iterable[Record],
    size: Size = log_flops,
    earlier: Mapping[str, LearningCurve] | None = None,
) -> StopRule:
    """The rule by what a study has found so far, and by trainings that are no part of it."""
    known = list(records)
    whole = [r for r in known if r.evaluation.stopped is None and len(r.evaluation.history) > 1]
    own = {record.architecture.digest for record in whole}
    curves = [curve for digest, curve in (earlier or {}).items() if digest not in own]
    curves += [make_curve(record.evaluation, size(record.architecture)) for record in whole]
    rivals = tuple(
        Rival(one.evaluation.score, tuple(map(_at_worst, one.latencies.values())))
        for one in known
        if one.feasible
    )
    stopped = sum(record.excesses.get(STOP_RULE, 0.0) > 0 for record in known)
    return StopRule(FinalBound(tuple(curves), miss_beside(rivals, stopped)), rivals)


def _at_worst(latency: Latency) -> float:
    """Its ms, or the slow end of its interval where it is predicted and may be measured yet."""
    if latency.provenance != "predicted" or latency.ci_ms is None:
        return latency.ms
    return latency.ci_ms[1]
