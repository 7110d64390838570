"""Trains candidates, and ends trainings that promise little growth of the front.

The latency of a network is known before its training. After each pass, the finished trainings by
the same recipe foretell its final score, with a deviation. So the growth of the front's
hypervolume that is expected of it has a closed form (`nas_sv2.studies.estimates.improvement`).
A training ends if that growth is too small a share of the hypervolume. Optuna's pruners cannot
decide this, since they know one objective.

The final score is foretold by a Bayesian linear regression on the training loss and log FLOPs.
Its prior says how both usually lead to the score, so that three finished trainings suffice. The
trainings of a search are not alike, so that the deviation holds only roughly. Some trainings that
the rule would end run on as an audit (`nas_sv2.search.walk.audit.Audit`).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.fitting.evaluator import StoppableEvaluator
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.stored_evaluator import StoredEvaluator
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.estimates.fusion import latency_credit
from nas_sv2.studies.estimates.improvement import Estimates, Reference, expected_improvement
from nas_sv2.studies.findings.record import STOP_RULE, Record
from nas_sv2.studies.storage.recipe_evidence import whole_trainings
from nas_sv2.studies.storage.record_store import RecordStore

Signals = tuple[float, float]
"""The loss after a pass, negated so that higher is better, and log FLOPs."""

FEWEST = 3
"""Finished trainings before anything is stopped; baselines count."""
GIVEN_UP = 0.15
"""Growth of the front that a search may give up in all, as a share of its hypervolume.

Each candidate may give up its part: the share divided by the number of candidates."""
BEYOND = 0.1
"""Distance of the hypervolume's corner from the worst network, as a share of the range."""
SLOPES, SLOPE_DEVIATION = (0.6, 0.3), 0.3
"""Prior of the slopes for both signals, all in standard deviations."""
NOISE, NOISE_WEIGHT = 0.5, 4
"""Prior of the residuals' deviation, and the number of trainings that it counts as much as."""
SPREAD = {"share": 0.25, "nats": 0.6}
"""Prior of the deviation of final scores, as a share of that of the losses, by their unit.

The score of a user's own metric has no prior: its unit is not known."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A training that ran to its end, or one that was stopped.

    Attributes:
        signals: The signals after each pass.
        final: Final score, higher is better; None of a training that was stopped.

    Raises:
        ConfigError: If there is no pass, or a figure is not finite.
    """

    signals: tuple[Signals, ...]
    final: float | None

    def __post_init__(self) -> None:
        """Refuse a curve that is not of use."""
        finite = all(math.isfinite(one) for each in self.signals for one in each)
        if not self.signals or not finite:
            raise ConfigError("signals", self.signals, "must be finite, for one pass or more")
        if self.final is not None and not math.isfinite(self.final):
            raise ConfigError("final", self.final, "must be a finite score")


@dataclass(frozen=True, slots=True)
class FinalModel:
    """Foretells the final score of a training from its signals after a pass.

    Attributes:
        curves: Trainings by the same recipe; those that were stopped only show how signals vary.
        score: The recipe's score.
    """

    curves: tuple[LearningCurve, ...]
    score: str = "accuracy"

    @property
    def finals(self) -> NDArray[np.float64]:
        """The final scores that are known, (N,)."""
        return np.array([one.final for one in self.curves if one.final is not None])

    def _scale(self, finals: NDArray[np.float64], loss_deviation: float) -> float:
        """The deviation of final scores, with a prior that counts as much as three trainings."""
        prior = SPREAD.get(facts_of(self.score).unit)
        if prior is None:
            return float(finals.std()) + 1e-9
        share = len(finals) / (len(finals) + 3)
        return share * float(finals.std()) + (1 - share) * prior * loss_deviation

    def at(self, passes: int, signals: Signals) -> tuple[float, float]:
        """Return the mean and the deviation of the final score of a training.

        The posterior of a linear regression with normal priors has a closed form (Bishop, "Pattern
        Recognition and Machine Learning", 2006, equations 3.50 to 3.59). The deviation of the
        residuals is fitted in three rounds.

        Args:
            passes: Number of passes done.
            signals: The signals after these passes.
        """
        after = [one for one in self.curves if len(one.signals) >= passes]
        shown = np.array([*(one.signals[passes - 1] for one in after), signals])
        spread = shown.std(axis=0) + 1e-9
        points = np.column_stack([np.ones(len(shown)), (shown - shown.mean(axis=0)) / spread])
        finals = np.array([one.final for one in after if one.final is not None])
        design = points[[n for n, one in enumerate(after) if one.final is not None]]
        scale = self._scale(finals, float(spread[0]))
        values = (finals - finals.mean()) / scale
        prior = np.diag([1e-4, SLOPE_DEVIATION**-2, SLOPE_DEVIATION**-2])
        centre, variance = np.array([0.0, *SLOPES]), NOISE**2
        for _ in range(3):
            inverse = np.linalg.inv(design.T @ design / variance + prior)
            line = inverse @ (design.T @ values / variance + prior @ centre)
            rest = values - design @ line
            freedom = NOISE_WEIGHT + len(finals) - 2
            variance = (NOISE_WEIGHT * NOISE**2 + float(rest @ rest)) / freedom
        around = variance + float(points[-1] @ inverse @ points[-1])
        around *= freedom / (freedom - 2)  # the variance of Student's t
        return float(finals.mean() + scale * (points[-1] @ line)), scale * math.sqrt(around)


@dataclass(frozen=True, slots=True)
class Rival:
    """A recorded network that keeps every limit.

    Attributes:
        score: Final score, higher is better.
        latencies_ms: Latencies on the targets, in the order of the study.
    """

    score: float
    latencies_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """A training that is not worth the rest of its time.

    Attributes:
        reason: Reason, in words.
        foreseen: Predicted final score.
    """

    reason: str
    foreseen: float


@dataclass(frozen=True, slots=True)
class StopRule:
    """Decides whether a training under way promises enough growth of the front.

    Attributes:
        model: Foretells its final score.
        rivals: Networks that it is compared with.
        candidates: Number of candidates that the search asks for.
        passes: Passes of a whole training.
    """

    model: FinalModel
    rivals: tuple[Rival, ...]
    candidates: int
    passes: int

    def verdict(
        self, passes: int, signals: Signals, latencies_ms: Sequence[float]
    ) -> Ending | None:
        """Give the reason to end the training here, or None.

        Args:
            passes: Number of passes done, at least 1.
            signals: The signals after these passes.
            latencies_ms: Latencies of the network on the targets.
        """
        if len(self.model.finals) < FEWEST or not self.rivals or passes >= self.passes:
            return None
        foreseen, deviation = self.model.at(passes, signals)
        grows, allowed = (
            self.growth(foreseen, deviation, latencies_ms),
            GIVEN_UP / self.candidates,
        )
        if grows >= allowed:
            return None
        return Ending(
            f"after pass {passes} of {self.passes} it is expected to let the front grow by "
            f"{grows:.2%} of its hypervolume; {allowed:.2%} is the least",
            foreseen,
        )

    def growth(self, score: float, deviation: float, latencies_ms: Sequence[float]) -> float:
        """Return the expected growth of the front's hypervolume, as a share of it.

        The front is that of longer trainings, as in the estimates of a study: slow networks get
        their credit.

        Args:
            score: The mean of the final score of a network.
            deviation: Its deviation.
            latencies_ms: Latencies of the network on the targets.
        """
        log_ms = np.log([rival.latencies_ms for rival in self.rivals])
        own_log_ms = np.log([latencies_ms])
        scores, size = np.array([rival.score for rival in self.rivals]), log_ms.mean(axis=1)
        credit = latency_credit(scores, size)
        scores = scores + credit * size
        front = _exactly(scores, log_ms)
        asked = _exactly(score + credit * own_log_ms.mean(axis=1), own_log_ms)
        corner = _corner(front, asked)
        ideal = _exactly([scores.max()], [log_ms.min(axis=0)])
        whole = float(np.prod(corner.log_ms - ideal.log_ms)) * (ideal.score[0] - corner.score)
        present = whole - float(expected_improvement(ideal, front, corner)[0])
        uncertain = dataclasses.replace(asked, score_deviation=np.array([deviation]))
        growth = float(expected_improvement(uncertain, front, corner)[0])
        return growth / present if present > 0 else math.inf


def _exactly(scores: ArrayLike, log_ms: ArrayLike) -> Estimates:
    known = np.asarray(scores, dtype=np.float64), np.asarray(log_ms, dtype=np.float64)
    return Estimates(known[0], np.zeros_like(known[0]), known[1], np.zeros_like(known[1]))


def _corner(front: Estimates, asked: Estimates) -> Reference:
    """Return the corner: the worst score and latencies, and `BEYOND` more."""
    scores = np.concatenate([front.score, asked.score])
    log_ms = np.concatenate([front.log_ms, asked.log_ms])
    far = log_ms.max(axis=0) + BEYOND * np.ptp(log_ms, axis=0)
    return Reference(float(scores.min() - BEYOND * np.ptp(scores)), far)


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
    """Trains candidates, and ends trainings that promise little growth of the front.

    Attributes:
        evaluator: Trains the candidates.
        records: Gives the records of the study so far.
        audit: Chooses the trainings that run on though the rule would end them.
        candidates: Number of candidates that the search asks for.
        passes: Passes of a whole training.
        size: Gives the size of a network.
        earlier: Trainings by the same recipe, data and seed outside the study, by digest of the
            network. They calibrate the rule, but are not rivals of a candidate.
        score: The recipe's score.
    """

    evaluator: StoppableEvaluator
    records: Callable[[], Iterable[Record]]
    audit: Audit
    candidates: int
    passes: int
    size: Size = log_flops
    earlier: Mapping[str, LearningCurve] = field(default_factory=dict)
    score: str = "accuracy"

    DESCRIBED: ClassVar[str] = (
        f"stops     trainings that promise little growth of the front; {SHARE:.0%} of them run on "
        "as an audit"
    )

    @classmethod
    def of(cls, evaluator: StoredEvaluator, store: RecordStore, candidates: int) -> "EarlyStop":
        """Make the rule for a search, with earlier trainings of its database.

        Args:
            evaluator: Trains the candidates.
            store: The records of the study.
            candidates: Number of candidates that the search asks for.
        """
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
        recipe = training.recipe
        return cls(
            evaluator,
            lambda: store.all().values(),
            audit,
            candidates,
            recipe.epochs,
            size,
            earlier,
            recipe.score,
        )

    def evaluate(
        self, architecture: Architecture, latencies_ms: Sequence[float]
    ) -> EarlyStopResult:
        """Train `architecture`, as long as it promises enough growth of the front.

        Args:
            architecture: The candidate.
            latencies_ms: Latencies on the targets, in the order of the study.
        """
        digest = architecture.digest
        # Its own curve, from a killed search or another study, would predict itself.
        earlier = {of: curve for of, curve in self.earlier.items() if of != digest}
        model, rivals = known_of(self.records(), self.size, earlier, self.score)
        rule = StopRule(model, rivals, self.candidates, self.passes)
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
    score: str = "accuracy"

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


def signals_of(history: Sequence[Epoch], size: float, score: str) -> Signals:
    """The signals that foretell the final score best after these passes.

    They are the loss of the last pass, negated, and the size. If the score is the sum of the
    losses, the mean loss so far takes the place of the last one.
    """
    losses = [epoch.train_loss for epoch in history]
    return (-fmean(losses) if score == "training_speed" else -losses[-1], size)


def make_curve(evaluation: Evaluation, size: float) -> LearningCurve:
    """Make the curve of the training of a network of that size."""
    history, by = evaluation.history, evaluation.scored_by
    shown = (signals_of(history[:passed], size, by) for passed in range(1, len(history) + 1))
    return LearningCurve(tuple(shown), None if evaluation.stopped else evaluation.score)


def known_of(
    records: Iterable[Record],
    size: Size = log_flops,
    earlier: Mapping[str, LearningCurve] | None = None,
    score: str = "accuracy",
) -> tuple[FinalModel, tuple[Rival, ...]]:
    """Return what a study so far and earlier trainings know: the model, and the rivals."""
    known = list(records)
    trained = [
        one
        for one in known
        if (one.evaluation.history if one.evaluation.stopped is None else one.foreseen is not None)
    ]
    own = {record.architecture.digest for record in trained}
    curves = [curve for digest, curve in (earlier or {}).items() if digest not in own]
    curves += [make_curve(record.evaluation, size(record.architecture)) for record in trained]
    rivals = tuple(
        Rival(
            one.evaluation.score,
            tuple(map(_at_worst, one.latencies.values())),
        )
        for one in known
        if one.feasible
    )
    return FinalModel(tuple(curves), score), rivals


def _at_worst(latency: Latency) -> float:
    """The ms of `latency`, or the slow end of its interval if it is predicted."""
    if latency.provenance != "predicted" or latency.ci_ms is None:
        return latency.ms
    return latency.ci_ms[1]
