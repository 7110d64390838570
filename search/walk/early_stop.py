"""Trains the candidates of a search, and ends trainings that can no longer lead to the front.

The latency of a network is known before its training. A candidate therefore competes only with
recorded networks that are at least as fast on every target. If its optimistic final score is below
the best of theirs, it is dominated, and the remaining passes are not needed. Optuna's pruners
cannot decide this, since they know one objective.

The optimistic final score comes from finished trainings by the same recipe. Least squares lead
from their signals after the same pass to their final scores; the prediction limit lies above this
line. At a pass it fails about as often as `miss` says, if trainings are alike and residuals
normal. In a search this holds only roughly. So some trainings that the rule would stop run on as
an audit (`nas_sv2.search.walk.audit.Audit`).

The prediction limit is that of a normal linear model (Weisberg, "Applied Linear Regression", 2005,
section 3.6). It lies s t (1 + z' (Z'Z)^-1 z)^1/2 above the line, where

- n and k are the numbers of points and of coefficients,
- Z (n, k) and z are the figures of the points and of the new point,
- s is the standard deviation of the residuals,
- t is the quantile of Student's t with n - k degrees of freedom.

The limit rises by itself if there are few points, or if the new point is unlike them.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.fitting.evaluator import StoppableEvaluator
from nas_sv2.evaluate.recipes.recipe import Recipe, Score
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.stored_evaluator import StoredEvaluator
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.front import find_dominators
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import STOP_RULE
from nas_sv2.studies.storage.recipe_evidence import whole_trainings
from nas_sv2.studies.storage.record_store import RecordStore


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """Least squares through figures and final scores.

    Attributes:
        centre: Mean of the figures, (K,).
        design: A constant and the figures from their mean, (N, K + 1).
        inverse: Pseudoinverse of the design, (K + 1, N).
        coefficients: Constant and slopes, (K + 1,).
        residuals: Final scores less the line, (N,).
        freedom: Remaining degrees of freedom.
    """

    centre: NDArray[np.float64]
    design: NDArray[np.float64]
    inverse: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    residuals: NDArray[np.float64]
    freedom: int

    @classmethod
    def fitted(cls, shown: NDArray[np.float64], finals: NDArray[np.float64]) -> "Line":
        """Fit the line to figures (N, K) and final scores (N,)."""
        centre = shown.mean(axis=0)
        design = np.column_stack([np.ones(len(finals)), shown - centre])
        inverse = np.linalg.pinv(design)
        coefficients = inverse @ finals
        freedom = len(finals) - int(np.linalg.matrix_rank(design))
        return cls(centre, design, inverse, coefficients, finals - design @ coefficients, freedom)

    def read_at(self, signals: Sequence[float]) -> float:
        """The final score on the line at `signals`."""
        return float(self._at(signals) @ self.coefficients)

    def upper_at(self, signals: Sequence[float], miss: float) -> float:
        """The score that a share `miss` of trainings with figures `signals` exceed."""
        from scipy.special import stdtrit  # takes 0.25 s, which `--help` saves

        at = self._at(signals)
        reach = at @ self.inverse  # (N,); its square sum is z' (Z'Z)^-1 z
        # False if the known figures do not vary in this direction, as with one size for all.
        seen = np.allclose(reach @ self.design, at, rtol=1e-6, atol=1e-9)
        if self.freedom < 1 or not seen:
            return math.inf
        variance = float(self.residuals @ self.residuals) / self.freedom
        spread = math.sqrt(variance * (1 + float(reach @ reach)))
        return float(at @ self.coefficients + stdtrit(self.freedom, 1 - miss) * spread)

    def unexplained(self) -> float:
        """Leave-one-out squared error of the line, as a share of that of the mean; at least 0.

        One fit gives all errors (Cook and Weisberg, "Residuals and Influence in Regression", 1982,
        equation 2.2.4).
        """
        finals = self.residuals + self.design @ self.coefficients
        free = 1 - np.einsum("nk,kn->n", self.design, self.inverse)
        if (free < 1e-9).any():
            return math.inf
        beside_line = self.residuals / free
        beside_mean = (finals - finals.mean()) * len(finals) / (len(finals) - 1)
        all_of_it = float(beside_mean @ beside_mean)
        return float(beside_line @ beside_line) / all_of_it if all_of_it else math.inf

    def _at(self, signals: Sequence[float]) -> NDArray[np.float64]:
        return np.concatenate([[1.0], np.asarray(signals, dtype=np.float64) - self.centre])


FEWEST = 8
"""Finished trainings before anything is stopped: five degrees of freedom for two figures a pass.
Chosen in replays of 24 trainings (`docs/lab/2026-11-25-stop-rule-24-to-56-candidates.md`)."""
RISK = 0.05
"""Failures of bounds allowed over all stopped trainings, for each member of the front.

Most stopped trainings are far below their rival: replays lost 1 % of the members on average, 4 %
at most."""
MISSES = 0.005, 0.1
"""Least and largest share of failures allowed to a single bound."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A training that ran to its end.

    Attributes:
        signals: Figures after each pass, such as training loss and size; equally many each time.
        final: Final score, higher is better.

    Raises:
        ConfigError: If there are fewer than two passes, no figures, or a figure is not finite.
    """

    signals: tuple[tuple[float, ...], ...]
    final: float

    def __post_init__(self) -> None:
        """Refuse a curve that is not of use."""
        widths = {len(each) for each in self.signals}
        finite = all(math.isfinite(one) for each in self.signals for one in each)
        if len(self.signals) < 2 or len(widths) > 1 or 0 in widths or not finite:
            allowed = "must cover two passes or more, with as many finite figures after each"
            raise ConfigError("signals", self.signals, allowed)
        if not math.isfinite(self.final):
            raise ConfigError("final", self.final, "must be a finite score")


@dataclass(frozen=True, eq=False)
class FinalBound:
    """The final score that a training may reach, judged by finished trainings.

    Attributes:
        curves: Curves of trainings by the same recipe that ran to their end.
        miss: Share of failures allowed to the bound at a pass.
        fewest: Number of curves that it needs.

    Raises:
        ConfigError: If curves do not go together, or a share or number is out of range.
    """

    curves: tuple[LearningCurve, ...]
    miss: float = MISSES[1]
    fewest: int = FEWEST
    _lines: dict[int, Line] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse values that cannot calibrate the bound."""
        if not 0 < self.miss < 1:
            raise ConfigError("miss", self.miss, "must be a share between 0 and 1, as 0.05")
        if self.fewest < 3:
            raise ConfigError("fewest", self.fewest, "must be a whole number from 3")
        shapes = sorted({(len(each.signals), len(each.signals[0])) for each in self.curves})
        if len(shapes) > 1:
            allowed = "must be curves of one recipe, with as many passes and figures"
            raise ConfigError("curves", shapes, allowed)

    @property
    def passes(self) -> int:
        """Passes of a whole training; 0 without a curve."""
        return len(self.curves[0].signals) if self.curves else 0

    @property
    def why_not(self) -> str | None:
        """Reason why there is no bound yet; None if there is one."""
        known = len(self.curves)
        if known >= self.fewest:
            return None
        return f"{known} finished trainings; {self.fewest} are needed"

    def expected_final(self, pass_number: int, signals: Sequence[float]) -> float:
        """The likeliest final score of a training with `signals` after pass `pass_number`.

        Raises:
            ConfigError: If curves are too few, or the pass or the figures do not fit them.
        """
        return self._line_after(pass_number, signals).read_at(signals)

    def best_final(self, pass_number: int, signals: Sequence[float]) -> float:
        """The best final score of a training with `signals` after pass `pass_number`.

        It is infinite if finished trainings do not bound it. See `expected_final` for errors.
        """
        return self._line_after(pass_number, signals).upper_at(signals, self.miss)

    def unexplained(self, pass_number: int) -> float:
        """Leave-one-out squared error of the line, as a share of that of the mean; at least 0.

        Raises:
            ConfigError: If curves are too few, or there is no such pass before the last.
        """
        return self._line_after(pass_number).unexplained()

    def _line_after(self, pass_number: int, signals: Sequence[float] | None = None) -> Line:
        if self.why_not is not None:
            raise ConfigError("curves", len(self.curves), f"must be at least {self.fewest}")
        if not 1 <= pass_number < self.passes:
            raise ConfigError("pass", pass_number, f"must be a number from 1 to {self.passes - 1}")
        known = len(self.curves[0].signals[0])
        if signals is not None and len(signals) != known:
            raise ConfigError("signals", tuple(signals), f"must be {known} figures")
        if pass_number not in self._lines:
            shown = np.array([curve.signals[pass_number - 1] for curve in self.curves])
            finals = np.array([curve.final for curve in self.curves])
            self._lines[pass_number] = Line.fitted(shown, finals)
        return self._lines[pass_number]


@dataclass(frozen=True, slots=True)
class Rival:
    """A recorded network that keeps every limit.

    Attributes:
        score: Final score, higher is better.
        latencies_ms: Latencies on the targets, in the order of the study.
    """

    score: float
    latencies_ms: tuple[float, ...]

    def at_least_as_fast(self, latencies_ms: Sequence[float]) -> bool:
        """Whether the network takes no longer on any target.

        Raises:
            ValueError: If the numbers of targets differ.
        """
        pairs = zip(self.latencies_ms, latencies_ms, strict=True)
        return all(own <= others for own, others in pairs)


def miss_beside(rivals: Sequence[Rival], stopped: int, risk: float = RISK) -> float:
    """The share of failures allowed to the next bound.

    It shrinks as more trainings are stopped for each member of the front. Long searches then lose
    no more of their front than short ones.

    Args:
        rivals: Networks whose front counts.
        stopped: Trainings stopped so far.
        risk: See `RISK`.
    """
    costs = {place: (-one.score, *one.latencies_ms) for place, one in enumerate(rivals)}
    members = sum(better is None for better in find_dominators(costs).values())
    low, high = MISSES
    return min(high, max(low, risk * members / (stopped + 1)))


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
    """Decides whether a training under way can still lead to the front.

    Attributes:
        bound: Bound on its final score.
        rivals: Networks that it is compared with.
    """

    bound: FinalBound
    rivals: tuple[Rival, ...]

    def verdict(
        self, pass_number: int, signals: Sequence[float], latencies_ms: Sequence[float]
    ) -> Ending | None:
        """Give the reason to end a training here, or None.

        Args:
            pass_number: Number of passes done, at least 1.
            signals: Figures after these passes.
            latencies_ms: Latencies of the network on the targets.
        """
        if self.bound.why_not is not None or pass_number >= self.bound.passes:
            return None
        faster = [r.score for r in self.rivals if r.at_least_as_fast(latencies_ms)]
        if not faster:
            return None
        hoped = self.bound.best_final(pass_number, signals)
        if hoped >= max(faster):
            return None
        return Ending(
            f"after pass {pass_number} of {self.bound.passes} it can come to {hoped:.4f} at most, "
            f"and a network that is as fast has {max(faster):.4f}",
            self.bound.expected_final(pass_number, signals),
        )


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
