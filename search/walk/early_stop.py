"""Trains the candidates of a search, and ends trainings by the stop rule."""

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
"""Share of trainings that run on though the rule would end them, as an audit of the rule."""


def check_stop_rule(wanted: bool, recipe: Recipe) -> None:
    """Refuse the stop rule for a recipe of a single pass.

    Raises:
        ConfigError: If the rule is wanted with such a recipe.
    """
    if wanted and recipe.epochs < 2:
        allowed = f"must be off with recipe {recipe.name}, which has one epoch only"
        raise ConfigError("stop_rule", wanted, allowed)


@dataclass(frozen=True, slots=True)
class EarlyStopResult:
    """A training, and the verdict of the stop rule.

    Attributes:
        evaluation: How good the network is, or was when its training was ended.
        excesses: Excess for the record (`STOP_RULE`); empty without a verdict.
        foreseen: See `Record.foreseen`.
    """

    evaluation: Evaluation
    excesses: Mapping[str, float] = field(default_factory=dict)
    foreseen: float | None = None


Size = Callable[[Architecture], float]


def log_flops(architecture: Architecture) -> float:
    """The size of a network on a scale on which final scores are nearly linear."""
    return math.log(cost_of(lower(architecture)).flops)


@dataclass(frozen=True)
class EarlyStop:
    """Trains candidates, and ends trainings that cannot lead to the front.

    Attributes:
        evaluator: Trains the candidates.
        records: Gives the records of the study so far.
        audit: Chooses the trainings that run on though the rule would end them.
        size: Gives the size of a network.
        earlier: Trainings by the same recipe, data and seed outside the study, by digest of the
            network. They calibrate the rule, but are not rivals of a candidate.
        score: The recipe's score.
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
        """Make the rule for the study of `store`, with earlier trainings of its database."""
        training = evaluator.training

        @cache
        def size(architecture: Architecture) -> float:
            """The size of the form that is trained, since spaces differ in their resolution."""
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
        """Train `architecture`, as long as it may lead to the front.

        Args:
            architecture: The candidate.
            latencies_ms: Latencies on the targets, in the order of the study.
        """
        digest = architecture.digest
        # Its own curve, from a killed search or another study, would predict itself.
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
    """The rule for one training, which calls it after its passes.

    It is a value, since a training may run on another machine. Its verdicts follow from the passes
    alone, in any process.

    Attributes:
        rule: The rule at the start of the training.
        size: Size of the network.
        latencies_ms: Latencies of the network on the targets.
        audited: Whether the training runs on in spite of the rule.
        score: The recipe's score.
    """

    rule: StopRule
    size: float
    latencies_ms: tuple[float, ...]
    audited: bool
    score: Score = "accuracy"

    def __call__(self, history: Sequence[Epoch]) -> str | None:
        """Give a reason to end the training after these passes, or None; see `Stops`."""
        ending = None if self.audited else self._verdict(history)
        return None if ending is None else ending.reason

    def first(self, evaluation: Evaluation) -> Ending | None:
        """The first verdict against a training; the last pass gets no verdict."""
        asked = evaluation.history if evaluation.stopped else evaluation.history[:-1]
        verdicts = (self._verdict(asked[:passed]) for passed in range(1, len(asked) + 1))
        return next(filter(None, verdicts), None)

    def _verdict(self, history: Sequence[Epoch]) -> Ending | None:
        signals = signals_of(history, self.size, self.score)
        return self.rule.verdict(len(history), signals, self.latencies_ms)


def signals_of(history: Sequence[Epoch], size: float, score: str) -> tuple[float, ...]:
    """The signals that predict the final score best after these passes.

    They are the loss of the last pass and the size. If the score is the sum of the losses, the
    mean loss so far takes the place of the last one. See `docs/explain/stop-rule.md`.
    """
    losses = [epoch.train_loss for epoch in history]
    return (fmean(losses) if score == "training_speed" else losses[-1], size)


def make_curve(evaluation: Evaluation, size: float) -> LearningCurve:
    """Make the curve of a training that ran to its end, of a network of that size."""
    history, by = evaluation.history, evaluation.scored_by
    shown = (signals_of(history[:passed], size, by) for passed in range(1, len(history) + 1))
    return LearningCurve(tuple(shown), evaluation.score)


def rule_of(
    records: Iterable[Record],
    size: Size = log_flops,
    earlier: Mapping[str, LearningCurve] | None = None,
) -> StopRule:
    """Make the rule from the records of a study so far and from earlier trainings."""
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
    """The ms of `latency`, or the slow end of its interval if it is predicted."""
    if latency.provenance != "predicted" or latency.ci_ms is None:
        return latency.ms
    return latency.ci_ms[1]
